//! The kernel's events of a watch, with the two halves of a move put together.

use rustix::{
    fs::inotify::{ReadFlags, Reader},
    io::Errno,
};
use std::{collections::VecDeque, mem::MaybeUninit, os::fd::OwnedFd, sync::Arc};

/// Bytes that events are read into.
const BUFFER: usize = 16 << 10;

/// As many events as are held while the other half of a move is looked for.
const MOST_HELD: usize = 2048;

/// Events that have come and were not taken yet.
pub(super) struct Events {
    inotify: Arc<OwnedFd>,
    held: VecDeque<Raw>,
    /// How many of them came so long ago that the other half of a move would be there.
    settled: usize,
}

/// An event as the kernel has it.
pub(super) struct Raw {
    pub(super) watch: i32,
    pub(super) flags: ReadFlags,
    pub(super) cookie: u32,
    pub(super) name: Vec<u8>,
}

/// What comes next.
pub(super) enum Next {
    /// One that is no part of a move, or the second half of one from elsewhere.
    Event(Raw),
    /// Both halves of a move.
    Moved(Raw, Raw),
    /// The first half of a move to elsewhere.
    MovedAway(Raw),
    /// The first half of a move, and the second may follow at once: ask again a moment later.
    Half,
    /// None has come.
    Nothing,
}

impl Events {
    pub(super) fn new(inotify: Arc<OwnedFd>) -> Self {
        Self { inotify, held: VecDeque::new(), settled: 0 }
    }

    /// Where they come from.
    pub(super) fn source(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.inotify)
    }

    /// A moment has passed since the last [`Next::Half`].
    pub(super) fn after_a_moment(&mut self) -> Result<(), Errno> {
        if self.settled > 0 { self.read().map(drop) } else { Ok(()) }
    }

    /// Takes the next one.
    pub(super) fn next(&mut self) -> Result<Next, Errno> {
        loop {
            let Some(raw) = self.held.pop_front() else {
                if self.read()? {
                    continue;
                }
                return Ok(Next::Nothing);
            };
            if !raw.flags.contains(ReadFlags::MOVED_FROM) {
                self.settled = self.settled.saturating_sub(1);
                return Ok(Next::Event(raw));
            }
            // What others do at the same moment may come between the halves.
            let is_other = |other: &Raw| other.flags.contains(ReadFlags::MOVED_TO) && other.cookie == raw.cookie;
            let other = self.held.iter().position(is_other);
            if let Some(at) = other
                && let Some(other) = self.held.remove(at)
            {
                self.settled = self.settled.saturating_sub(if at < self.settled { 2 } else { 1 });
                return Ok(Next::Moved(raw, other));
            }
            if self.settled > 0 || self.held.len() >= MOST_HELD {
                self.settled = self.settled.saturating_sub(1);
                return Ok(Next::MovedAway(raw));
            }
            self.held.push_front(raw);
            if !self.read()? {
                self.settled = self.held.len();
                return Ok(Next::Half);
            }
        }
    }

    /// Whether one that waits tells that a name in a directory was given to something, so that what has the name now is told yet.
    pub(super) fn will_tell_of(&mut self, watch: i32, name: &[u8]) -> Result<bool, Errno> {
        while self.held.len() < MOST_HELD && self.read()? {}
        let gives = ReadFlags::CREATE | ReadFlags::MOVED_TO;
        Ok(self.held.iter().any(|raw| raw.watch == watch && raw.flags.intersects(gives) && raw.name == name))
    }

    /// Reads some of what has come. Whether there was anything.
    fn read(&mut self) -> Result<bool, Errno> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => self.held.push_back(Raw {
                    watch: event.wd(),
                    flags: event.events(),
                    cookie: event.cookie(),
                    name: event.file_name().map(|name| name.to_bytes().to_owned()).unwrap_or_default(),
                }),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            if reader.is_buffer_empty() {
                return Ok(true);
            }
        }
    }
}
