//! The place of a sandbox that is being made. Whatever becomes of its making, it is kept, or nothing of it is left.
//!
//! What removes it is a task of its own, so it makes no difference whether whoever gives up a place waits for that. As long as
//! something is left, its row says "starting": a server that is killed meanwhile finds it when it starts again.

use super::{Entry, Sandbox, Sandboxes, life::Event, removal::NotRemoved};
use crate::store::SandboxState;
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, time::sleep};

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

    /// The sandbox lives from now on. The place itself, if it was deleted in the last moment.
    pub(super) fn keep(mut self) -> Result<Sandbox, Self> {
        self.entry.touch();
        if !self.entry.apply(&Event::Made) {
            return Err(self);
        }
        self.open = false;
        self.sandboxes.keep(self.entry.clone());
        Ok(self.entry.snapshot(self.sandboxes.clock()))
    }

    /// Nothing was made, and there is no row.
    pub(super) fn give_back(mut self) {
        self.open = false;
        self.entry.apply(&Event::GivenUp);
        self.sandboxes.forget(&self.entry);
    }

    /// Removes it, and returns when it is gone, or when that could not be done at once and is tried again later.
    pub(super) async fn clear(mut self) {
        self.open = false;
        let (sandboxes, entry) = (self.sandboxes.clone(), self.entry.clone());
        // A task that was aborted with the whole program leaves the row.
        let _ = self.sandboxes.spawn(async move { sandboxes.abandon(&entry).await }).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without a runtime the program itself ends, and the row is what is left to the next one.
        if self.open && Handle::try_current().is_ok() {
            let (sandboxes, entry) = (self.sandboxes.clone(), self.entry.clone());
            self.sandboxes.spawn(async move { sandboxes.abandon(&entry).await });
        }
    }
}

impl Sandboxes {
    /// Removes what there is of a sandbox that never ran. Returns after the first attempt.
    async fn abandon(&self, entry: &Arc<Entry>) {
        entry.apply(&Event::GivenUp);
        if let Err(reason) = self.undo(entry).await {
            tracing::error!(sandbox = entry.id(), %reason, "a sandbox that nobody wants could not be removed");
            let (this, entry) = (self.clone(), entry.clone());
            tokio::spawn(async move { this.undo_in_the_end(&entry).await });
        }
    }

    /// Tries again and again: what makes the sandboxes may be away.
    async fn undo_in_the_end(&self, entry: &Entry) {
        let mut pause = FIRST_RETRY;
        loop {
            sleep(pause).await;
            let Err(reason) = self.undo(entry).await else { return };
            tracing::warn!(sandbox = entry.id(), %reason, "a sandbox that nobody wants could not be removed again");
            pause = LAST_RETRY.min(2 * pause);
        }
    }

    /// Removes it from the runtime, and then its row: in this order, so that the row is there as long as anything else is.
    async fn undo(&self, entry: &Entry) -> Result<(), NotRemoved> {
        self.remove_from_runtime(entry.id()).await?;
        if entry.status().end_reason.is_some() {
            // Somebody deleted it while it was made. Who does so again, or repeats its request, is told that.
            self.store().set_sandbox_state(entry.id(), SandboxState::Deleted, self.clock().now()).await?;
        } else {
            self.store().forget_sandbox(entry.id()).await?;
        }
        self.forget(entry);
        Ok(())
    }

    /// Nothing of a sandbox is left.
    pub(super) fn forget(&self, entry: &Entry) {
        self.registry().remove(entry.id());
        entry.apply(&Event::Removed);
    }
}
