//! Putting entries in their places. Each is reached by a step at a time from the directory that everything goes into, so none can
//! lead elsewhere, whatever the archive says and whatever programs do to the directory meanwhile.

use super::{
    Rules, Unpacked,
    beside::Beside,
    owners::Owners,
    writing::{Writing, attributes, first_mode, owner, times},
};
use crate::archive::{
    directory::Directories,
    entry::{Entry, Kind},
    error::{Error, Refusal, Result, text},
    format::Receive,
};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, chownat, linkat, mkdirat, openat, statat, symlinkat, unlinkat, utimensat},
    io::Errno,
};
use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

/// Entries that are remembered as refused.
const MOST_REFUSED: usize = 100;

/// How often something that is in the way is removed before it counts as somebody else's.
const TRIES: usize = 8;

/// Puts entries in their places.
pub(super) struct Placing {
    directories: Directories,
    rules: Rules,
    most_entries: u64,
    entries: u64,
    done: Unpacked,
    /// Which owners there are, when entries get those of the archive.
    owners: Option<Owners>,
    /// The file under way.
    writing: Option<Writing>,
    /// Where those go that have come whole.
    beside: Beside,
    /// The directories above it that the archive has mentioned: they get their attributes when it is done with them.
    above: Vec<Entry>,
}

/// The names on the way to an entry. None of them leads up.
fn names(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    if path.starts_with(b"/") {
        return Err(Refusal::Absolute);
    }
    let names: Vec<_> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if names.contains(&&b".."[..]) { Err(Refusal::LeadsOut) } else { Ok(names) }
}

/// Whether a symbolic link in a directory so deep leads out of the top.
fn leads_out(target: &[u8], depth: usize) -> bool {
    let mut depth = depth;
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    target.starts_with(b"/")
}

impl Placing {
    pub(super) fn new(into: OwnedFd, rules: Rules, most_entries: u64) -> Self {
        Self {
            directories: Directories::new(into),
            rules,
            most_entries,
            entries: 0,
            done: Unpacked::default(),
            owners: rules.owners.then(Owners::known),
            writing: None,
            beside: Beside::new(rules.owners),
            above: Vec::new(),
        }
    }

    /// Returns when all files that have come whole are in their places.
    pub(super) fn wait(&mut self) -> Result<()> {
        self.beside.wait()
    }

    /// Gives the directories their attributes, and says what was done.
    pub(super) fn finish(&mut self) -> Result<Unpacked> {
        self.leave_to(&[])?;
        Ok(std::mem::take(&mut self.done))
    }

    fn refuse(&mut self, entry: &Entry, why: Refusal) -> Result<()> {
        let name = text(&entry.path);
        if !self.rules.skip_refused {
            return Err(Error::Refused { entry: name, why });
        }
        self.done.refused_total += 1;
        if self.done.refused.len() < MOST_REFUSED {
            self.done.refused.push((name, why));
        }
        Ok(())
    }

    /// Leaves the directories that an entry with these names is not in.
    fn leave_to(&mut self, now: &[&[u8]]) -> Result<()> {
        while let Some(last) = self.above.last() {
            let path = names(&last.path).unwrap_or_default();
            if now.len() > path.len() && now.starts_with(&path) {
                break;
            }
            if let Some(entry) = self.above.pop() {
                self.set_directory(&entry)?;
            }
        }
        Ok(())
    }

    fn set_directory(&mut self, entry: &Entry) -> Result<()> {
        let path = names(&entry.path).unwrap_or_default();
        let directory = match self.directories.open(&path, false) {
            Ok(directory) => directory,
            // Somebody has removed it or put something in its place, so it needs no attributes.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(Error::io(&entry.path, error)),
        };
        attributes(directory.as_fd(), entry, self.rules.owners).map_err(|error| Error::io(&entry.path, error))
    }

