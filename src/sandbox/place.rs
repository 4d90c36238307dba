//! The place of a sandbox that is being made. Whatever becomes of its making, it is kept, or nothing of it is left.

use super::{Entry, Sandbox, Sandboxes, State};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use tracing::Instrument;

/// When the removal of what nobody wants is tried again, and how seldom at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A place whose sandbox is removed unless it is kept.
pub(super) struct Place {
    sandboxes: Sandboxes,
    pub(super) entry: Arc<Entry>,
    open: bool,
}

impl Place {
    /// The sandbox is in the registry.
    pub(super) fn new(sandboxes: &Sandboxes, entry: Arc<Entry>) -> Self {
        Self { sandboxes: sandboxes.clone(), entry, open: true }
    }

    /// The sandbox lives from now on.
    pub(super) fn keep(mut self) -> Sandbox {
        self.open = false;
        self.entry.touch();
        self.entry.change(State::Running, None, |state| state == State::Starting);
        self.sandboxes.keep(self.entry.clone());
        self.entry.snapshot(self.sandboxes.clock())
    }

    /// Nothing was made, and there is no row.
    pub(super) fn give_back(&mut self) {
        self.open = false;
        self.sandboxes.registry().remove(self.entry.id());
        self.entry.change(State::Gone, None, |_| true);
    }

    /// Removes it now.
    pub(super) async fn clear(mut self) {
        self.open = false;
        self.sandboxes.give_up(&self.entry).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.open {
            let (sandboxes, entry) = (self.sandboxes.clone(), self.entry.clone());
            tokio::spawn(async move { sandboxes.give_up(&entry).await }.in_current_span());
        }
    }
}

impl Sandboxes {
    async fn give_up(&self, entry: &Entry) {
        if !self.is_undone(entry.id()).await {
            let (this, id) = (self.clone(), entry.id().to_owned());
            tokio::spawn(async move { this.undo(&id).await }.in_current_span());
        }
        self.registry().remove(entry.id());
        entry.change(State::Gone, None, |_| true);
    }

    /// Tries again and again to remove what is left of a sandbox that nobody wants: what makes the sandboxes may be away.
    async fn undo(&self, sandbox_id: &str) {
        let mut pause = FIRST_RETRY;
        loop {
            sleep(pause).await;
            if self.is_undone(sandbox_id).await {
                return;
            }
            pause = LAST_RETRY.min(2 * pause);
        }
    }

    /// Removes a sandbox that nobody wants, and then its row: as long as that is there, the next start of the server
    /// removes both.
    async fn is_undone(&self, sandbox_id: &str) -> bool {
        let removed = self.runtime().remove(sandbox_id).await.map_err(|error| error.to_string());
        let forgotten = match removed {
            Ok(()) => self.store().forget_sandbox(sandbox_id).await.map_err(|error| error.to_string()),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = &forgotten {
            tracing::error!(sandbox = sandbox_id, reason, "a sandbox that nobody wants could not be removed");
        }
        forgotten.is_ok()
    }
}
