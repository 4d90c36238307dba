//! What is in a directory that is held open: found, told apart, opened and put away by its name alone, without following a link
//! and without waiting.

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

/// How a directory is opened.
pub(super) const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Frees a name, whatever has it. A directory that is not empty is given another name, which takes no longer the more is in
/// it, and goes with the directory that it is in.
pub(super) fn put_away(directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    put_away_unless(directory, name, false).map(drop)
}

/// As [`put_away`]; but a directory that is not empty may stay where it is, which is false then.
pub(super) fn put_away_unless<P: rustix::path::Arg + Copy>(
    directory: BorrowedFd<'_>,
    name: P,
    stay: bool,
) -> io::Result<bool> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) if stay => Ok(false),
        Err(Errno::NOTEMPTY | Errno::EXIST) => move_up(directory, name, directory).map(|_| true),
        Err(error) => Err(error.into()),
    }
}

/// Moves something to a directory, under a name that nobody has or can guess.
pub(super) fn move_up<P: rustix::path::Arg>(from: BorrowedFd<'_>, name: P, to: BorrowedFd<'_>) -> io::Result<u64> {
    let number = uuid::Uuid::new_v4().as_u64_pair().0;
    rustix::fs::renameat(from, name, to, removed(number))?;
    Ok(number)
}

/// Such a name.
pub(super) fn removed(number: u64) -> String {
    format!("removed-{number:x}")
}

/// What tells one directory from another.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Opens something, without following links and without waiting.
pub(super) fn open(directory: BorrowedFd<'_>, name: &str, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// As [`open`], if it is of this type.
pub(super) fn open_as(
    directory: BorrowedFd<'_>,
    name: &str,
    access: OFlags,
    wanted: FileType,
) -> io::Result<(OwnedFd, Stat)> {
    let opened = open(directory, name, access)?;
    let stat = rustix::fs::fstat(&opened)?;
    if FileType::from_raw_mode(stat.st_mode) != wanted {
        return Err(io::Error::other(format!("{name} is not what it was")));
    }
    Ok((opened, stat))
}

/// Which file it is, and who may open it: what a program can change with its output in hand (`cp -p x /dev/stdout`).
#[derive(PartialEq, Eq)]
pub(super) struct Nature {
    device: u64,
    number: u64,
    mode: u32,
    owner: u32,
    group: u32,
}

impl From<Stat> for Nature {
    fn from(stat: Stat) -> Self {
        Self { device: stat.st_dev, number: stat.st_ino, mode: stat.st_mode, owner: stat.st_uid, group: stat.st_gid }
    }
}

impl Nature {
    /// What tells it from other files.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.device, self.number)
    }
}