    fn place(&mut self, mut entry: Entry) -> Result<()> {
        let path = entry.path.clone();
        let way = match names(&path) {
            Ok(way) => way,
            Err(why) => return self.refuse(&entry, why),
        };
        self.leave_to(&way)?;
        let Some((name, parents)) = way.split_last() else {
            // The directory that everything goes into.
            if entry.kind == Kind::Directory && self.rules.top {
                entry.path.clear();
                self.above.push(entry);
            }
            return Ok(());
        };
        if self.owners.as_ref().is_some_and(|known| !known.have(&entry)) {
            return self.refuse(&entry, Refusal::OwnerUnknown);
        }
        match entry.kind {
            Kind::Special => return self.refuse(&entry, Refusal::Special),
            Kind::Symlink if entry.link.is_empty() => return self.refuse(&entry, Refusal::LinkLeadsNowhere),
            Kind::Symlink if leads_out(&entry.link, parents.len()) && !self.rules.outside_links => {
                return self.refuse(&entry, Refusal::LinkLeadsOut);
            }
            Kind::HardLink => return self.hard_link(entry, parents, name),
            _ => {}
        }
        if self.rules.no_git && way.iter().any(|name| name.eq_ignore_ascii_case(b".git")) {
            return self.refuse(&entry, Refusal::Git);
        }
        let failed = |error| Error::io(&path, error);
        let owners = self.rules.owners;
        let parent = match self.directories.open(parents, true) {
            Ok(parent) => parent,
            Err(Errno::NOTDIR | Errno::LOOP) => return self.refuse(&entry, Refusal::ThroughLink),
            Err(error) => return Err(failed(error)),
        };
        match entry.kind {
            Kind::Symlink => {
                instead(parent, name, || symlinkat(entry.link.as_slice(), parent, *name)).map_err(failed)?;
                if owners {
                    let (uid, gid) = owner(&entry);
                    chownat(parent, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                }
                utimensat(parent, *name, &times(&entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                self.done.symlinks += 1;
            }
            Kind::Directory => {
                // Open to its user until the archive is done with it.
                let make = || mkdirat(parent, *name, Mode::from_raw_mode(0o700 | entry.mode & 0o777));
                match make() {
                    Err(Errno::EXIST) if is_directory(parent, name).map_err(failed)? => {}
                    Err(Errno::EXIST) => instead(parent, name, make).map_err(failed)?,
                    made => made.map_err(failed)?,
                }
                self.done.directories += 1;
                self.above.push(entry);
            }
            _ => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let create = || openat(parent, *name, flags, first_mode(&entry, owners));
                let file = File::from(instead(parent, name, create).map_err(failed)?);
                self.writing = Some(Writing::new(file, Arc::clone(parent), name, entry));
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, entry: Entry, parents: &[&[u8]], name: &[u8]) -> Result<()> {
        let failed = |error| Error::io(&entry.path, error);
        let target = match names(&entry.link) {
            Ok(target) => target,
            Err(_) => return self.refuse(&entry, Refusal::HardLinkLeadsOut),
        };
        let Some((target_name, target_parents)) = target.split_last() else {
            return self.refuse(&entry, Refusal::HardLinkLeadsOut);
        };
        let from = match self.directories.open(target_parents, false) {
            Ok(from) => Arc::clone(from),
            Err(Errno::NOTDIR | Errno::LOOP) => return self.refuse(&entry, Refusal::HardLinkLeadsOut),
            Err(Errno::NOENT) => return self.refuse(&entry, Refusal::HardLinkToNothing),
            Err(error) => return Err(Error::io(&entry.link, error)),
        };
        let parent = match self.directories.open(parents, true) {
            Ok(parent) => parent,
            Err(Errno::NOTDIR | Errno::LOOP) => return self.refuse(&entry, Refusal::ThroughLink),
            Err(error) => return Err(failed(error)),
        };
        let original = match statat(&from, *target_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return self.refuse(&entry, Refusal::HardLinkToNothing),
            found => found.map_err(|error| Error::io(&entry.link, error))?,
        };
        if FileType::from_raw_mode(original.st_mode) == FileType::Directory {
            return self.refuse(&entry, Refusal::HardLinkToDirectory);
        }
        // One that is there already must not be removed to make room for itself.
        let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (original.st_dev, original.st_ino)) {
            self.done.files += 1;
            return Ok(());
        }
        instead(parent, name, || linkat(&from, *target_name, parent, name, AtFlags::empty())).map_err(failed)?;
        self.done.files += 1;
        Ok(())
    }
}

impl Receive for Placing {
    fn begin(&mut self, entry: Entry) -> Result<()> {
        self.entries += 1;
        if self.entries > self.most_entries {
            return Err(Error::TooLarge { entry: text(&entry.path), what: "entries", most: self.most_entries });
        }
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(Error::damaged(&entry.path, "its name has a NUL in it"));
        }
        self.place(entry)
    }

    fn data(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        // What was refused has bytes that nobody wants.
        self.writing.as_mut().map_or(Ok(()), |writing| writing.data(at, bytes))
    }

    fn end(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        self.done.files += 1;
        self.done.bytes = self.done.bytes.saturating_add(writing.entry().size);
        self.beside.finish(writing)
    }
}

/// Makes something in the place of what is there, unless that is a directory.
fn instead<T>(parent: impl AsFd, name: &[u8], make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..TRIES {
        match make() {
            Err(Errno::EXIST) => match unlinkat(&parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            },
            made => return made,
        }
    }
    Err(Errno::EXIST)
}

fn is_directory(parent: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_out_is_known_by_its_words() {
        for (target, depth, expected) in [
            ("/etc/passwd", 3, true),
            ("..", 0, true),
            ("..", 1, false),
            ("a/../../b", 0, true),
            ("a/../b", 0, false),
            ("../../x", 1, true),
            ("./x//y/..", 0, false),
        ] {
            assert_eq!(leads_out(target.as_bytes(), depth), expected, "{target} at {depth}");
        }
    }

    #[test]
    fn names_do_not_lead_up() {
        assert_eq!(names(b"./a//b/."), Ok(vec![&b"a"[..], b"b"]));
        assert_eq!(names(b"./"), Ok(vec![]));
        assert_eq!(names(b"/a"), Err(Refusal::Absolute));
        assert_eq!(names(b"a/../b"), Err(Refusal::LeadsOut));
    }
}
