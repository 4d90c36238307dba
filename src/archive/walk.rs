//! A walk through a tree of directories: each step is from an open directory to one of its entries, and symbolic links are never
//! followed. It goes on when it is asked to, so nobody has to wait for all of it.

use super::{
    directory::DIRECTORY,
    error::{Error, Result},
    ignored::Patterns,
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, Stat, fstat, openat, statat},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Directories that are open at one time; those above them are opened again on the way back.
const MOST_OPEN: usize = 32;

/// Names in one directory. They are held while it is walked through.
const MOST_NAMES: usize = 1_000_000;

/// A walk.
pub struct Walk {
    top: OwnedFd,
    frames: Vec<Frame>,
    /// The path from the top to the directory that was reached.
    path: Vec<u8>,
    /// The directory that was found last, which is entered next; open, if somebody has opened it already.
    next: Option<(CString, Option<OwnedFd>)>,
    excluded: Patterns,
    honours_gitignore: bool,
}

struct Frame {
    /// `None` while too many are open.
    directory: Option<OwnedFd>,
    /// Which one it is, while it is not open.
    closed: Option<(u64, u64)>,
    names: std::vec::IntoIter<CString>,
    /// How long the path was in the directory above.
    above: usize,
    /// How long the path is here, with the slash behind it.
    here: usize,
    ignored: Option<Patterns>,
}

/// An entry that a walk has found.
pub struct Found<'a> {
    /// The directory that it is in.
    pub directory: BorrowedFd<'a>,
    /// Its name there.
    pub name: CString,
    /// Its path from the top.
    pub path: Vec<u8>,
    /// What it is.
    pub stat: Stat,
}

impl Found<'_> {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Walk {
    /// Begins at an open directory.
    pub fn new(top: OwnedFd, excluded: Patterns, honours_gitignore: bool) -> Result<Self> {
        let mut walk = Self { top, frames: Vec::new(), path: Vec::new(), next: None, excluded, honours_gitignore };
        let top = openat(&walk.top, c".", DIRECTORY, Mode::empty()).map_err(|error| Error::io("", error))?;
        walk.push(top, 0).map_err(|error| Error::io("", error))?;
        Ok(walk)
    }

    /// What is found next: a directory before what is in it. An error is one directory's, and the walk goes on after it.
    /// `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed from it, which no iterator's can be")]
    pub fn next(&mut self) -> Option<Result<Found<'_>>> {
        if let Some((name, opened)) = self.next.take()
            && let Err(error) = self.enter(&name, opened)
        {
            let path = self.path_of(&name);
            return Some(Err(Error::io(path, error)));
        }
        loop {
            let frame = self.frames.last_mut()?;
            let Some(name) = frame.names.next() else {
                if let Err(error) = self.leave() {
                    // What is left in the directories above cannot be reached any more.
                    self.frames.clear();
                    return Some(Err(Error::io(&self.path, error)));
                }
                continue;
            };
            let Some(directory) = &frame.directory else { continue };
            let stat = match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It is gone meanwhile.
                Err(Errno::NOENT) => continue,
                Err(error) => return Some(Err(Error::io(self.path_of(&name), error))),
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let path = self.path_of(&name);
            if self.is_left_out(&path, is_directory) {
                continue;
            }
            if is_directory {
                self.next = Some((name.clone(), None));
            }
            let directory = self.frames.last().and_then(|frame| frame.directory.as_ref()).unwrap_or(&self.top).as_fd();
            return Some(Ok(Found { directory, name, path, stat }));
        }
    }

    /// Does not enter the directory that was found last.
    pub fn pass_by(&mut self) {
        self.next = None;
    }

    /// Enters the directory that was found last as somebody has opened it. By now another one may have its name.
    pub fn enter_this(&mut self, directory: OwnedFd) {
        if let Some((_, opened)) = &mut self.next {
            *opened = Some(directory);
        }
    }

    fn path_of(&self, name: &CStr) -> Vec<u8> {
        [self.path.as_slice(), name.to_bytes()].concat()
    }

    /// The innermost `.gitignore` that speaks of it decides; a client's patterns go before all.
    fn is_left_out(&self, path: &[u8], is_directory: bool) -> bool {
        if let Some(says) = self.excluded.says(path, is_directory) {
            return says;
        }
        let says = |frame: &Frame| frame.ignored.as_ref()?.says(&path[frame.here..], is_directory);
        self.frames.iter().rev().find_map(says).unwrap_or(false)
    }

    fn enter(&mut self, name: &CStr, opened: Option<OwnedFd>) -> Result<(), Errno> {
        let Some(Frame { directory: Some(above), .. }) = self.frames.last() else { return Err(Errno::NOENT) };
        let directory = match opened.map_or_else(|| openat(above, name, DIRECTORY, Mode::empty()), Ok) {
            // It is gone meanwhile, or something else is in its place.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            opened => opened?,
        };
        let before = self.path.len();
        self.path.extend_from_slice(name.to_bytes());
        self.path.push(b'/');
        let pushed = self.push(directory, before);
        if pushed.is_err() {
            self.path.truncate(before);
        }
        pushed
    }

    fn push(&mut self, directory: OwnedFd, above: usize) -> Result<(), Errno> {
        let names = names(&directory)?;
        let ignored = self.honours_gitignore.then(|| Patterns::of(directory.as_fd())).flatten();
        let frame = Frame {
            directory: Some(directory),
            closed: None,
            names: names.into_iter(),
            above,
            here: self.path.len(),
            ignored,
        };
        self.frames.push(frame);
        if let Some(at) = self.frames.len().checked_sub(MOST_OPEN + 1)
            && let Some(directory) = self.frames[at].directory.take()
        {
            self.frames[at].closed = Some(which(&directory)?);
        }
        Ok(())
    }

    /// Goes back to the directory above.
    fn leave(&mut self) -> Result<(), Errno> {
        let Some(left) = self.frames.pop() else { return Ok(()) };
        self.path.truncate(left.above);
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        if frame.directory.is_some() {
            return Ok(());
        }
        let mut here = openat(&self.top, c".", DIRECTORY, Mode::empty())?;
        for name in self.path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            here = match openat(&here, name, DIRECTORY, Mode::empty()) {
                // What was in it is not there any more either.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    frame.names = Vec::new().into_iter();
                    return Ok(());
                }
                opened => opened?,
            };
        }
        if frame.closed.take() != Some(which(&here)?) {
            // Another one has its name now.
            frame.names = Vec::new().into_iter();
        }
        frame.directory = Some(here);
        Ok(())
    }
}

/// What tells a directory from all others that are there.
fn which(directory: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The names in a directory, in order of their bytes.
fn names(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if names.len() >= MOST_NAMES {
            return Err(Errno::TOOBIG);
        }
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok(names)
}
