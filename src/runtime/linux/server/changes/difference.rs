//! How one layer differs from what lies below it. The layer is looked at as it lies on the host, while the sandbox may be changing
//! it: each step is from an open directory to one of its entries, and no link is followed ([`crate::runtime::linux::storage::walk`]).
//!
//! The kernel keeps in a layer what was made or changed. What was removed is there as a device of number 0, a *whiteout*; a directory that
//! has nothing to do with the one below it is *opaque*; and one that was renamed says where its contents are below, its *redirect*.

use super::{
    below::{Below, Merged, look},
    notes::{Notes, is_whiteout},
};
use crate::runtime::{
    ChangeKind,
    linux::storage::walk::{Up, Walk},
};
use rustix::{
    fs::{Dir, FileType, Stat},
    io::Errno,
};
use std::{
    collections::{BTreeSet, VecDeque},
    ffi::{CStr, CString},
    io,
    os::fd::BorrowedFd,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

/// Names of one directory that are held at one time; those further down hold fewer, so that all together are bounded.
const MOST_NAMES: usize = 2048;
const LEAST_NAMES: usize = 16;

/// A layer, and what lies below it.
pub(super) struct Layer<'a> {
    pub(super) upper: &'a Path,
    pub(super) lower: &'a Path,
    /// The frozen layer that lies in front of that.
    pub(super) frozen: Option<&'a Path>,
    pub(super) notes: Notes,
}

/// What ends a look early.
pub(super) struct Until<'a> {
    pub(super) stop: &'a AtomicBool,
    pub(super) time: Instant,
}

/// A look under way.
struct Look<'a> {
    walk: Walk,
    lower: Below,
    notes: Notes,
    levels: Vec<Level>,
    path: Vec<u8>,
    until: Until<'a>,
}

/// A directory that is looked through.
struct Level {
    /// How long its path is.
    path: usize,
    /// The directory of the same path below, if there is one.
    compared: Option<Vec<u8>>,
    /// The directory below whose contents are seen in it, if there is one.
    seen: Option<Vec<u8>>,
    /// Whether it is in the layer.
    is_upper: bool,
    names: VecDeque<CString>,
    /// The last name that was taken.
    last: Option<CString>,
    /// Whether there are more names behind those.
    is_cut: bool,
    /// Both directories below, open while this level is the deepest. Where they are the same, the first is both.
    open: Option<[Option<Merged>; 2]>,
}

impl Level {
    /// Whether what is seen below is what the layer is compared with.
    fn is_same(&self) -> bool {
        self.compared == self.seen
    }

    /// Opens both directories below, unless they are open.
    fn open(&mut self, lower: &Below) -> io::Result<()> {
        if self.open.is_none() {
            let open = |path: &Option<Vec<u8>>| path.as_ref().map_or(Ok(None), |path| lower.directory(path));
            let seen = if self.is_same() { None } else { open(&self.seen)? };
            self.open = Some([open(&self.compared)?, seen]);
        }
        Ok(())
    }
}

/// Tells the differences behind a path, `tell` being asked for each whether to go on. `None` when all were told; else the path
/// up to which they were.
pub(super) fn tell(
    layer: &Layer<'_>,
    after: &[u8],
    until: Until<'_>,
    tell: &mut dyn FnMut(&[u8], ChangeKind) -> bool,
) -> io::Result<Option<Vec<u8>>> {
    let walk = match Walk::at(layer.upper) {
        // There is no such layer.
        Err(Errno::NOENT) => return Ok(None),
        walk => walk?,
    };
    let notes = layer.notes;
    let lower = Below::open(layer.lower, layer.frozen, notes)?;
    let mut look = Look { walk, lower, notes, levels: Vec::new(), path: Vec::new(), until };
    look.push(true, Some(Vec::new()), Some(Vec::new()), 0);
    look.run(after, tell)
}

