//! Removing from its runtime what there is of a sandbox.
//!
//! A removal may hang: a daemon that does not answer, a process that the kernel cannot end. Nobody waits for it longer than
//! [`REMOVE_TIMEOUT`], and as long as one attempt is under way no second one begins beside it, however often it is asked for.

use crate::{
    error::{Error, Reason},
    runtime::{Runtime, RuntimeError},
    store::StoreError,
    sync::lock,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long whoever wants a sandbox removed waits for it.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(30);

type Outcome = Result<(), Arc<RuntimeError>>;

/// Removals from a runtime. Cheap to clone.
#[derive(Clone)]
pub(super) struct Removals(Arc<Inner>);

struct Inner {
    runtime: Arc<dyn Runtime>,
    /// The attempts under way, by sandbox.
    attempts: Mutex<HashMap<String, Shared<BoxFuture<'static, Outcome>>>>,
    /// Work that owns something and goes on when the call that began it is cancelled.
    work: TaskTracker,
}

/// Why a sandbox is not removed.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NotRemoved {
    /// The runtime could not.
    #[error("{0}")]
    Runtime(Arc<RuntimeError>),
    /// The runtime is still at it.
    #[error("its removal takes longer than {} s and goes on", REMOVE_TIMEOUT.as_secs())]
    Slow,
    /// It is removed, and that could not be written down.
    #[error("its end could not be written down: {0}")]
    Store(Arc<StoreError>),
}

impl NotRemoved {
    /// What who asked for the removal is told. The cause itself is in the log.
    pub(super) fn to_error(&self) -> Error {
        let unavailable = |reason, message: &str| Error::Unavailable { reason, message: message.to_owned() };
        match self {
            Self::Runtime(error) => match error.as_ref() {
                RuntimeError::Unavailable(message) => unavailable(Reason::RuntimeUnreachable, message),
                _ => Error::internal("delete a sandbox", self.clone()),
            },
            Self::Slow => {
                unavailable(Reason::RuntimeUnreachable, "the sandbox is still being removed; try again later")
            }
            Self::Store(error) if error.is_passing() => unavailable(
                Reason::DatabaseUnreachable,
                "the sandbox is removed, and the server's database does not answer; try again later",
            ),
            Self::Store(_) => Error::internal("delete a sandbox", self.clone()),
        }
    }
}

impl From<StoreError> for NotRemoved {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Takes an attempt off the list when it is over, however it ends.
struct UnderWay {
    removals: Removals,
    id: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.removals.0.attempts).remove(&self.id);
    }
}

impl Removals {
    /// None yet. `work` is what the server waits for before it ends.
    pub(super) fn new(runtime: Arc<dyn Runtime>, work: TaskTracker) -> Self {
        Self(Arc::new(Inner { runtime, attempts: Mutex::default(), work }))
    }

    /// Removes what the runtime has of a sandbox.
    pub(super) async fn remove(&self, sandbox_id: &str) -> Result<(), NotRemoved> {
        let attempt = {
            let mut attempts = lock(&self.0.attempts);
            let begin = || self.attempt(sandbox_id);
            attempts.entry(sandbox_id.to_owned()).or_insert_with(begin).clone()
        };
        match timeout(REMOVE_TIMEOUT, attempt).await {
            Ok(outcome) => outcome.map_err(NotRemoved::Runtime),
            Err(_) => Err(NotRemoved::Slow),
        }
    }

    fn attempt(&self, sandbox_id: &str) -> Shared<BoxFuture<'static, Outcome>> {
        let under_way = UnderWay { removals: self.clone(), id: sandbox_id.to_owned() };
        let work = async move { under_way.removals.0.runtime.remove(&under_way.id).await };
        let work = self.0.work.spawn(work.in_current_span());
        let outcome = async move {
            let ended = work.await.unwrap_or_else(|error| {
                Err(RuntimeError::Failed { step: "remove".to_owned(), source: io::Error::other(error) })
            });
            ended.map_err(Arc::new)
        };
        outcome.boxed().shared()
    }
}
