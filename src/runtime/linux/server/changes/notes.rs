//! What the kernel notes in a layer about what lies below it.

use crate::runtime::linux::storage::slots;
use rustix::{
    fs::{FileType, Stat, fgetxattr},
    io::Errno,
};
use std::{io, os::fd::BorrowedFd};

/// The longest note: a path.
const LONGEST: usize = 4096;

/// How a layer's notes and owners are to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notes {
    /// The slot whose ids own the layer's files. Without root they have their own owners, and notes that users may write.
    pub(super) slot: Option<u32>,
    /// The slot whose ids own the files of the layer that lies between it and the image.
    pub(super) frozen: Option<u32>,
}

/// Whether this stands for something that was removed.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl Notes {
    /// Whether a directory has other attributes than the one below it, or other entries: those change its time.
    pub(super) fn differ(self, below: &Stat, now: &Stat, is_upper: bool) -> bool {
        let owner = |id: u32| match self.slot {
            Some(slot) if is_upper => {
                slots::host_id(slot, self.frozen.map_or(id, |frozen| slots::local_id(frozen, id)))
            }
            _ => id,
        };
        (below.st_mode, below.st_mtime, below.st_mtime_nsec) != (now.st_mode, now.st_mtime, now.st_mtime_nsec)
            || (self.slot.is_some() && (owner(below.st_uid), owner(below.st_gid)) != (now.st_uid, now.st_gid))
    }

    /// Whether what is in a directory has nothing to do with what lies below it.
    pub(super) fn is_opaque(self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        Ok(self.read(directory, "opaque")?.is_some_and(|value| value == b"y"))
    }

    /// Where the contents of a directory are that was renamed: a path from the top, `above` being that of the directory above it.
    pub(super) fn redirect(self, directory: BorrowedFd<'_>, above: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let Some(value) = self.read(directory, "redirect")? else { return Ok(None) };
        Ok(match (value.strip_prefix(b"/"), above) {
            (Some(path), _) => Some(path.to_owned()),
            (None, Some([])) => Some(value),
            (None, Some(above)) => Some([above, b"/", &value].concat()),
            (None, None) => None,
        })
    }

    fn read(self, directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<Vec<u8>>> {
        let kind = if self.slot.is_some() { "trusted" } else { "user" };
        let mut value = vec![0; LONGEST];
        match fgetxattr(directory, format!("{kind}.overlay.{name}"), value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
