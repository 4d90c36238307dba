//! Watching a directory: the kernel's events become changes with paths, and directories that appear are watched too.

use super::{
    draft,
    error::{At, Result, of_archive},
    events::{Events, Next, Raw},
    growth::{self, Growth},
    place::tidy,
    telling::{Telling, overflow},
    watched::{Place, Watch, Watched},
    work::Wanted,
};
use crate::{
    api::v1::{WatchResponse, change::Kind},
    archive::open_directory,
    error::{Error, Reason},
};
use rustix::{
    fs::{
        AtFlags,
        inotify::{self, CreateFlags, ReadFlags},
        statat,
    },
    io::Errno,
};
use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// Changes that are told at one time.
const PART: usize = 256;

/// How long a thread may look before others have a turn.
const TURN: Duration = Duration::from_millis(100);

/// A directory that is watched. It is not kept open, because the kernel tells the end of a directory only when nobody has it open.
pub(super) struct Watching {
    pub(super) telling: Telling,
    pub(super) recursive: bool,
    pub(super) events: Events,
    pub(super) watched: Watched,
    /// A look for directories that is under way. What comes meanwhile waits.
    growth: Option<Growth>,
    /// What was renamed last, and to what: the name in which directory.
    pub(super) renamed_last: Option<[(Watch, Vec<u8>); 2]>,
    /// Whether the directory was found to be gone. What has happened in it until then comes first.
    is_gone: bool,
    is_over: bool,
}

/// What came.
pub(super) struct Part {
    pub(super) events: Vec<WatchResponse>,
    /// Why there are no more.
    pub(super) state: State,
}

/// Why there are no more changes in a part.
#[derive(PartialEq, Eq)]
pub(super) enum State {
    /// There are more.
    More,
    /// No more have come.
    All,
    /// One half of a move has come, and the other may follow at once.
    Half,
    /// None can come any more.
    Over,
}