impl Look<'_> {
    fn run(&mut self, after: &[u8], tell: &mut dyn FnMut(&[u8], ChangeKind) -> bool) -> io::Result<Option<Vec<u8>>> {
        // Names on the way to where to go on.
        let mut reached: VecDeque<_> = after.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let (mut from, mut is_first) = (reached.pop_front(), true);
        loop {
            if self.until.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let Some(name) = self.next_name(from)? else {
                from = None;
                if !self.leave()? {
                    return Ok(None);
                }
                continue;
            };
            let was_reached = from.is_some_and(|from| from == name.to_bytes());
            let Some((kind, below)) = self.judge(&name)? else {
                from = None;
                continue;
            };
            let before = self.path.len();
            if before > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            if !was_reached
                && let Some(kind) = kind
                && !tell(&self.path, kind)
            {
                return Ok(Some(self.path.clone()));
            }
            let here = self.path.clone();
            let is_entered = match below {
                Some(below) => self.enter(&name, below, before)?,
                None => false,
            };
            if !is_entered {
                self.path.truncate(before);
            }
            from = if was_reached && is_entered { reached.pop_front() } else { None };
            // At least one is looked at, or nobody would ever come to an end.
            if !was_reached && !is_first && Instant::now() > self.until.time {
                return Ok(Some(here));
            }
            is_first &= was_reached;
        }
    }

    fn push(&mut self, is_upper: bool, compared: Option<Vec<u8>>, seen: Option<Vec<u8>>, path: usize) {
        if let Some(above) = self.levels.last_mut() {
            above.open = None;
        }
        let (names, last) = (VecDeque::new(), None);
        self.levels.push(Level { path, compared, seen, is_upper, names, last, is_cut: true, open: None });
    }

    /// The next name of the deepest directory, not before `from`.
    fn next_name(&mut self, from: Option<&[u8]>) -> io::Result<Option<CString>> {
        let depth = self.levels.len();
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        if level.names.is_empty() && level.is_cut {
            let most = (MOST_NAMES / depth).max(LEAST_NAMES);
            level.open(&self.lower)?;
            let mut names = Names { found: BTreeSet::new(), most, is_cut: false, last: level.last.as_deref(), from };
            if level.is_upper {
                names.read(self.walk.here(), &self.until)?;
            }
            // What is in the layer alone can differ, unless what is seen below is another directory.
            if !level.is_same() {
                for directory in level.open.iter().flatten().flatten().flat_map(Merged::parts) {
                    names.read(directory, &self.until)?;
                }
            }
            (level.is_cut, level.names) = (names.is_cut, names.found.into_iter().collect());
        }
        let next = level.names.pop_front();
        if next.is_some() {
            level.last.clone_from(&next);
        }
        Ok(next)
    }

    /// What has become of a name, and what is below it if that is a directory to look into. `None`: nothing.
    #[allow(clippy::type_complexity)]
    fn judge(&mut self, name: &CStr) -> io::Result<Option<(Option<ChangeKind>, Option<Child>)>> {
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        level.open(&self.lower)?;
        let below = |which: usize| {
            let directory = level.open.as_ref().and_then(|open| open[which].as_ref());
            directory.map_or(Ok(None), |directory| directory.look(name))
        };
        let upper = if level.is_upper { look(self.walk.here(), name)? } else { None };
        let compared_stat = below(0)?;
        let is_same = level.is_same();
        let below_stat = if is_same { compared_stat } else { below(1)? };
        let is_upper = upper.is_some_and(|upper| !is_whiteout(&upper));
        let visible = match upper {
            Some(upper) if is_whiteout(&upper) => None,
            Some(upper) => Some(upper),
            None => below_stat,
        };
        let kind = match (&compared_stat, &visible) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Ok(Some((Some(ChangeKind::Removed), None))),
            (None, Some(_)) => Some(ChangeKind::Added),
            (Some(_), Some(_)) if !is_upper && is_same => return Ok(None),
            (Some(before), Some(now)) if is_directory(before) && is_directory(now) => {
                self.notes.differ(before, now, is_upper).then_some(ChangeKind::Modified)
            }
            (Some(before), Some(now)) => (is_upper || before.st_ino != now.st_ino).then_some(ChangeKind::Modified),
        };
        let child = |path: &Option<Vec<u8>>, stat: &Option<Stat>| {
            let path = path.as_ref().filter(|_| stat.as_ref().is_some_and(is_directory))?;
            Some(if path.is_empty() { name.to_bytes().to_owned() } else { [path, &b"/"[..], name.to_bytes()].concat() })
        };
        let below = visible.as_ref().filter(|visible| is_directory(visible)).map(|_| Child {
            is_upper,
            compared: child(&level.compared, &compared_stat),
            seen: child(&level.seen, &below_stat),
        });
        Ok(Some((kind, below)))
    }

    /// Enters a directory. `false` if there is nothing in it to look for, or it is gone meanwhile.
    fn enter(&mut self, name: &CStr, below: Child, path: usize) -> io::Result<bool> {
        let Child { is_upper, compared, mut seen } = below;
        if is_upper {
            match self.walk.enter(name) {
                Ok(()) => {}
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            let above = self.levels.last().and_then(|level| level.seen.as_deref());
            if self.notes.is_opaque(self.walk.here())? {
                seen = None;
            } else if let Some(redirect) = self.notes.redirect(self.walk.here(), above)? {
                seen = Some(redirect);
            }
        } else if compared == seen {
            return Ok(false);
        }
        self.push(is_upper, compared, seen, path);
        Ok(true)
    }

    /// Goes back to the directory above. `false` if this is the top.
    fn leave(&mut self) -> io::Result<bool> {
        let Some(left) = self.levels.pop() else { return Ok(false) };
        if self.levels.is_empty() {
            return Ok(false);
        }
        self.path.truncate(left.path);
        if left.is_upper && self.walk.leave()? == Up::Moved {
            let depth = self.walk.retrace()?;
            if let Some(cut) = self.levels.get(depth + 1) {
                self.path.truncate(cut.path);
                self.levels.truncate(depth + 1);
            }
        }
        Ok(true)
    }
}

/// A directory that is to be looked into.
struct Child {
    is_upper: bool,
    compared: Option<Vec<u8>>,
    seen: Option<Vec<u8>>,
}

/// The first names of a directory behind one.
struct Names<'a> {
    found: BTreeSet<CString>,
    most: usize,
    is_cut: bool,
    last: Option<&'a CStr>,
    from: Option<&'a [u8]>,
}

impl Names<'_> {
    fn read(&mut self, directory: BorrowedFd<'_>, until: &Until<'_>) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            if until.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let entry = entry?;
            let name = entry.file_name();
            let is_wanted = self.last.is_none_or(|last| name > last)
                && self.from.is_none_or(|from| name.to_bytes() >= from)
                && name != c"."
                && name != c"..";
            if is_wanted && (!self.is_cut || self.found.last().is_some_and(|last| name < last.as_c_str())) {
                self.found.insert(name.to_owned());
                if self.found.len() > self.most {
                    self.found.pop_last();
                    self.is_cut = true;
                }
            }
        }
        Ok(())
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

#[cfg(test)]
mod tests;
