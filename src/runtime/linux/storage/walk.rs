//! A way through a sandbox's files as they lie on the host. The sandbox may be changing them at the same time, so nothing here
//! goes by path: each step is from an open directory to one of its entries, links are never followed, and other file systems
//! are not entered. A walk keeps two descriptors, however deep it is.

use rustix::{
    fs::{Mode, OFlags, fstat, openat},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What tells a directory from all others, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(directory: &OwnedFd) -> Result<Self, Errno> {
        let stat = fstat(directory)?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// A place in a tree of directories.
pub(in crate::runtime::linux) struct Walk {
    top: OwnedFd,
    top_identity: Identity,
    here: OwnedFd,
    /// The directories from the top down to here.
    path: Vec<(CString, Identity)>,
}

/// Where a step up led.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::runtime::linux) enum Up {
    /// Out of the directory of this name.
    Left(CString),
    /// Nowhere: this is the top.
    Top,
    /// Elsewhere, because a directory was moved. See [`Walk::retrace`].
    Moved,
}

impl Walk {
    /// Begins at a directory, whose path must be out of the sandbox's reach.
    pub(in crate::runtime::linux) fn at(top: &Path) -> Result<Self, Errno> {
        let top = openat(rustix::fs::CWD, top, DIRECTORY, Mode::empty())?;
        let here = openat(&top, c".", DIRECTORY, Mode::empty())?;
        let top_identity = Identity::of(&top)?;
        Ok(Self { top, top_identity, here, path: Vec::new() })
    }

    /// The directory that was reached.
    pub(in crate::runtime::linux) fn here(&self) -> BorrowedFd<'_> {
        self.here.as_fd()
    }

    /// Enters a directory. `XDEV` if it is another file system's; `NOTDIR` or `LOOP` if it is none.
    pub(in crate::runtime::linux) fn enter(&mut self, name: &CStr) -> Result<(), Errno> {
        let next = openat(&self.here, name, DIRECTORY, Mode::empty())?;
        let identity = Identity::of(&next)?;
        if identity.device != self.top_identity.device {
            return Err(Errno::XDEV);
        }
        self.here = next;
        self.path.push((name.to_owned(), identity));
        Ok(())
    }

    /// Goes back to the directory above.
    pub(in crate::runtime::linux) fn leave(&mut self) -> Result<Up, Errno> {
        let Some((name, _)) = self.path.last() else { return Ok(Up::Top) };
        let above = self.path.iter().rev().nth(1).map_or(self.top_identity, |(_, identity)| *identity);
        let next = match openat(&self.here, c"..", DIRECTORY, Mode::empty()) {
            // A directory that was removed has nothing above it.
            Err(Errno::NOENT) => return Ok(Up::Moved),
            other => other?,
        };
        if Identity::of(&next)? != above {
            return Ok(Up::Moved);
        }
        let name = name.clone();
        self.here = next;
        self.path.pop();
        Ok(Up::Left(name))
    }

    /// Goes from the top towards where this was, as far as the same directories are still there. Returns how deep that is.
    pub(in crate::runtime::linux) fn retrace(&mut self) -> Result<usize, Errno> {
        self.here = openat(&self.top, c".", DIRECTORY, Mode::empty())?;
        for (name, identity) in std::mem::take(&mut self.path) {
            let Ok(next) = openat(&self.here, &name, DIRECTORY, Mode::empty()) else { break };
            if Identity::of(&next)? != identity {
                break;
            }
            self.here = next;
            self.path.push((name, identity));
        }
        Ok(self.path.len())
    }
}