impl Watching {
    /// Begins to watch. Until [`Self::arm`] is through, not everything is watched.
    pub(super) fn begin(path: &Path, recursive: bool, places: Arc<Semaphore>) -> Result<Self> {
        let top = open_directory(path).map_err(of_archive)?;
        let inotify = match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
            Err(Errno::MFILE | Errno::NFILE) => {
                let message = "sandboxes watch as much as this host's kernel allows (fs.inotify.max_user_instances); \
                               end some watches, or let the operator raise that";
                return Err(Error::exhausted(Reason::TooManyStreams, message));
            }
            made => Arc::new(made.at(path)?),
        };
        let watched = Watched::new(Arc::clone(&inotify), places, top.as_fd(), path)?;
        let (telling, events) = (Telling::below(&tidy(path)), Events::new(inotify));
        let growth = if recursive { Growth::below(top, watched.top(), Vec::new())? } else { None };
        Ok(Self { telling, recursive, events, watched, growth, renamed_last: None, is_gone: false, is_over: false })
    }

    /// Goes on with arming for a while. `true` when everything is watched: what changes from then on is told.
    pub(super) fn arm(&mut self, wanted: &Wanted) -> Result<bool> {
        let start = Instant::now();
        while start.elapsed() < TURN {
            let Some(growth) = &mut self.growth else { return Ok(true) };
            if growth.next(&mut self.watched, self.telling.top(), wanted)?.is_none() {
                self.growth = None;
            }
        }
        Ok(false)
    }

    /// Where events come from.
    pub(super) fn source(&self) -> Arc<OwnedFd> {
        self.events.source()
    }

    /// Takes what has come. After [`State::Half`] it is to be called again a moment later.
    pub(super) fn next(&mut self, wanted: &Wanted) -> Result<Part> {
        let (start, mut events) = (Instant::now(), Vec::new());
        self.events.after_a_moment().at(self.telling.top())?;
        let state = loop {
            wanted.check()?;
            if self.is_over {
                break State::Over;
            }
            if events.len() >= PART || start.elapsed() >= TURN {
                break State::More;
            }
            if let Some(growth) = &mut self.growth {
                let is_new = !growth.is_round();
                match growth.next(&mut self.watched, self.telling.top(), wanted)? {
                    Some((path, is_directory)) if is_new => {
                        events.push(self.telling.change(Kind::Created, &path, is_directory));
                    }
                    Some(_) => {}
                    None => {
                        self.growth = None;
                        if !is_new {
                            // Not before: who is told of it lists everything, and what changes after that has to be seen.
                            events.push(overflow());
                        }
                    }
                }
                continue;
            }
            match self.events.next().at(self.telling.top())? {
                Next::Event(raw) => self.event(&raw, &mut events)?,
                Next::Moved(from, to) => self.moved(&from, &to, &mut events)?,
                Next::MovedAway(from) => self.moved_away(&from, &mut events),
                Next::Half => break State::Half,
                Next::Nothing if self.is_gone => self.end(&mut events),
                Next::Nothing => break State::All,
            }
        };
        Ok(Part { events, state })
    }

    fn event(&mut self, raw: &Raw, events: &mut Vec<WatchResponse>) -> Result<()> {
        let Raw { watch, flags, name, .. } = raw;
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.lost(events);
        }
        if flags.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
            if *watch == self.watched.top() {
                self.end(events);
            } else {
                self.watched.forget(*watch);
            }
            return Ok(());
        }
        if draft::is_hidden(name) || self.is_nameless(*watch, flags, name)? {
            return Ok(());
        }
        let Some(path) = self.watched.path(*watch, name).filter(|_| !name.is_empty()) else { return Ok(()) };
        let is_directory = flags.contains(ReadFlags::ISDIR);
        if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            events.push(self.telling.change(Kind::Created, &path, is_directory));
            if is_directory {
                self.appeared(*watch, name, &path)?;
            }
        } else if flags.contains(ReadFlags::DELETE) {
            events.push(self.telling.change(Kind::Removed, &path, is_directory));
            // The event is from the past: one that has the name by now, and is watched already, is looked into anew when the event of its
            // own beginning comes, so that what is in it is told after this.
            self.watched.remove(*watch, name);
        } else {
            let change = self.telling.change(Kind::Modified, &path, is_directory);
            // A file that is written piece by piece is told once.
            if events.last() != Some(&change) {
                events.push(change);
            }
        }
        Ok(())
    }

    /// Whether an event is of a file without a name, which the kernel calls by its number, as `#310`.
    fn is_nameless(&mut self, watch: Watch, flags: &ReadFlags, name: &[u8]) -> Result<bool> {
        let is_number =
            name.strip_prefix(b"#").is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit));
        if !is_number || !flags.intersects(ReadFlags::MODIFY | ReadFlags::ATTRIB) {
            return Ok(false);
        }
        // A file may also have such a name.
        let Some(directory) = self.open(watch)? else { return Ok(true) };
        Ok(matches!(statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)))
    }

    /// Something was lost. Everything is looked for anew, and then it is told.
    pub(super) fn lost(&mut self, events: &mut Vec<WatchResponse>) -> Result<()> {
        // The end of the directory may be among what was lost.
        let Some(top) = self.open_top()? else {
            self.end(events);
            return Ok(());
        };
        self.growth = if self.recursive { Growth::round(top, &mut self.watched)? } else { None };
        if self.growth.is_none() {
            events.push(overflow());
        }
        Ok(())
    }

    /// Watches a directory that has appeared, unless it is watched in this place already.
    fn appeared(&mut self, above: Watch, name: &[u8], path: &[u8]) -> Result<()> {
        if !self.recursive {
            return Ok(());
        }
        let there = self.now(above, name)?;
        self.found(there, (above, name), path)
    }

    /// Opens the directory that has a name now, if one has.
    pub(super) fn now(&mut self, above: Watch, name: &[u8]) -> Result<Option<OwnedFd>> {
        match self.open(above)? {
            Some(parent) => growth::open(&parent, name).at(self.telling.top()),
            None => Ok(None),
        }
    }

    /// Takes note of what has a name now.
    pub(super) fn found(&mut self, there: Option<OwnedFd>, at: (Watch, &[u8]), path: &[u8]) -> Result<()> {
        let Some(directory) = there else {
            if let Some(Place::Of(other)) = self.watched.at(at.0, at.1) {
                self.watched.lose(other);
            }
            return Ok(());
        };
        match self.watched.watch(directory.as_fd(), at.0, at.1) {
            Ok((watch, true)) => {
                self.growth = Growth::below(directory, watch, path.to_owned())?;
                Ok(())
            }
            Ok((_, false)) => Ok(()),
            Err(problem) if problem.is_of_one() => Ok(()),
            Err(problem) => Err(problem.explain(self.telling.top())),
        }
    }

    /// Opens a directory that is watched. An event is from the past: by now another directory may have its name, or that of one above it.
    /// What is found not to be there is forgotten, and is found again when the event comes that tells of that.
    pub(super) fn open(&mut self, watch: Watch) -> Result<Option<OwnedFd>> {
        let Some(mut here) = self.open_top()? else {
            self.is_gone = true;
            return Ok(None);
        };
        let Some(way) = self.watched.way(watch) else { return Ok(None) };
        for (watch, name) in way {
            match growth::open(&here, &name).at(self.telling.top())? {
                Some(next) if self.watched.is(watch, next.as_fd()) => here = next,
                _ => {
                    self.watched.lose(watch);
                    return Ok(None);
                }
            }
        }
        Ok(Some(here))
    }

    /// Opens the directory itself. `None` if its path does not lead to it any more.
    fn open_top(&self) -> Result<Option<OwnedFd>> {
        match open_directory(self.telling.top()) {
            Ok(top) => Ok(self.watched.is(self.watched.top(), top.as_fd()).then_some(top)),
            Err(error) if growth::is_of_one(&error) => Ok(None),
            Err(error) => Err(of_archive(error)),
        }
    }

    /// The directory itself is gone.
    fn end(&mut self, events: &mut Vec<WatchResponse>) {
        events.push(self.telling.change(Kind::Removed, b"", true));
        self.is_over = true;
    }
}
