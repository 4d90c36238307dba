//! Changes of a watched directory as they come: waiting for the kernel takes no thread, and what nobody takes stays in the kernel,
//! which has a bound for it and says when that was reached.

use super::{
    error::Result,
    identity::Identity,
    telling,
    watch::{Part, State, Watching},
    work::Work,
};
use crate::{
    api::v1::WatchResponse,
    error::{Error, Reason},
};
use futures_util::{Stream, TryStreamExt, stream};
use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// How long the second half of a move may take after the first. The kernel tells both in one system call of the mover's.
const OTHER_HALF: Duration = Duration::from_millis(20);

/// Calls that watch: each holds an inotify instance, of which the kernel has few for all sandboxes of a server together (128 by default).
const MOST_CALLS: usize = 16;

/// Directories that all of them watch together, and as many bytes of the sandbox's memory as there have to be for each.
const MOST_DIRECTORIES: u64 = 131_072;
const LEAST_DIRECTORIES: u64 = 1024;
const BYTES_FOR_EACH: u64 = 8 << 10;

/// How much may be watched in this sandbox.
pub(super) struct Watches {
    calls: Arc<Semaphore>,
    directories: Arc<Semaphore>,
}

/// A watch under way.
pub(super) struct Changes {
    source: AsyncFd<Arc<OwnedFd>>,
    watching: Watching,
    work: Work,
    identity: Identity,
    state: State,
    _call: OwnedSemaphorePermit,
}

impl Watches {
    /// Nothing is watched yet.
    pub(super) fn new(memory_bytes: Option<u64>) -> Self {
        let directories = memory_bytes.map_or(MOST_DIRECTORIES, |bytes| bytes / BYTES_FOR_EACH);
        let directories = directories.clamp(LEAST_DIRECTORIES, MOST_DIRECTORIES) as usize;
        Self { calls: Arc::new(Semaphore::new(MOST_CALLS)), directories: Arc::new(Semaphore::new(directories)) }
    }

    /// Watches a directory. When this returns, what changes is told.
    pub(super) async fn begin(
        &self,
        path: PathBuf,
        recursive: bool,
        work: Work,
        identity: Identity,
    ) -> Result<Changes> {
        let _call = Arc::clone(&self.calls).try_acquire_owned().map_err(|_| {
            let message = format!("{MOST_CALLS} calls watch in this sandbox, and no more may; end some");
            Error::exhausted(Reason::TooManyStreams, message)
        })?;
        let directories = Arc::clone(&self.directories);
        let begin = work.run(&identity, move |_| Watching::begin(&path, recursive, directories));
        let mut watching = begin.await?;
        let mut is_armed = false;
        while !is_armed {
            let arm = work.run(&identity, move |wanted| watching.arm(wanted).map(|is_armed| (is_armed, watching)));
            (is_armed, watching) = arm.await?;
        }
        // SAFETY: the descriptor that is shared here stays open until the last owner is dropped, and the AsyncFd is one of them.
        let source = unsafe { AsyncFd::register_with_interest(watching.source(), Interest::READABLE) };
        let source = source.map_err(|error| failed(error.into()))?;
        Ok(Changes { source, watching, work, identity, state: State::All, _call })
    }
}

impl Changes {
    /// First that it is armed, and then each change.
    pub(super) fn told(self) -> impl Stream<Item = Result<WatchResponse>> + Send {
        let parts = stream::try_unfold(Some(self), |changes| async {
            let Some(changes) = changes else { return Ok(None) };
            changes.next().await.map(Some)
        });
        let armed = stream::once(async { Ok(telling::armed()) });
        let changes = parts.map_ok(|events| stream::iter(events.into_iter().map(Ok))).try_flatten();
        futures_util::StreamExt::chain(armed, changes)
    }

    /// Waits for changes. Without a watch to go on with they are the last.
    async fn next(mut self) -> Result<(Vec<WatchResponse>, Option<Self>)> {
        loop {
            let mut ready = match self.state {
                State::All => Some(self.source.readable().await.map_err(failed)?),
                State::Half => {
                    tokio::time::sleep(OTHER_HALF).await;
                    None
                }
                State::More | State::Over => None,
            };
            let mut watching = self.watching;
            let look = move |wanted: &_| watching.next(wanted).map(|part| (part, watching));
            let (Part { events, state }, watching) = self.work.run(&self.identity, look).await?;
            if let Some(ready) = ready.as_mut().filter(|_| state == State::All) {
                // Only what was there before the look: what came after it makes the next one ready.
                ready.clear_ready();
            }
            self = Self { watching, state, ..self };
            if self.state == State::Over {
                return Ok((events, None));
            }
            if !events.is_empty() {
                return Ok((events, Some(self)));
            }
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::internal("watching a directory", error)
}
