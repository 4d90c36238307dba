//! Ending a sandbox: because somebody says so, because its time is over, or because its agent is dead.

use super::{EndReason, Entry, Sandboxes, State, life::Event, removal::NotRemoved};
use crate::{
    error::{Error, Kind, Reason, Result},
    runtime::{Inspection, Liveness},
    store::{SandboxState, StoreError},
    tenant::Caller,
};
use futures_util::{StreamExt, stream};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long an agent may take to end its sessions and tell their watchers before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long streams that were told may take to carry their last bytes before the agent is killed.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);
/// How long who deletes a sandbox waits for its end. Longer than all that it consists of may take.
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// Deletions at one time when the server stops or clears up.
pub(super) const PARALLEL_REMOVALS: usize = 16;
/// How long a repeated deletion succeeds.
pub(super) const DELETED_KEPT: Duration = Duration::from_secs(60);

impl Sandboxes {
    /// Ends a sandbox and removes all of it. Any number of callers may do so at once; all wait for the same end.
    pub async fn delete(&self, caller: &Caller, sandbox_id: &str) -> Result<()> {
        match self.find(caller, Kind::Sandbox, sandbox_id, sandbox_id).await {
            Ok(entry) => self.end(&entry, EndReason::Deleted).await,
            Err(Error::NotFound { .. }) if self.was_deleted(caller, sandbox_id).await? => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a sandbox of the caller's was deleted not long ago.
    async fn was_deleted(&self, caller: &Caller, sandbox_id: &str) -> Result<bool> {
        let Some(row) = self.store().sandbox(sandbox_id).await? else { return Ok(false) };
        let lately = row.end_time.is_some_and(|at| at + DELETED_KEPT > self.clock().now());
        Ok(lately && row.tenant == caller.tenant() && row.state == SandboxState::Deleted)
    }

    /// Refuses new sandboxes and deletes all.
    pub async fn shut_down(&self) {
        let entries = {
            let mut registry = self.registry();
            registry.close();
            registry.all()
        };
        stream::iter(entries)
            .for_each_concurrent(PARALLEL_REMOVALS, async |entry| {
                if let Err(error) = self.end(&entry, EndReason::ServerStopped).await {
                    tracing::error!(sandbox = entry.id(), %error, "a sandbox is left behind");
                }
            })
            .await;
    }

    /// Ends a sandbox, unless that is already under way, and waits until nothing is left of it. One that is being made is
    /// given up by whoever makes it.
    pub(super) async fn end(&self, entry: &Arc<Entry>, reason: EndReason) -> Result<()> {
        self.begin_end(entry, &Event::EndAsked(reason), || true);
        let ended = entry.wait_for(|state| matches!(state, State::Gone | State::Failed));
        match timeout(END_TIMEOUT, ended).await {
            Ok(State::Gone) => Ok(()),
            Ok(_) => Err(self.why_not_removed(entry).await),
            Err(_) => Err(NotRemoved::Slow.to_error()),
        }
    }

    async fn why_not_removed(&self, entry: &Entry) -> Error {
        let error =
            entry.not_removed().map_or_else(|| Error::internal("delete a sandbox", "unknown"), |why| why.to_error());
        if !matches!(error, Error::Internal { .. }) {
            return error;
        }
        // What would have to remove it may not answer: then the same call succeeds later.
        match self.runtime().inspect(entry.id()).await {
            Inspection { liveness: Liveness::Unknown, cause } => Error::Unavailable {
                reason: Reason::RuntimeUnreachable,
                message: cause.unwrap_or_else(|| "the sandbox could not be looked at".to_owned()),
            },
            _ => error,
        }
    }

    /// Begins to end a sandbox, if the event does so in its state and `may` agrees. Goes on without the caller.
    pub(super) fn begin_end(&self, entry: &Arc<Entry>, event: &Event, may: impl Fn() -> bool) {
        let ran = entry.state() == State::Running;
        if entry.apply_if(event, may) && entry.state() == State::Stopping {
            let (this, entry) = (self.clone(), entry.clone());
            self.spawn(async move { this.stop(&entry, ran).await });
        }
    }

    async fn stop(&self, entry: &Arc<Entry>, ran: bool) {
        // A server that is killed from here on finishes it when it starts again.
        let _ = self.note(entry, SandboxState::Stopping).await;
        if ran {
            // A task of its own: what the agent answers is not trusted, and a panic over it must not stop a deletion.
            let told = {
                let entry = entry.clone();
                tokio::spawn(async move { timeout(STOP_TIMEOUT, entry.link.stop()).await })
            };
            match told.await {
                Ok(Ok(Ok(()))) => drop(timeout(FLUSH_TIMEOUT, entry.streams_ended()).await),
                other => tracing::warn!(sandbox = entry.id(), ?other, "an agent did not stop when asked; it is killed"),
            }
        }
        let removed = match self.removals().remove(entry.id()).await {
            Ok(()) => self.note(entry, SandboxState::Deleted).await.map_err(NotRemoved::from),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => self.forget(entry),
            Err(error) => {
                tracing::error!(sandbox = entry.id(), %error, "a sandbox could not be removed");
                entry.was_not_removed(error);
            }
        }
    }

    /// The agent of a sandbox is dead: what is left of the sandbox is removed, and who asks is told. The call that has noticed
    /// may go away meanwhile.
    pub(super) async fn fail(&self, entry: &Arc<Entry>, cause: Option<String>) {
        if !entry.apply(&Event::AgentEnded(cause.clone())) {
            return;
        }
        tracing::warn!(sandbox = entry.id(), cause, "an agent died");
        let (this, entry) = (self.clone(), entry.clone());
        let work = async move {
            // If somebody deletes it meanwhile, the database has that already and keeps it.
            let _ = this.note(&entry, SandboxState::Failed).await;
            if let Err(error) = this.removals().remove(entry.id()).await {
                tracing::error!(sandbox = entry.id(), %error, "a dead sandbox could not be removed");
            }
        };
        let _ = self.spawn(work).await;
    }

    /// Writes a state down. A failure is logged: the next start of the server sees what is true.
    async fn note(&self, entry: &Entry, state: SandboxState) -> Result<(), StoreError> {
        let written = self.store().set_sandbox_state(entry.id(), state, self.clock().now()).await;
        if let Err(error) = &written {
            tracing::error!(sandbox = entry.id(), %error, ?state, "a state could not be written down");
        }
        written.map(drop)
    }
}
