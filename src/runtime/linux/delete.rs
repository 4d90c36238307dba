//! Deleting what a sandbox wrote. Its trees may be as deep as it liked, so nothing here recurses or keeps a descriptor
//! for each level, and links are never followed.

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, chmodat, fstat, openat, unlinkat},
    io::Errno,
};
use std::{ffi::CString, io, os::fd::OwnedFd, path::Path};

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that is being emptied.
struct Level {
    /// Its directories still to be emptied.
    waiting: Vec<CString>,
    /// Its name in the directory above.
    name: CString,
    /// Its parent, to notice if `..` led elsewhere.
    parent: (u64, u64),
}

/// Deletes a directory and everything in it. What is already gone is no error. Nobody else may be writing there.
pub(super) fn tree(path: &Path) -> io::Result<()> {
    let top = match open(rustix::fs::CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(rustix::fs::unlink(path)?),
        Err(error) => return Err(error.into()),
    };
    empty(top)?;
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn empty(top: OwnedFd) -> io::Result<()> {
    let mut here = top;
    let mut levels = Vec::<Level>::new();
    let mut waiting = remove_files(&here)?;
    loop {
        if let Some(name) = waiting.pop() {
            // Most directories are empty by now or were: one call is enough.
            if unlinkat(&here, &name, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            let parent = identity(&here)?;
            let next = match open(&here, &name) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            here = next;
            levels.push(Level { waiting: std::mem::take(&mut waiting), name, parent });
            waiting = remove_files(&here)?;
            continue;
        }
        let Some(level) = levels.pop() else { return Ok(()) };
        let above = openat(&here, c"..", DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        if identity(&above)? != level.parent {
            return Err(io::Error::other("a directory moved while it was being deleted"));
        }
        here = above;
        unlinkat(&here, &level.name, AtFlags::REMOVEDIR)?;
        waiting = level.waiting;
    }
}

/// Opens a directory, giving its owner (without root: this process) the right to if that is what is missing.
fn open<P: rustix::path::Arg + Copy>(parent: impl std::os::fd::AsFd, name: P) -> Result<OwnedFd, Errno> {
    match openat(parent.as_fd(), name, DIRECTORY | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(parent.as_fd(), name, Mode::RWXU, AtFlags::empty())?;
            openat(parent.as_fd(), name, DIRECTORY | OFlags::RDONLY, Mode::empty())
        }
        other => other,
    }
}

fn identity(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes all that is no directory, and returns the names of the directories.
fn remove_files(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut directories = Vec::new();
    // A directory that can be listed may still forbid entering and changing it.
    let _ = rustix::fs::fchmod(directory, Mode::RWXU);
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // The file system did not say what it is.
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        directories.push(name.to_owned());
    }
    Ok(directories)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn deep_trees_links_and_locked_directories_go_and_link_targets_stay() {
        let home = tempfile::tempdir().unwrap();
        let keep = home.path().join("keep");
        fs::create_dir(&keep).unwrap();
        fs::write(keep.join("file"), "x").unwrap();
        let gone = home.path().join("gone");
        fs::create_dir(&gone).unwrap();
        std::os::unix::fs::symlink(&keep, gone.join("link")).unwrap();
        let mut deep = openat(rustix::fs::CWD, &gone, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deep, c"d", Mode::RWXU).unwrap();
            deep = openat(&deep, c"d", DIRECTORY, Mode::empty()).unwrap();
        }
        let locked = gone.join("locked");
        fs::create_dir_all(locked.join("inner")).unwrap();
        fs::write(locked.join("inner/file"), "x").unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o0)).unwrap();

        tree(&gone).unwrap();
        assert!(!gone.exists() && keep.join("file").exists());
        tree(&gone).unwrap();
    }
}
