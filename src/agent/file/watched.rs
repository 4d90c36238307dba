//! The directories that one call watches, and what each is called now.
//!
//! Each knows only its name and the directory that it is in, so renaming one costs the same however much is below it, and what is
//! held grows with the names and not with the paths.
//!
//! Events are from the past, and a directory is looked for as it is now, so the two have to be kept apart. A directory gets a place here
//! only when it was seen there, and the directory above it was watched at that time. So when it is not there any more, an event that
//! says so is still to come, and another one, where it is now, if that is in the tree.

use super::error::{At, Result};
use crate::error::{Error, Reason};
use rustix::{
    fs::{inotify, inotify::WatchFlags},
    io::Errno,
};
use std::{
    collections::{BTreeMap, HashMap},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The kernel's number of a watch. It is not given to another directory later.
pub(super) type Watch = i32;

/// What is told of a directory. The kernel is asked to watch one again to find out whether it is watched. Without `MASK_ADD` it first
/// forgets what is to be told and then sets it anew, and what happens in between is told to nobody.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::MASK_ADD);

/// The directories that are watched.
pub(super) struct Watched {
    inotify: Arc<OwnedFd>,
    /// Places for directories, which all calls of the sandbox have in common.
    places: Arc<Semaphore>,
    top: Watch,
    directories: HashMap<Watch, Directory>,
    below: BTreeMap<(Watch, Arc<[u8]>), Place>,
    /// Counts the times that all directories were looked for.
    round: u32,
}

/// What is known of a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// This directory has it, and what is in it was told under this name.
    Of(Watch),
    /// The directory that had it was found elsewhere, or not found. What was in it was told under this name, until an event
    /// tells that it has left. There are no more of these than events that are still to come.
    Left,
}

struct Directory {
    above: Watch,
    name: Arc<[u8]>,
    /// The last time that it was found.
    round: u32,
    _place: OwnedSemaphorePermit,
}

impl Watched {
    /// Watches one directory.
    pub(super) fn new(inotify: Arc<OwnedFd>, places: Arc<Semaphore>, top: BorrowedFd<'_>, path: &Path) -> Result<Self> {
        let mut this = Self { inotify, places, top: -1, directories: HashMap::new(), below: BTreeMap::new(), round: 0 };
        // Only the top has nobody above it who tells that it was moved away.
        let added = this.add(top, -1, b"", WatchFlags::MOVE_SELF);
        (this.top, _) = added.map_err(|problem| problem.explain(path))?;
        Ok(this)
    }

    pub(super) fn top(&self) -> Watch {
        self.top
    }

