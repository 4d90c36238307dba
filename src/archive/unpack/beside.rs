//! A second thread, which writes small files and gives them their attributes while the first makes the next ones: of a tree of many
//! small files the kernel needs about as long for the one as for the other. It is there only while bytes of the archive are worked
//! on, so nobody has to keep it waiting. It acts as the user that the first one acts as when it begins.

use super::writing::Writing;
use crate::archive::error::{Error, Result};
use std::{
    mem::take,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

/// As many files, or bytes of them, are handed over at one time: to wake a thread costs about what a file does.
const FILES: usize = 16;
const BYTES: usize = 256 << 10;

/// How often that may be before the first thread waits for the second.
const WAITING: usize = 2;

/// What the second thread needs of its stack.
const STACK: usize = 256 << 10;

/// Files that have come whole, and who finishes them.
pub(super) struct Beside {
    owners: bool,
    files: Vec<Writing>,
    bytes: usize,
    thread: Option<Thread>,
}

struct Thread {
    give: SyncSender<Vec<Writing>>,
    done: JoinHandle<Result<()>>,
}

impl Beside {
    /// `owners` as in [`super::Rules`].
    pub(super) fn new(owners: bool) -> Self {
        Self { owners, files: Vec::new(), bytes: 0, thread: None }
    }

    /// Finishes a file that has come whole, at the latest with [`Self::wait`]. An error may be an earlier one's.
    pub(super) fn finish(&mut self, file: Writing) -> Result<()> {
        if !file.is_small() {
            return file.finish(self.owners);
        }
        self.bytes += file.held();
        self.files.push(file);
        if self.files.len() < FILES && self.bytes < BYTES {
            return Ok(());
        }
        self.bytes = 0;
        let files = take(&mut self.files);
        if self.thread.is_none() {
            self.thread = Thread::start(self.owners);
        }
        // The sandbox may have no room for a further one.
        let Some(thread) = &self.thread else { return finish_all(files, self.owners) };
        if thread.give.send(files).is_ok() {
            return Ok(());
        }
        // It has ended, which only an error makes it do.
        self.wait()
    }

    /// Returns when all files are finished, or one of them could not be.
    pub(super) fn wait(&mut self) -> Result<()> {
        self.bytes = 0;
        let ours = finish_all(take(&mut self.files), self.owners);
        let theirs = self.thread.take().map_or(Ok(()), Thread::end);
        theirs.and(ours)
    }
}

impl Thread {
    fn start(owners: bool) -> Option<Self> {
        let (give, files) = sync_channel(WAITING);
        let work = move || serve(&files, owners);
        let done = thread::Builder::new().name("files".to_owned()).stack_size(STACK).spawn(work).ok()?;
        Some(Self { give, done })
    }

    fn end(self) -> Result<()> {
        drop(self.give);
        self.done.join().unwrap_or(Err(Error::GivenUp))
    }
}

fn serve(files: &Receiver<Vec<Writing>>, owners: bool) -> Result<()> {
    files.iter().try_for_each(|files| finish_all(files, owners))
}

/// Finishes one after another. Those behind one that fails leave nothing.
fn finish_all(files: Vec<Writing>, owners: bool) -> Result<()> {
    files.into_iter().try_for_each(|file| file.finish(owners))
}
