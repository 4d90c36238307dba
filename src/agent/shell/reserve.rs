//! A little room that is kept for the agent where programs can fill up the directory that it shares with them: enough for a
//! command that clears up.

use rustix::{
    fs::{FallocateFlags, Mode, OFlags},
    io::Errno,
};
use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Mutex,
};

/// How many files are kept, because files can be used up as well as bytes.
const FILES: usize = 8;

/// Bytes of each.
const BYTES: u64 = 16 << 10;

/// Files without a name, which nobody else can remove.
#[derive(Debug, Default)]
pub(super) struct Reserve(Mutex<Vec<OwnedFd>>);

impl Reserve {
    /// Takes room again that was given up. Where there is none, the next time may be luckier.
    pub(super) fn fill(&self, directory: BorrowedFd<'_>) {
        let mut files = crate::sync::lock(&self.0);
        while files.len() < FILES {
            let make = || -> io::Result<OwnedFd> {
                let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
                let file = rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)?;
                rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES)?;
                Ok(file)
            };
            let Ok(file) = make() else { return };
            files.push(file);
        }
    }

    /// Does something, and if there is no room for it, does it again with the room that was kept.
    pub(super) fn lend<T>(&self, deed: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match deed() {
            Err(error) if error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
                let files = std::mem::take(&mut *crate::sync::lock(&self.0));
                let had_some = !files.is_empty();
                drop(files);
                if had_some { deed() } else { Err(error) }
            }
            other => other,
        }
    }
}
