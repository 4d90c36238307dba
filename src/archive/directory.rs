//! Directories below one that is trusted, reached a step at a time and never through a symbolic link, because somebody else may
//! be changing them.

use rustix::{
    fs::{Mode, OFlags, mkdirat, openat},
    io::Errno,
};
use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Mode of directories that an archive does not mention.
const UNMENTIONED: Mode = Mode::from_raw_mode(0o755);

/// The top of a tree, and the directory in it that was used last.
pub(super) struct Directories {
    top: Arc<OwnedFd>,
    last: Option<(Vec<u8>, Arc<OwnedFd>)>,
}

impl Directories {
    pub(super) fn new(top: OwnedFd) -> Self {
        Self { top: Arc::new(top), last: None }
    }

    /// Opens the directory with these names from the top down. Those that are missing are made if `make` says so. `LOOP` or
    /// `NOTDIR` when there is something else on the way.
    pub(super) fn open(&mut self, names: &[&[u8]], make: bool) -> Result<&Arc<OwnedFd>, Errno> {
        if names.is_empty() {
            return Ok(&self.top);
        }
        let wanted = names.join(&b'/');
        if self.last.as_ref().is_none_or(|(path, _)| *path != wanted) {
            // What is below the last one is reached from there.
            let from = self.last.as_ref().filter(|(path, _)| {
                wanted.strip_prefix(path.as_slice()).is_some_and(|rest| rest.first() == Some(&b'/'))
            });
            let skipped = from.map_or(0, |(path, _)| path.split(|byte| *byte == b'/').count());
            let mut here: Option<OwnedFd> = None;
            for name in &names[skipped..] {
                let above = match (&here, from) {
                    (Some(here), _) => here.as_fd(),
                    (None, Some((_, from))) => from.as_fd(),
                    (None, None) => self.top.as_fd(),
                };
                let next = match openat(above, *name, DIRECTORY, Mode::empty()) {
                    Err(Errno::NOENT) if make => {
                        match mkdirat(above, *name, UNMENTIONED) {
                            Ok(()) | Err(Errno::EXIST) => {}
                            Err(error) => return Err(error),
                        }
                        openat(above, *name, DIRECTORY, Mode::empty())
                    }
                    opened => opened,
                }?;
                here = Some(next);
            }
            self.last = here.map(|here| (wanted, Arc::new(here)));
        }
        Ok(self.last.as_ref().map_or(&self.top, |(_, here)| here))
    }
}
