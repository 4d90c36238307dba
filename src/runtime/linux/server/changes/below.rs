//! What lies below a sandbox's own layer: the directory of its image, and in front of it, if it was made from one, a frozen layer. The two
//! are seen as the kernel shows them to the sandbox, one over the other.

use super::notes::{Notes, is_whiteout};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, statat},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Other file systems are not part of what lies below a layer.
const WITHIN: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

/// All that lies below.
pub(super) struct Below {
    image: OwnedFd,
    frozen: Option<OwnedFd>,
    notes: Notes,
}

/// One directory of it.
pub(super) struct Merged {
    frozen: Option<OwnedFd>,
    image: Option<OwnedFd>,
}

impl Below {
    /// Opens the top. A layer that has nothing of this file system is none.
    pub(super) fn open(image: &Path, frozen: Option<&Path>, notes: Notes) -> io::Result<Self> {
        let top = |path: &Path| rustix::fs::open(path, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty());
        let frozen = match frozen.map(top) {
            Some(Err(Errno::NOENT)) | None => None,
            Some(opened) => Some(opened?),
        };
        Ok(Self { image: top(image)?, frozen, notes })
    }

    /// Opens a directory by its path from the top. `None` if there is none any more, or it is another file system's.
    pub(super) fn directory(&self, path: &[u8]) -> io::Result<Option<Merged>> {
        let Some(top) = &self.frozen else {
            return Ok(self.in_image(path)?.map(|image| Merged { frozen: None, image: Some(image) }));
        };
        // Where the same directory is in the image, as the layer has it: `None` when the layer hides it.
        let mut image: Option<Vec<u8>> = Some(Vec::new());
        let mut frozen = Some(openat(top, c".", DIRECTORY, Mode::empty())?);
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let name = CString::new(name).map_err(io::Error::other)?;
            let above = image.take();
            let below = above.as_deref().map(|above| {
                if above.is_empty() { name.to_bytes().to_owned() } else { [above, b"/", name.to_bytes()].concat() }
            });
            let Some(directory) = frozen.take() else {
                image = below;
                continue;
            };
            match look(directory.as_fd(), &name)? {
                None => image = below,
                Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => return Ok(None),
                Some(_) => {
                    let entered = openat(&directory, &name, DIRECTORY, Mode::empty())?;
                    image = match self.notes.redirect(entered.as_fd(), above.as_deref())? {
                        _ if self.notes.is_opaque(entered.as_fd())? => None,
                        Some(redirect) => Some(redirect),
                        None => below,
                    };
                    frozen = Some(entered);
                }
            }
        }
        let image = image.map_or(Ok(None), |path| self.in_image(&path))?;
        Ok((frozen.is_some() || image.is_some()).then_some(Merged { frozen, image }))
    }

    fn in_image(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let path = if path.is_empty() { &b"."[..] } else { path };
        match openat2(&self.image, path, DIRECTORY, Mode::empty(), WITHIN) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Merged {
    /// What a name is in it. `None`: nothing.
    pub(super) fn look(&self, name: &CStr) -> io::Result<Option<Stat>> {
        if let Some(frozen) = &self.frozen
            && let Some(stat) = look(frozen.as_fd(), name)?
        {
            return Ok(Some(stat).filter(|stat| !is_whiteout(stat)));
        }
        self.image.as_ref().map_or(Ok(None), |image| look(image.as_fd(), name))
    }

    /// The directories whose names are all of its names. Some of these may be of what was removed.
    pub(super) fn parts(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.frozen.iter().chain(&self.image).map(AsFd::as_fd)
    }
}

/// What a name is in a directory. `None`: nothing.
pub(super) fn look(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
