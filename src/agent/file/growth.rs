//! Looking for the directories that are to be watched, part by part: what is below a directory that was just found, or, after
//! events were lost, everything.
//!
//! A directory is watched before it is looked into, so nothing that appears in it is missed; what appears in between is seen twice.

use super::{
    error::{At, Result, of_archive},
    watched::{Watch, Watched},
    work::Wanted,
};
use crate::archive::{self, Patterns, Walk};
use rustix::{
    fs::{FileType, Mode, OFlags, fstatfs, openat},
    io::Errno,
};
use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// File systems whose directories the kernel makes up. It tells no changes there.
const MADE_UP: [u64; 4] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
];

/// A look that is under way.
pub(super) struct Growth {
    walk: Walk,
    /// The watches from where it began down to where it is.
    above: Vec<Watch>,
    /// The path of where it began, from the top.
    begin: Vec<u8>,
    is_round: bool,
}

/// Something that was found: its path from the top, and whether it is a directory.
pub(super) type Seen = (Vec<u8>, bool);

impl Growth {
    /// Looks below a directory that is watched. `None` if it is gone meanwhile, or may not be read.
    pub(super) fn below(directory: OwnedFd, watch: Watch, path: Vec<u8>) -> Result<Option<Self>> {
        match Walk::new(directory, Patterns::none(), false) {
            Ok(walk) => Ok(Some(Self { walk, above: vec![watch], begin: path, is_round: false })),
            Err(error) if is_of_one(&error) => Ok(None),
            Err(error) => Err(of_archive(error)),
        }
    }

    /// Looks for all directories anew.
    pub(super) fn round(top: OwnedFd, watched: &mut Watched) -> Result<Option<Self>> {
        watched.begin_round();
        let growth = Self::below(top, watched.top(), Vec::new())?;
        Ok(growth.map(|growth| Self { is_round: true, ..growth }))
    }

    /// Whether it looks for all directories anew. Then what it finds is not new.
    pub(super) fn is_round(&self) -> bool {
        self.is_round
    }

    /// What is found next; `None` at the end.
    pub(super) fn next(&mut self, watched: &mut Watched, top: &Path, wanted: &Wanted) -> Result<Option<Seen>> {
        loop {
            wanted.check()?;
            let found = match self.walk.next() {
                None => {
                    if self.is_round {
                        watched.end_round();
                    }
                    return Ok(None);
                }
                Some(Err(error)) if is_want(&error) => return Err(of_archive(error)),
                // What may not be looked into is not watched.
                Some(Err(_)) => continue,
                Some(Ok(found)) => found,
            };
            let is_directory = found.kind() == FileType::Directory;
            let (directory, name, path) = (found.directory, found.name, found.path);
            let depth = path.split(|byte| *byte == b'/').count();
            let path = if self.begin.is_empty() { path } else { [&self.begin, &b"/"[..], &path].concat() };
            if is_directory {
                let above = self.above.get(depth - 1).copied().unwrap_or(watched.top());
                let opened = match openat(directory, &name, DIRECTORY, Mode::empty()) {
                    Err(error) if WANT.contains(&error) => return Err(error).at(top),
                    opened => opened.ok().filter(|directory| !is_made_up(directory)),
                };
                let watch = opened.map(|directory| {
                    let watch = watched.watch(directory.as_fd(), above, name.to_bytes());
                    watch.map(|(watch, _)| (watch, directory))
                });
                match watch {
                    Some(Ok((watch, directory))) => {
                        self.above.truncate(depth);
                        self.above.push(watch);
                        // The one that is watched, and not another that has its name by now.
                        self.walk.enter_this(directory);
                    }
                    Some(Err(problem)) if !problem.is_of_one() => return Err(problem.explain(top)),
                    // It is gone meanwhile, may not be read, or is none in which anything is told.
                    Some(Err(_)) | None => self.walk.pass_by(),
                }
            }
            return Ok(Some((path, is_directory)));
        }
    }
}

fn is_made_up(directory: &OwnedFd) -> bool {
    fstatfs(directory).is_ok_and(|found| MADE_UP.contains(&(found.f_type as u64)))
}

/// What is wanting when a directory cannot be looked into although it is there and may be read. Whoever watches has to hear of it.
const WANT: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::TOOBIG];

fn is_want(error: &archive::Error) -> bool {
    let archive::Error::Io { source, .. } = error else { return false };
    WANT.iter().any(|want| source.raw_os_error() == Some(want.raw_os_error()))
}

/// Whether it is this one directory that is gone or may not be looked into.
pub(super) fn is_of_one(error: &archive::Error) -> bool {
    let archive::Error::Io { source, .. } = error else { return false };
    let code = source.raw_os_error();
    matches!(code, Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EACCES | libc::EPERM))
}

/// Opens a directory in another. `None` if it is gone again, may not be read, or something else has its name.
pub(super) fn open(directory: &OwnedFd, name: &[u8]) -> Result<Option<OwnedFd>, Errno> {
    match openat(directory, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM) => Ok(None),
        opened => opened.map(Some),
    }
}
