//! The place of a sandbox that is being made. Whatever becomes of its making, it is kept, or nothing of it is left.
//!
//! What removes it is a task of its own, so it makes no difference whether whoever gives up a place waits for that. As long as
//! something is left, its row says "starting": a server that is killed meanwhile finds it when it starts again.

use super::{Condition, Entry, Sandbox, Sandboxes, State, entry::About, life::Event, removal::NotRemoved, row};
use crate::{
    error::{Error, Kind, Reason, Result},
    store::{Inserted, Quota, RequestKey, SandboxState, Settings},
    tenant::Caller,
    volume::{self, Mounted},
};
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

/// What came of asking for a place.
pub(super) enum Reserved {
    Place(Place),
    /// The same request has made this sandbox.
    Repeated(String),
}

impl Place {
    /// The sandbox is in the registry.
    pub(super) fn new(sandboxes: &Sandboxes, entry: Arc<Entry>) -> Self {
        Self { sandboxes: sandboxes.clone(), entry, open: true }
    }

    /// The sandbox lives from now on. The place itself, if it was deleted in the last moment.
    pub(super) fn keep(mut self) -> std::result::Result<Sandbox, Self> {
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
    /// Takes a place in this server and a row in the store, so that all bounds hold while the sandbox is made.
    ///
    /// A task of its own: a caller that goes away in the middle leaves the insertion to come to its end, and only then is what
    /// was inserted removed, when the place that nobody takes is dropped.
    pub(super) async fn reserve(
        &self,
        caller: &Caller,
        about: About,
        settings: Settings,
        request: Option<&RequestKey>,
    ) -> Result<Reserved> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.cloned());
        let work = async move { this.reserve_here(&caller, about, settings, request.as_ref()).await };
        self.spawn(work).await.map_err(|error| Error::internal("reserve a place for a sandbox", error))?
    }

    async fn reserve_here(
        &self,
        caller: &Caller,
        about: About,
        settings: Settings,
        request: Option<&RequestKey>,
    ) -> Result<Reserved> {
        let id = about.id.clone();
        let status = Condition::new(State::Starting, settings);
        let row = row::new(&about, &status, self.server())?;
        let mounted = about.details.volumes.clone();
        let uses: Vec<_> = mounted.iter().map(|volume| row::volume_use(&about.id, volume)).collect();
        let entry = Arc::new(Entry::new(about, status, self.link(&id)));
        // Here before the row: who repeats the request while the sandbox is being made finds it.
        self.registry().insert(id, entry.clone(), Entry::counts)?;
        let place = Place::new(self, entry);
        let limits = caller.limits();
        let quota = Quota { sandboxes: limits.sandboxes, memory_bytes: limits.memory_bytes };
        // After an error nobody knows whether the row is there: the place, dropped, sees to it that it is not.
        let inserted = self.store().insert_sandbox(&row, quota, request, &uses).await?;
        if inserted == Inserted::New {
            return Ok(Reserved::Place(place));
        }
        place.give_back();
        let too_much = |reason, what: &str, limit: Option<u64>| {
            let message = format!(
                "tenant \"{}\" has its limit of {} {what}; delete some sandboxes",
                caller.tenant(),
                limit.unwrap_or_default()
            );
            Err(Error::quota(reason, message))
        };
        match inserted {
            // Returned above.
            Inserted::New => Err(Error::internal("reserve a place for a sandbox", "it was given back")),
            Inserted::Repeated(id) => Ok(Reserved::Repeated(id)),
            Inserted::Reused => Err(Error::WrongState {
                reason: Reason::RequestIdReused,
                message: "request_id was used for another request; make up a new one".to_owned(),
            }),
            Inserted::TooManySandboxes => too_much(Reason::TooManySandboxes, "sandboxes", limits.sandboxes),
            Inserted::TooMuchMemory => {
                too_much(Reason::TooMuchMemory, "bytes of memory in all sandboxes", limits.memory_bytes)
            }
            Inserted::VolumeGone(id) => Err(Error::not_found(Kind::Volume, name_of(&mounted, &id))),
            Inserted::VolumeInUse { volume_id, users } => {
                let what_to_do = "delete it first, or ask for read_only if nobody writes";
                Err(volume::in_use(name_of(&mounted, &volume_id), &users, what_to_do))
            }
        }
    }

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
    async fn undo(&self, entry: &Entry) -> std::result::Result<(), NotRemoved> {
        self.removals().remove(entry.id()).await?;
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

/// What the tenant calls a volume.
fn name_of<'a>(mounted: &'a [Mounted], volume_id: &'a str) -> &'a str {
    mounted.iter().find(|volume| volume.volume_id == volume_id).map_or(volume_id, |volume| &volume.name)
}
