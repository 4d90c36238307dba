//! The layers of this server: who uses them, that each is made only once, and which are removed when they take too much room.
//!
//! A layer is in use while a sandbox is there that was made from it, and as long as one is about to be. Making one and removing one is work
//! that nobody owns: whoever needs the layer meanwhile waits for its end, and it goes on when nobody waits.

use super::{Clock, Entry, failure::from_runtime, registry::Registry};
use crate::{
    error::{Error, Result},
    runtime::{Layer, Runtime, RuntimeError},
    sync::lock,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Layers that are being made at one time: each is a sandbox of its own.
const MADE_AT_ONCE: usize = 4;

/// Layers that are kept, however small they are.
const MOST_LAYERS: usize = 1000;

/// What came of work on a layer.
type Outcome = std::result::Result<Done, Arc<Error>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Made,
    Removed,
}

/// All layers of a server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Layers(Arc<Inner>);

struct Inner {
    runtime: Arc<dyn Runtime>,
    /// The sandboxes that there are, which say what they are made from.
    registry: Arc<Mutex<Registry<Entry>>>,
    clock: Clock,
    /// Bytes that they may take together, apart from those that sandboxes use.
    most_bytes: u64,
    /// Work that owns something and goes on when the call that began it is cancelled.
    work: TaskTracker,
    state: Mutex<State>,
    turns: Semaphore,
}

/// What is known of layers, besides what the runtime knows.
#[derive(Default)]
struct State {
    /// How many sandboxes are about to be made from it.
    wanted: HashMap<String, usize>,
    /// What is being made or removed.
    work: HashMap<String, Shared<BoxFuture<'static, Outcome>>>,
    /// When it was used last, since this server was started.
    used: HashMap<String, SystemTime>,
}

/// Keeps a layer from being removed.
pub(super) struct Hold {
    layers: Layers,
    name: String,
}

impl Hold {
    fn new(layers: &Layers, name: &str) -> Self {
        *lock(&layers.0.state).wanted.entry(name.to_owned()).or_default() += 1;
        Self { layers: layers.clone(), name: name.to_owned() }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = lock(&self.layers.0.state);
        if let Some(count) = state.wanted.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                state.wanted.remove(&self.name);
            }
        }
    }
}

