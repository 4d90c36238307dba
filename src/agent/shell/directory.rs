//! A session's private directory: the command's text, the pipes, the scripts of the traps.

use super::{
    directories::Private,
    entries::{self, Nature},
};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory that is there, or was when it was opened.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    identity: (u64, u64),
    private: Private,
    path: String,
}

impl Directory {
    /// Makes a session's, or takes the one that is there.
    pub(super) fn make(private: &Private) -> io::Result<Arc<Self>> {
        let (fd, path) = private.make()?;
        let identity = entries::identity(&rustix::fs::fstat(&fd)?);
        let path = path.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok(Arc::new(Self { fd, identity, private: private.clone(), path }))
    }

    /// Where programs see it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where programs see something in it.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        Path::new(&self.path).join(name)
    }

    /// The name that it has in the directory of all sessions.
    pub(super) fn private(&self) -> &Private {
        &self.private
    }

    /// Whether its path still leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        rustix::fs::lstat(&self.path).is_ok_and(|stat| entries::identity(&stat) == self.identity)
    }

    /// Whether what has this name is the very same.
    pub(super) fn has(&self, name: &str, nature: &Nature) -> bool {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| Nature::from(stat) == *nature)
    }

    /// Whether what the agent has put there last under this name is still there. Where programs see a read-only directory it is,
    /// and nobody has to look: that is asked several times for each command.
    pub(super) fn keeps(&self, name: &str, nature: &Nature) -> bool {
        self.private.all().is_sealed() || self.has(name, nature)
    }

    /// Makes a FIFO, in the place of whatever has its name.
    ///
    /// Every user may open it: a program that runs as another one (`su`) has it as its output, and opens it again by
    /// `/dev/stdout`. Nobody else gets that far, because the directory is closed to other users, and so is what `/proc` says
    /// of another user's descriptors.
    pub(super) fn make_fifo(&self, name: &str) -> io::Result<()> {
        let make = || {
            rustix::fs::mknodat(&self.fd, name, FileType::Fifo, EVERYBODY, 0)?;
            // The agent's mask of file modes has taken its part away.
            rustix::fs::chmodat(&self.fd, name, EVERYBODY, AtFlags::empty())
        };
        let made = self.private.all().with_room(|| match make() {
            Err(Errno::EXIST) => {
                entries::put_away(self.fd.as_fd(), name)?;
                Ok(make()?)
            }
            other => Ok(other?),
        });
        made.and_then(|()| self.private.give_named(&self.fd, name))
    }

    /// Makes a FIFO and opens both ends: the one to read, and the one to write. Neither blocks.
    pub(super) fn make_pipe(&self, name: &str) -> io::Result<(OwnedFd, OwnedFd, Nature)> {
        self.make_fifo(name)?;
        let (reader, nature) = self.open_fifo(name, OFlags::RDONLY)?;
        let (writer, writers) = self.open_fifo(name, OFlags::WRONLY)?;
        if writers != nature {
            return Err(io::Error::other(format!("{name} was replaced while it was made")));
        }
        Ok((reader, writer, nature))
    }

    /// Opens the writing end of the FIFO that the agent has put there last under this name. Nothing if that is not there any more.
    pub(super) fn reopen_fifo(&self, name: &str, nature: &Nature) -> io::Result<Option<OwnedFd>> {
        let opened = entries::open(self.fd.as_fd(), name, OFlags::WRONLY)?;
        let is_its_own = self.private.all().is_sealed() || Nature::from(rustix::fs::fstat(&opened)?) == *nature;
        Ok(is_its_own.then_some(opened))
    }

    /// Opens a FIFO at one end.
    pub(super) fn open_fifo(&self, name: &str, access: OFlags) -> io::Result<(OwnedFd, Nature)> {
        let (opened, stat) = entries::open_as(self.fd.as_fd(), name, access, FileType::Fifo)?;
        Ok((opened, stat.into()))
    }

    /// Opens an empty file to be written, in the place of whatever else has its name.
    pub(super) fn empty_file(&self, name: &str) -> io::Result<OwnedFd> {
        let there = || -> io::Result<OwnedFd> {
            let (file, _) = entries::open_as(self.fd.as_fd(), name, OFlags::WRONLY, FileType::RegularFile)?;
            rustix::fs::ftruncate(&file, 0)?;
            Ok(file)
        };
        self.private.all().with_room(|| {
            there().or_else(|_| {
                entries::put_away(self.fd.as_fd(), name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?;
                self.private.give(&file)?;
                Ok(file)
            })
        })
    }

    /// Writes a whole file.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let file = File::from(self.empty_file(name)?);
        self.private.all().with_room(|| file.write_all_at(content, 0))
    }

    /// Removes a file.
    pub(super) fn remove(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
    }
}

/// Mode of what every user may read and write.
const EVERYBODY: Mode =
    Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::WGRP).union(Mode::ROTH).union(Mode::WOTH);