    /// Whether this is the directory of a watch: the kernel knows one that it watches, whatever path leads there.
    pub(super) fn is(&self, watch: Watch, directory: BorrowedFd<'_>) -> bool {
        let more = if watch == self.top { WatchFlags::MOVE_SELF } else { WatchFlags::empty() };
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        match inotify::add_watch(&self.inotify, path, EVENTS | more) {
            Ok(found) if found == watch => true,
            Ok(found) if found != self.top && !self.directories.contains_key(&found) => {
                let _ = inotify::remove_watch(&self.inotify, found);
                false
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// The directories from the top down to one, each with its name; the top has none and is left out. `None` if the directory is not
    /// watched any more.
    pub(super) fn way(&self, watch: Watch) -> Option<Vec<(Watch, Arc<[u8]>)>> {
        let (mut here, mut way) = (watch, Vec::new());
        while here != self.top {
            let directory = self.directories.get(&here)?;
            way.push((here, Arc::clone(&directory.name)));
            // None is in itself, unless what is known here is wrong.
            if way.len() > self.directories.len() {
                return None;
            }
            here = directory.above;
        }
        way.reverse();
        Some(way)
    }

    /// A directory is not where it was taken to be. It is found again when its own event comes.
    pub(super) fn lose(&mut self, watch: Watch) {
        if let Some(directory) = self.directories.get(&watch) {
            let key = (directory.above, Arc::clone(&directory.name));
            self.leave(watch, key);
            self.release_all(watch);
        }
    }

    /// A directory has this place no more, and what tells of that is still to come.
    fn leave(&mut self, watch: Watch, key: (Watch, Arc<[u8]>)) {
        // Another directory may have the name by now.
        if let Some(place) = self.below.get_mut(&key).filter(|place| **place == Place::Of(watch)) {
            *place = Place::Left;
        }
    }

    /// What is known of a name in a directory.
    pub(super) fn at(&self, above: Watch, name: &[u8]) -> Option<Place> {
        self.below.get(&(above, name.into())).copied()
    }

    /// Watches a directory that is in another one from now on. One that is watched already is found again, wherever it was before.
    /// Says whether it is new in this place, so that nobody was told yet what is in it.
    pub(super) fn watch(
        &mut self,
        directory: BorrowedFd<'_>,
        above: Watch,
        name: &[u8],
    ) -> Result<(Watch, bool), Problem> {
        self.add(directory, above, name, WatchFlags::empty())
    }

    fn add(
        &mut self,
        directory: BorrowedFd<'_>,
        above: Watch,
        name: &[u8],
        more: WatchFlags,
    ) -> Result<(Watch, bool), Problem> {
        // Before the kernel is asked, so that there is a place for what it gives.
        let place = Arc::clone(&self.places).try_acquire_owned();
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let watch = inotify::add_watch(&self.inotify, path, EVENTS | more).map_err(Problem::Refused)?;
        if watch == self.top {
            return Ok((watch, false));
        }
        let mut is_new = true;
        let name: Arc<[u8]> = name.into();
        if let Some(known) = self.directories.get_mut(&watch) {
            let before = (known.above, Arc::clone(&known.name));
            (known.above, known.name, known.round) = (above, Arc::clone(&name), self.round);
            is_new = before.0 != above || before.1 != name;
            if is_new {
                self.leave(watch, before);
                // What was told of it was told under the name before. What is still in it is found when it is looked into.
                self.release_below(watch);
            }
        } else {
            let Ok(place) = place else {
                // It is watched already, and nobody would know what its events are about.
                let _ = inotify::remove_watch(&self.inotify, watch);
                return Err(Problem::TooMany);
            };
            let directory = Directory { above, name: Arc::clone(&name), round: self.round, _place: place };
            self.directories.insert(watch, directory);
        }
        if above >= 0
            && let Some(Place::Of(other)) = self.below.insert((above, name), Place::Of(watch))
            && other != watch
        {
            // It was taken for this one, which has had the name before. It is found again when its own event comes.
            self.release_all(other);
        }
        Ok((watch, is_new))
    }

    /// The path of an entry of a directory, from the top. `None` if the directory is not watched any more.
    pub(super) fn path(&self, watch: Watch, name: &[u8]) -> Option<Vec<u8>> {
        let way = self.way(watch)?;
        let mut names: Vec<&[u8]> = way.iter().map(|(_, name)| &**name).collect();
        names.push(name);
        Some(names.join(&b'/'))
    }

    /// A directory has another name now, and is perhaps in another directory.
    pub(super) fn rename(&mut self, from: (Watch, &[u8]), to: (Watch, &[u8])) {
        let Some(Place::Of(watch)) = self.below.remove(&(from.0, from.1.into())) else { return };
        // A directory that was there was empty, and is gone.
        self.remove(to.0, to.1);
        let name: Arc<[u8]> = to.1.into();
        if let Some(directory) = self.directories.get_mut(&watch) {
            (directory.above, directory.name) = (to.0, Arc::clone(&name));
        }
        self.below.insert((to.0, name), Place::Of(watch));
    }

    /// A directory, and what is below it, has this place no more, and that was told.
    pub(super) fn remove(&mut self, above: Watch, name: &[u8]) {
        if let Some(Place::Of(watch)) = self.below.remove(&(above, name.into())) {
            self.release_all(watch);
        }
    }

    fn release_all(&mut self, watch: Watch) {
        self.release_below(watch);
        self.release(watch);
    }

    fn release_below(&mut self, top: Watch) {
        let mut gone = vec![top];
        while let Some(watch) = gone.pop() {
            let none: Arc<[u8]> = [].into();
            let below = self.below.range((watch, Arc::clone(&none))..(watch + 1, none));
            let keys: Vec<_> = below.map(|(key, _)| key.clone()).collect();
            gone.extend(keys.iter().filter_map(|key| match self.below.remove(key) {
                Some(Place::Of(watch)) => Some(watch),
                Some(Place::Left) | None => None,
            }));
            if watch != top {
                self.release(watch);
            }
        }
    }

    fn release(&mut self, watch: Watch) {
        if self.directories.remove(&watch).is_some() {
            // One that was removed as well is not watched any more.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// The kernel does not watch a directory any more, because it was removed.
    pub(super) fn forget(&mut self, watch: Watch) {
        self.lose(watch);
    }

    /// All directories are looked for once more, because it is not known what has changed.
    pub(super) fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Those that were not found again are not in the tree any more.
    pub(super) fn end_round(&mut self) {
        let lost = |(watch, directory): (&Watch, &Directory)| {
            (directory.round != self.round && *watch != self.top)
                .then(|| (*watch, (directory.above, Arc::clone(&directory.name))))
        };
        let lost: Vec<_> = self.directories.iter().filter_map(lost).collect();
        for (watch, key) in lost {
            self.leave(watch, key);
            self.release(watch);
        }
        // What tells that they have left is perhaps among what was lost, and whoever was told of that lists everything anew.
        self.below.retain(|_, place| *place != Place::Left);
    }
}

/// Why a directory cannot be watched.
#[derive(Debug)]
pub(super) enum Problem {
    /// The calls of the sandbox watch as many as they may.
    TooMany,
    /// The kernel says so.
    Refused(Errno),
}

impl Problem {
    /// Whether it is this directory that cannot be watched, while others can.
    pub(super) fn is_of_one(&self) -> bool {
        matches!(self, Self::Refused(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM))
    }

    /// The error of a call.
    pub(super) fn explain(self, path: &Path) -> Error {
        let too_many = |what: &str| {
            let message = format!("there are too many directories to watch: {what}; watch a part of them");
            Error::exhausted(Reason::TooManyStreams, message)
        };
        match self {
            Self::TooMany => too_many("the calls of this sandbox watch as many as its memory allows"),
            Self::Refused(Errno::NOSPC) => too_many("this host's kernel allows no more (fs.inotify.max_user_watches)"),
            Self::Refused(error) => match Err::<(), _>(error).at(path) {
                Err(error) => error,
                Ok(()) => Error::internal("watching a directory", error),
            },
        }
    }
}
