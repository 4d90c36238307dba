//! Deleting what a sandbox wrote. Its trees may be as deep and as wide as it liked, so nothing here recurses, keeps a descriptor
//! for each level, or reads a whole directory at once; links are never followed.

use super::walk::{Up, Walk};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, chmodat, unlinkat},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Entries of a directory that are read before the directories among them are emptied.
const BATCH: usize = 1000;

/// How long a deletion goes on before another one gets its turn.
pub(super) const TURN: Duration = Duration::from_millis(100);

/// Deletes a directory and everything in it. What is already gone is no error. Nobody else may be writing there.
pub(in crate::runtime::linux) fn tree(path: &Path) -> io::Result<()> {
    let Some(mut deletion) = Deletion::of(path)? else { return Ok(()) };
    while !deletion.go_on(Instant::now() + TURN)? {}
    Ok(())
}

/// A deletion under way.
pub(super) struct Deletion {
    path: PathBuf,
    walk: Walk,
    /// The directories from the top down to where it is.
    levels: Vec<Level>,
}

/// A directory that is being emptied.
struct Level {
    /// Its directories that are still to be removed.
    directories: Vec<CString>,
    /// Whether it has more that was not read yet.
    more: bool,
}

impl Deletion {
    /// Begins. `None` when nothing is there that would have to be emptied.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        let walk = match Walk::at(path) {
            Err(Errno::ACCESS) => {
                rustix::fs::chmod(path, Mode::RWXU)?;
                Walk::at(path)
            }
            other => other,
        };
        let walk = match walk {
            Ok(walk) => walk,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                rustix::fs::unlink(path)?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let levels = vec![Level { directories: Vec::new(), more: true }];
        Ok(Some(Self { path: path.to_owned(), walk, levels }))
    }

    /// Goes on for some time. Returns whether everything is gone.
    pub(super) fn go_on(&mut self, until: Instant) -> io::Result<bool> {
        while Instant::now() < until {
            let Some(level) = self.levels.last_mut() else { return Ok(true) };
            if let Some(name) = level.directories.pop() {
                // Most directories are empty by now or were: one call is enough.
                if unlinkat(self.walk.here(), &name, AtFlags::REMOVEDIR).is_err() && self.enter(&name)? {
                    self.levels.push(Level { directories: Vec::new(), more: true });
                }
            } else if level.more {
                *level = Level::read(&self.walk)?;
            } else {
                self.leave()?;
            }
        }
        Ok(self.levels.is_empty())
    }

    /// Enters a directory, giving its owner (without root: this process) the right to if that is what is missing. Returns
    /// whether it is there.
    fn enter(&mut self, name: &CStr) -> io::Result<bool> {
        let entered = match self.walk.enter(name) {
            Err(Errno::ACCESS) => {
                chmodat(self.walk.here(), name, Mode::RWXU, AtFlags::empty())?;
                self.walk.enter(name)
            }
            other => other,
        };
        match entered {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Leaves a directory that is empty, and removes it.
    fn leave(&mut self) -> io::Result<()> {
        self.levels.pop();
        let removed = match self.walk.leave()? {
            Up::Left(name) => unlinkat(self.walk.here(), &name, AtFlags::REMOVEDIR),
            Up::Top => rustix::fs::rmdir(&self.path),
            Up::Moved => return Err(io::Error::other("a directory moved while it was being deleted")),
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Level {
    /// Reads a part of a directory, removes all in it that is no directory, and keeps the names of those that are.
    fn read(walk: &Walk) -> io::Result<Self> {
        let mut level = Self { directories: Vec::new(), more: false };
        // A directory that can be listed may still forbid entering and changing it.
        let _ = rustix::fs::fchmod(walk.here(), Mode::RWXU);
        let mut read = 0;
        for entry in Dir::read_from(walk.here())? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if read == BATCH {
                level.more = true;
                break;
            }
            read += 1;
            if entry.file_type() != FileType::Directory {
                match unlinkat(walk.here(), name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    // The file system did not say what it is.
                    Err(Errno::ISDIR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            level.directories.push(name.to_owned());
        }
        Ok(level)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::{OFlags, openat};
    use std::{fs, os::unix::fs::PermissionsExt};

    const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW);

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

    #[test]
    fn more_than_is_read_at_once_goes_turn_by_turn() {
        let home = tempfile::tempdir().unwrap();
        let gone = home.path().join("gone");
        fs::create_dir(&gone).unwrap();
        for number in 0..BATCH + 50 {
            fs::create_dir(gone.join(number.to_string())).unwrap();
            fs::write(gone.join(format!("file{number}")), "x").unwrap();
        }
        let mut deletion = Deletion::of(&gone).unwrap().unwrap();
        let mut turns = 0;
        while !deletion.go_on(Instant::now() + Duration::from_millis(1)).unwrap() {
            turns += 1;
        }
        assert!(turns > 1 && !gone.exists());
    }
}
