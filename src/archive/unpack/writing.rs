//! Files on their way from an archive to their places.

use crate::archive::{
    entry::{Entry, Kind},
    error::{Error, Result},
};
use rustix::{
    fs::{
        AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, fchmod, fchown, fstat, futimens, statat, unlinkat,
    },
    io::Errno,
};
use std::{
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::Arc,
};

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

/// Bytes of a file that is written only when all of it has come.
const SMALL: u64 = 64 << 10;

/// A file that is being written. One that is dropped before it is whole leaves nothing.
pub(super) struct Writing {
    file: File,
    parent: Arc<OwnedFd>,
    name: Vec<u8>,
    entry: Entry,
    /// What has come of a small one.
    held: Vec<u8>,
    is_whole: bool,
}

impl Writing {
    /// Goes on with a file that was just made.
    pub(super) fn new(file: File, parent: Arc<OwnedFd>, name: &[u8], entry: Entry) -> Self {
        Self { file, parent, name: name.to_vec(), entry, held: Vec::new(), is_whole: false }
    }

    /// What the archive says of it.
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether its bytes are held until all have come.
    pub(super) fn is_small(&self) -> bool {
        self.entry.map.is_none() && self.entry.stored <= SMALL
    }

    /// How many are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes bytes, which come in order.
    pub(super) fn data(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        if self.is_small() {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        self.file.write_all_at(bytes, at).map_err(|error| Error::io(&self.entry.path, error))
    }

    /// All of it has come.
    pub(super) fn finish(mut self, owners: bool) -> Result<()> {
        let entry = &self.entry;
        let failed = |error| Error::io(&entry.path, error);
        self.file.write_all_at(&self.held, 0).map_err(failed)?;
        // A hole at the end.
        if entry.map.is_some() {
            self.file.set_len(entry.size).map_err(failed)?;
        }
        attributes(self.file.as_fd(), entry, owners).map_err(|error| failed(error.into()))?;
        self.is_whole = true;
        Ok(())
    }

    /// Whether its name is still its own: a later entry may have the same one.
    fn has_its_name(&self) -> Result<bool, Errno> {
        let own = fstat(&self.file)?;
        let there = statat(&self.parent, self.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((own.st_dev, own.st_ino) == (there.st_dev, there.st_ino))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.is_whole && self.has_its_name().unwrap_or(false) {
            // Nothing more can be done about one that cannot be removed.
            let _ = unlinkat(&self.parent, self.name.as_slice(), AtFlags::empty());
        }
    }
}

/// The mode that a file is made with: the one that it keeps, if the kernel can give it at once. What is for another owner is nobody
/// else's to read before it is theirs.
pub(super) fn first_mode(entry: &Entry, owners: bool) -> Mode {
    Mode::from_raw_mode(if owners { 0o600 } else { entry.mode & 0o777 })
}

pub(super) fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

pub(super) fn times(entry: &Entry) -> Timestamps {
    let (seconds, nanos) = entry.mtime;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    }
}

/// A new owner takes set-user-id away, so the mode comes after it, and the times last.
pub(super) fn attributes(file: BorrowedFd<'_>, entry: &Entry, owners: bool) -> Result<(), Errno> {
    let mut mode = entry.mode;
    if owners {
        let (uid, gid) = owner(entry);
        fchown(file, uid, gid)?;
    } else if entry.kind == Kind::File {
        // It was meant for another owner.
        mode &= !SET_ID;
    }
    // Looking costs a tenth of what setting the same again does.
    if fstat(file)?.st_mode & 0o7777 != mode {
        fchmod(file, Mode::from_raw_mode(mode))?;
    }
    futimens(file, &times(entry))
}
