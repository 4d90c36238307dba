//! The file that a pool is in.

use crate::runtime::linux::failure::{Failure, Step};
use rustix::{
    fs::{IFlags, ioctl_getflags, ioctl_setflags, statvfs},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

/// Where the superblock is, and what in it.
const SUPERBLOCK: u64 = 0x1_0000;
const MAGIC: (usize, &[u8; 8]) = (0x40, b"_BHRfS_M");
const TOTAL_BYTES: usize = 0x70;
/// Where `mkfs.btrfs` is looked for. The PATH of a service may lack the directories of the administrator's programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The least that a file system can be made in.
const LEAST: u64 = 256 << 20;
/// The largest file that all usual file systems can have.
const MOST: u64 = 8 << 40;

/// How large a pool may become on this disk. It takes no room before something is written to it.
pub(super) fn largest(directory: &Path) -> io::Result<u64> {
    let disk = statvfs(directory)?;
    Ok((disk.f_blocks * disk.f_frsize).clamp(LEAST, MOST) & !0xf_ffff)
}

/// Makes a pool's file with an empty file system in it. It gets its name when it is complete.
pub(super) fn make(path: &Path, size: u64) -> Result<File, Failure> {
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
        // Where the disk is btrfs itself: else each write would go to another place of it. Others know no such flag.
        let _ = ioctl_getflags(&file).and_then(|flags| ioctl_setflags(&file, flags | IFlags::NOCOW));
        file.set_len(size)
    };
    write().step_with(|| format!("make {}", new.display()))?;
    let made = Command::new("mkfs.btrfs")
        .args(["--quiet", "--nodiscard", "--metadata", "single", "--data", "single", "--label", "sandshell"])
        .arg(&new)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .output();
    let made = match made {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let _ = fs::remove_file(&new);
            let missing = io::Error::other("mkfs.btrfs is missing: install btrfs-progs");
            return Err(missing).step("make a file system for the sandboxes' files");
        }
        other => other.step("execute mkfs.btrfs")?,
    };
    if !made.status.success() {
        let _ = fs::remove_file(&new);
        let text = String::from_utf8_lossy(&made.stderr);
        let words = text.trim().chars().take(500).collect::<String>();
        return Err(io::Error::other(format!("mkfs.btrfs: {words}")))
            .step("make a file system for the sandboxes' files");
    }
    let name = || -> io::Result<File> {
        let file = File::options().read(true).write(true).open(&new)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        Ok(file)
    };
    name().step_with(|| format!("make {}", path.display()))
}

/// Opens it. `None` if there is none.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Opens it only to look. `None` if there is none.
pub(super) fn look(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// What is wrong with it, as far as its beginning and its length show. An error when it could not be looked at.
pub(super) fn damage(file: &File) -> io::Result<Option<String>> {
    let mut superblock = [0; 4096];
    match file.read_exact_at(&mut superblock, SUPERBLOCK) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(Some("it was cut short".to_owned()));
        }
        other => other?,
    }
    let (at, magic) = MAGIC;
    if superblock.get(at..at + magic.len()) != Some(magic.as_slice()) {
        return Ok(Some("its beginning was overwritten".to_owned()));
    }
    let total = superblock.get(TOTAL_BYTES..TOTAL_BYTES + 8).and_then(|bytes| bytes.try_into().ok());
    let total = total.map_or(0, u64::from_le_bytes);
    let length = file.metadata()?.len();
    Ok((length < total).then(|| format!("it was cut short: {length} bytes are left of {total}")))
}

/// Whether an attempt to mount it has failed because of what is in it, and not because of the host.
pub(super) fn is_damage(error: &io::Error) -> bool {
    let damage = [Errno::INVAL, Errno::UCLEAN, Errno::IO, Errno::NOENT, Errno::NODATA, Errno::ILSEQ];
    error.raw_os_error().is_some_and(|number| damage.iter().any(|errno| errno.raw_os_error() == number))
}

/// Moves a file that is of no use out of the way. Returns its new name. Nothing is overwritten.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut number = 0;
    loop {
        let aside = path.with_extension(format!("broken-{}", seconds + number));
        match rustix::fs::renameat_with(
            rustix::fs::CWD,
            path,
            rustix::fs::CWD,
            &aside,
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            Ok(()) => return Ok(aside),
            Err(Errno::EXIST) => number += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_system_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let file = File::create_new(&path).unwrap();
        let file = File::options().read(true).write(true).open(&path).map(|_| file).unwrap();
        drop(file);
        let file = open(&path).unwrap().unwrap();
        assert!(damage(&file).unwrap().unwrap().contains("cut short"));
        file.set_len(1 << 20).unwrap();
        assert!(damage(&file).unwrap().unwrap().contains("overwritten"));
        let mut superblock = [0; 4096];
        superblock[MAGIC.0..MAGIC.0 + 8].copy_from_slice(MAGIC.1);
        superblock[TOTAL_BYTES..TOTAL_BYTES + 8].copy_from_slice(&(2u64 << 20).to_le_bytes());
        file.write_all_at(&superblock, SUPERBLOCK).unwrap();
        assert!(damage(&file).unwrap().unwrap().contains("1048576 bytes are left of 2097152"));
        file.set_len(2 << 20).unwrap();
        assert_eq!(damage(&file).unwrap(), None);
    }

    #[test]
    fn nothing_is_overwritten_when_a_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let mut names = std::collections::HashSet::new();
        for number in 0..3 {
            fs::write(&path, number.to_string()).unwrap();
            names.insert(set_aside(&path).unwrap());
        }
        assert!(names.len() == 3 && open(&path).unwrap().is_none());
    }
}
