//! Making a sandbox and saying meanwhile how far it is.

use super::{Entry, NewSandbox, Sandbox, Sandboxes, State};
use crate::{error::Result, tenant::Caller};
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use std::pin::pin;
use tokio::sync::watch;

/// Where a creation is told of. A listener that is slow misses what is over by then.
pub(super) type Listener = watch::Sender<Option<Sandbox>>;

impl Sandboxes {
    /// As [`Sandboxes::create`], with the sandbox as it is before that, at once and after each step. Whoever drops the stream
    /// leaves nothing behind, as long as it has not ended.
    pub fn create_and_watch(&self, caller: &Caller, new: NewSandbox) -> BoxStream<'static, Result<Sandbox>> {
        let (listener, mut heard) = watch::channel(None);
        let (this, caller) = (self.clone(), caller.clone());
        let work = async move { this.create_heard(&caller, new, Some(&listener)).await }.boxed();
        let mut work = Some(work);
        let next = async move || {
            tokio::select! {
                biased;
                // Nobody tells any more once the work is done.
                Ok(()) = heard.changed(), if work.is_some() => heard.borrow_and_update().clone().map(Ok),
                outcome = async { Some(work.as_mut()?.await) } => {
                    work = None;
                    outcome
                }
            }
        };
        stream::unfold(next, async |mut next| Some((next().await?, next))).boxed()
    }

    /// Does the work of making a sandbox, and tells how far that is.
    pub(super) async fn heard<T>(
        &self,
        entry: &Entry,
        work: impl Future<Output = T>,
        listener: Option<&Listener>,
    ) -> T {
        let Some(listener) = listener else { return work.await };
        let (mut work, mut changes) = (pin!(work), entry.watch());
        changes.mark_changed();
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                Ok(()) = changes.changed() => {
                    if changes.borrow_and_update().state == State::Starting {
                        listener.send_replace(Some(entry.snapshot(self.clock())));
                    }
                }
            }
        }
    }
}