impl Layers {
    /// The layers of a server with these sandboxes. `work` is what the server waits for before it ends.
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        registry: Arc<Mutex<Registry<Entry>>>,
        clock: Clock,
        most_bytes: u64,
        work: TaskTracker,
    ) -> Self {
        let (state, turns) = (Mutex::default(), Semaphore::new(MADE_AT_ONCE));
        Self(Arc::new(Inner { runtime, registry, clock, most_bytes, work, state, turns }))
    }

    /// Waits for a turn at making one.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        self.0.turns.acquire().await.map_err(|error| Error::internal("wait for a turn", error))
    }

    /// Holds a layer, which is made first if it is not there. `make` is asked for the work only if nobody does it already.
    pub(super) async fn hold<F>(&self, name: &str, make: impl Fn() -> F) -> Result<Hold>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let hold = Hold::new(self, name);
        loop {
            let under_way = lock(&self.0.state).work.get(name).cloned();
            let work = match under_way {
                Some(work) => work,
                None if self.has_layer(name).await? => break,
                None => {
                    let made = self.begin(name, |_| true, || make().map(|made| made.map(|()| Done::Made)).boxed());
                    let Some(made) = made else { continue };
                    made
                }
            };
            match work.await {
                Ok(Done::Made) => break,
                Ok(Done::Removed) => {}
                Err(error) => return Err(again(&error)),
            }
        }
        lock(&self.0.state).used.insert(name.to_owned(), self.0.clock.now());
        Ok(hold)
    }

    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.work.spawn(work.in_current_span())
    }

    async fn has_layer(&self, name: &str) -> Result<bool> {
        self.0.runtime.has_layer(name).await.map_err(|error| from_runtime(error, name))
    }

    /// Begins work on a layer, unless there is some under way: then that is what is waited for. `None` if it may not begin.
    fn begin(
        &self,
        name: &str,
        may: impl FnOnce(&State) -> bool,
        work: impl FnOnce() -> BoxFuture<'static, Result<Done>>,
    ) -> Option<Shared<BoxFuture<'static, Outcome>>> {
        let mut state = lock(&self.0.state);
        if let Some(work) = state.work.get(name) {
            return Some(work.clone());
        }
        if !may(&state) {
            return None;
        }
        let (this, work, about) = (self.clone(), work(), name.to_owned());
        let task = self.spawn(async move {
            let outcome = work.await;
            lock(&this.0.state).work.remove(&about);
            if matches!(outcome, Ok(Done::Made)) {
                this.make_room();
            }
            outcome.map_err(Arc::new)
        });
        let work =
            async move { task.await.unwrap_or_else(|error| Err(Arc::new(Error::internal("work on a layer", error)))) };
        let work = work.boxed().shared();
        state.work.insert(name.to_owned(), work.clone());
        Some(work)
    }

    /// Removes layers that nobody uses while they take more room than they may, the one that was used longest ago first. Returns at once.
    pub(super) fn make_room(&self) {
        let this = self.clone();
        self.spawn(async move {
            if let Err(error) = this.remove_what_is_too_much().await {
                tracing::warn!(%error, "layers of samples could not be removed to make room");
            }
        });
    }

    async fn remove_what_is_too_much(&self) -> std::result::Result<(), RuntimeError> {
        let mut layers = self.0.runtime.layers().await?;
        {
            let mut state = lock(&self.0.state);
            state.used.retain(|name, _| layers.iter().any(|layer| layer.name == *name));
            for layer in &mut layers {
                layer.used = state.used.get(&layer.name).copied().unwrap_or(layer.used).max(layer.used);
            }
        }
        layers.sort_by_key(|layer| layer.used);
        let most = self.0.most_bytes;
        let (mut bytes, mut count) = (layers.iter().map(size).sum::<u64>(), layers.len());
        for layer in layers {
            if bytes <= most && count <= MOST_LAYERS {
                return Ok(());
            }
            let Some(removal) = self.begin_to_remove(&layer.name) else { continue };
            match removal.await {
                Ok(Done::Removed) => (bytes, count) = (bytes.saturating_sub(size(&layer)), count - 1),
                Ok(Done::Made) => {}
                Err(error) => tracing::warn!(layer = layer.name, %error, "a layer could not be removed"),
            }
        }
        if bytes > most {
            tracing::warn!(bytes, most, "the layers of samples that are in use take more room than --max-layer-bytes");
        }
        Ok(())
    }

    /// Begins the removal of a layer. `None` if it is in use.
    fn begin_to_remove(&self, name: &str) -> Option<Shared<BoxFuture<'static, Outcome>>> {
        let is_used = || {
            let entries = lock(&self.0.registry).all();
            entries.iter().any(|entry| entry.about().details.layer.as_deref() == Some(name))
        };
        // Looked at in one step: a hold is let go of when the sandbox says by itself what it is made from. And whoever wants the
        // layer from here on waits for the removal.
        let may = |state: &State| !state.wanted.contains_key(name) && !is_used();
        let (this, about) = (self.clone(), name.to_owned());
        let removal = async move {
            match this.0.runtime.remove_layer(&about).await {
                Ok(true) => Ok(Done::Removed),
                // What it was made from is still being removed, perhaps.
                Ok(false) => Ok(Done::Made),
                Err(error) => Err(Error::internal("remove a layer", error)),
            }
        };
        self.begin(name, may, || removal.boxed())
    }
}

/// What is not known counts for nothing.
fn size(layer: &Layer) -> u64 {
    layer.bytes.unwrap_or_default()
}

/// The same error for everybody who waited for the same work.
fn again(error: &Error) -> Error {
    match error {
        Error::Invalid(violations) => Error::Invalid(violations.clone()),
        Error::NotFound { kind, id, hint } => Error::NotFound { kind: *kind, id: id.clone(), hint: hint.clone() },
        Error::WrongState { reason, message } => Error::WrongState { reason: *reason, message: message.clone() },
        Error::Exhausted { reason, message, retry_after } => {
            Error::Exhausted { reason: *reason, message: message.clone(), retry_after: *retry_after }
        }
        Error::Unavailable { reason, message } => Error::Unavailable { reason: *reason, message: message.clone() },
        other => {
            let mut said = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                said = format!("{said}: {cause}");
                source = cause.source();
            }
            Error::internal("prepare a sample", said)
        }
    }
}
