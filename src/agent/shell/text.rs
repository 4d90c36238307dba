//! The file of a command's text, kept open from one command to the next: to write over it is less work than to make its
//! pages anew.

use super::{dialect::COMMAND, directory::Directory, entries::Nature};
use std::{fs::File, io, os::unix::fs::FileExt};

/// A longer text is not kept when the shell has run it: the memory is the sandbox's.
const MOST_KEPT: u64 = 64 << 10;

/// A file that is written again and again.
#[derive(Default)]
pub(super) struct TextFile {
    kept: Option<Kept>,
}

struct Kept {
    file: File,
    nature: Nature,
    length: u64,
}

impl TextFile {
    /// Writes a command's text. The shell has read the one before.
    pub(super) fn write(&mut self, directory: &Directory, text: &[u8]) -> io::Result<()> {
        let length = text.len() as u64;
        // After an error nobody knows what it holds.
        let mut kept = match self.kept.take().filter(|kept| directory.keeps(COMMAND, &kept.nature)) {
            Some(kept) => kept,
            None => Kept::open(directory)?,
        };
        directory.private().all().with_room(|| kept.file.write_all_at(text, 0))?;
        if length < kept.length {
            kept.file.set_len(length)?;
        }
        kept.length = length;
        self.kept = Some(kept);
        Ok(())
    }

    /// The shell has run the text: what a long one takes is given back.
    pub(super) fn was_run(&mut self) {
        if let Some(kept) = self.kept.take_if(|kept| kept.length > MOST_KEPT) {
            let _ = kept.file.set_len(0);
        }
    }
}

impl Kept {
    fn open(directory: &Directory) -> io::Result<Self> {
        let file = File::from(directory.empty_file(COMMAND)?);
        Ok(Self { nature: rustix::fs::fstat(&file)?.into(), file, length: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::shell::directories;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn it_holds_the_last_text_whatever_became_of_its_name() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::make(&directories::tests::private(home.path())).unwrap();
        let path = directory.path_of(COMMAND);
        let mut file = TextFile::default();
        let mut check = |text: &str| {
            file.write(&directory, text.as_bytes()).unwrap();
            file.was_run();
            assert_eq!(fs::read_to_string(&path).unwrap(), if text.len() > 100_000 { "" } else { text });
        };
        let long = "long\n".repeat(100_000);
        for text in ["a long text", "short", "", "longer again", &long, "short"] {
            check(text);
        }
        fs::remove_file(&path).unwrap();
        check("made again");
        fs::write(directory.path_of("other"), "a text of somebody else's").unwrap();
        fs::rename(directory.path_of("other"), &path).unwrap();
        check("ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        check("readable");
    }
}
