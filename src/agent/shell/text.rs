//! The file of a command's text, kept open from one command to the next: to write over it is less work than to make its
//! pages anew.

use super::fifo::Nature;
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A file that is written again and again.
pub(super) struct TextFile {
    path: PathBuf,
    kept: Option<Kept>,
}

struct Kept {
    file: File,
    nature: Nature,
    length: u64,
}

impl TextFile {
    /// Nothing is written yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, kept: None }
    }

    /// Writes a command's text. The shell has read the one before.
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let length = text.len() as u64;
        // After an error nobody knows what it holds.
        let mut kept = match self.kept.take().filter(|kept| kept.nature.is_at(&self.path)) {
            Some(kept) => kept,
            None => Kept::open(&self.path)?,
        };
        kept.file.write_all_at(text, 0)?;
        if length < kept.length {
            kept.file.set_len(length)?;
        }
        kept.length = length;
        self.kept = Some(kept);
        Ok(())
    }
}

impl Kept {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::from(create(path)?);
        Ok(Self { nature: rustix::fs::fstat(&file)?.into(), file, length: 0 })
    }
}

/// Opens an empty file. Somebody inside may have removed the private directory: it is made again.
pub(super) fn create(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    match open() {
        Err(rustix::io::Errno::NOENT) => {
            path.parent().map(fs::create_dir_all).transpose()?;
            Ok(open()?)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_holds_the_last_text_whatever_became_of_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("inner/command");
        let mut file = TextFile::new(path.clone());
        let mut check = |text: &str| {
            file.write(text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        };
        for text in ["a long text", "short", "", "longer again"] {
            check(text);
        }
        fs::remove_file(&path).unwrap();
        check("made again");
        fs::write(directory.path().join("other"), "a text of somebody else's").unwrap();
        fs::rename(directory.path().join("other"), &path).unwrap();
        check("ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        check("readable");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        check("with its directory");
    }
}
