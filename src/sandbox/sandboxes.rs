//! All sandboxes of a server: creates, finds, lists and deletes them.

use super::{Entry, NewSandbox, Policy, Reached, Sandbox, State, id, link::Link, policy, registry::Registry};
use crate::{
    agent::config::AgentConfig,
    error::{Error, Kind, Reason, Result},
    runtime::{Image, Runtime, RuntimeError, SandboxSpec},
};
use futures_util::{StreamExt, stream};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{sync::oneshot, time::timeout};
use tracing::Instrument;

/// How long a new agent may take to answer. Far above what it needs; a loaded host is slow.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an agent may take to end its sessions and tell their watchers before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long streams that were told may take to carry their last bytes before the agent is killed.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);
/// Deletions at one time when the server stops or clears up.
const PARALLEL_REMOVALS: usize = 16;

/// All sandboxes of a server. Cheap to clone.
#[derive(Clone)]
pub struct Sandboxes(Arc<Shared>);

struct Shared {
    runtime: Arc<dyn Runtime>,
    policy: Policy,
    /// Held for look-ups and changes only, never while a sandbox is worked on.
    registry: Mutex<Registry<Entry>>,
}

/// A page of sandboxes.
pub struct Listing {
    /// Oldest first.
    pub sandboxes: Vec<Sandbox>,
    /// `None` on the last page.
    pub next_page_token: Option<String>,
    /// How many match in all.
    pub total: usize,
}

impl Sandboxes {
    /// No sandboxes yet.
    pub fn new(runtime: Arc<dyn Runtime>, policy: Policy) -> Self {
        let registry = Mutex::new(Registry::new(policy.max_sandboxes));
        Self(Arc::new(Shared { runtime, policy, registry }))
    }

    /// Removes what an earlier server left behind, and says how many that were.
    pub async fn remove_orphans(&self) -> Result<usize> {
        let orphans = self.0.runtime.list().await.map_err(|error| Error::internal("list sandboxes", error))?;
        let count = orphans.len();
        stream::iter(orphans)
            .for_each_concurrent(PARALLEL_REMOVALS, async |id| {
                if let Err(error) = self.0.runtime.remove(&id).await {
                    tracing::warn!(sandbox = id, %error, "a sandbox of an earlier server could not be removed");
                }
            })
            .await;
        Ok(count)
    }

    /// Starts a sandbox; returns when its agent answers. A caller that goes away leaves nothing behind.
    pub async fn create(&self, new: NewSandbox) -> Result<Sandbox> {
        let network = self.0.policy.network(new.network)?;
        let limits = policy::limits(new.limits, self.0.runtime.supported_limits())?;
        let image = self.find_image(&new.image).await?;
        let place = self.reserve(&new, &image, limits, network)?;
        let id = place.entry.id().to_owned();
        tracing::Span::current().record("id", &id);
        let config = AgentConfig {
            sandbox_id: id.clone(),
            env: new.env,
            working_directory: place.entry.sandbox.working_directory.to_owned(),
            memory_bytes: limits.memory_bytes,
        };
        let agent_config =
            serde_json::to_vec(&config).map_err(|error| Error::internal("write the agent's configuration", error))?;
        let spec = SandboxSpec { sandbox_id: id, image, limits, network, agent_config };

        // A task of its own, so that the work comes to a defined end even when the caller goes away in the middle. The
        // place travels with the answer: if nobody takes it, dropping it clears up.
        let (answer, answered) = oneshot::channel();
        let this = self.clone();
        let work = async move {
            let outcome = match this.start(&place.entry, spec, &new.image).await {
                Ok(()) => Ok(place),
                Err(error) => {
                    place.clear().await;
                    Err(error)
                }
            };
            drop(answer.send(outcome));
        };
        tokio::spawn(work.in_current_span());
        let place = answered.await.map_err(|error| Error::internal("start a sandbox", error))??;
        Ok(place.keep())
    }

    /// The sandbox as it is now.
    pub async fn get(&self, sandbox_id: &str) -> Result<Sandbox> {
        let entry = self.find(Kind::Sandbox, sandbox_id, sandbox_id)?;
        self.look_after(&entry).await;
        Ok(entry.snapshot())
    }

    /// A page of the sandboxes that have all these labels.
    pub fn list(&self, labels: &HashMap<String, String>, page_size: usize, page_token: &str) -> Result<Listing> {
        let has_all = |entry: &Entry| labels.iter().all(|(key, value)| entry.sandbox.labels.get(key) == Some(value));
        let page = self.registry().page(page_token, page_size, has_all)?;
        Ok(Listing {
            sandboxes: page.items.iter().map(|entry| entry.snapshot()).collect(),
            next_page_token: page.next_token,
            total: page.total,
        })
    }

    /// Ends a sandbox and removes all of it. Any number of callers may do so at once; all wait for the same end.
    pub async fn delete(&self, sandbox_id: &str) -> Result<()> {
        let entry = self.find(Kind::Sandbox, sandbox_id, sandbox_id)?;
        let before = entry.wait_for(|state| state != State::Starting).await;
        if entry.change(State::Stopping, |state| matches!(state, State::Running | State::Failed)) {
            // Goes on without the caller.
            let (this, entry) = (self.clone(), entry.clone());
            tokio::spawn(async move { this.stop(&entry, before == State::Running).await }.in_current_span());
        }
        match entry.wait_for(|state| matches!(state, State::Gone | State::Failed)).await {
            State::Gone => Ok(()),
            _ => Err(Error::internal("delete a sandbox", "it could not be removed; the reason was logged before")),
        }
    }

    /// Refuses new sandboxes and deletes all.
    pub async fn shut_down(&self) {
        let ids = self.registry().close();
        stream::iter(ids)
            .for_each_concurrent(PARALLEL_REMOVALS, async |id| {
                if let Err(error) = self.delete(&id).await
                    && !matches!(error, Error::NotFound { .. })
                {
                    tracing::error!(sandbox = id, %error, "a sandbox is left behind");
                }
            })
            .await;
    }

    /// What a session, command or sandbox of this id is reached by, if its sandbox runs.
    pub fn reach(&self, kind: Kind, id: &str) -> Result<Reached> {
        let entry = self.find(kind, id, id::sandbox_of(id))?;
        let problem = match entry.state() {
            State::Running => return Ok(Reached::new(entry, self.clone())),
            State::Gone => return Err(not_found(kind, id)),
            State::Starting => "is still being started",
            State::Stopping => "is being deleted",
            State::Failed => "has failed: its agent ended by itself; delete it and create another",
        };
        let message = format!("sandbox \"{}\" {problem}", entry.id());
        Err(Error::WrongState { reason: Reason::SandboxNotRunning, message })
    }

    fn registry(&self) -> MutexGuard<'_, Registry<Entry>> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, kind: Kind, id: &str, sandbox_id: &str) -> Result<Arc<Entry>> {
        self.registry().get(sandbox_id).ok_or_else(|| not_found(kind, id))
    }

    async fn find_image(&self, name: &str) -> Result<Image> {
        let (this, name) = (self.clone(), name.to_owned());
        if !name.starts_with('/') {
            return this.0.policy.image(&name);
        }
        // A path may lie on a slow disk.
        let found = tokio::task::spawn_blocking(move || this.0.policy.image(&name)).await;
        found.map_err(|error| Error::internal("look for an image", error))?
    }

    /// Takes a place, so that the bound holds while the sandbox is made without any lock.
    fn reserve(
        &self,
        new: &NewSandbox,
        image: &Image,
        limits: crate::runtime::Limits,
        network: crate::runtime::Network,
    ) -> Result<Place> {
        let id = id::new_sandbox_id();
        let link = Link::new(self.0.runtime.clone(), &id);
        let sandbox = Sandbox {
            id: id.clone(),
            image: if new.image.is_empty() { "host".to_owned() } else { new.image.clone() },
            labels: new.labels.clone(),
            runtime: self.0.runtime.name(),
            create_time: SystemTime::now(),
            working_directory: if *image == Image::Host { "/workspace" } else { "/" },
            limits,
            network,
            warnings: self.0.runtime.warnings().to_vec(),
            state: State::Starting,
        };
        let entry = Arc::new(Entry::new(sandbox, link));
        self.registry().insert(id, entry.clone())?;
        Ok(Place { sandboxes: self.clone(), entry, open: true })
    }

    async fn start(&self, entry: &Entry, spec: SandboxSpec, image: &str) -> Result<()> {
        self.0.runtime.create(spec).await.map_err(|error| from_runtime(error, image))?;
        let hello = timeout(START_TIMEOUT, entry.link.client()).await;
        hello.map_err(|error| Error::internal("wait for a new agent", error))?.map_err(|error| match error {
            Error::Unreachable { source, .. } => Error::internal("greet a new agent", source),
            error => error,
        })?;
        entry.change(State::Running, |state| state == State::Starting);
        Ok(())
    }

    async fn stop(&self, entry: &Arc<Entry>, was_running: bool) {
        if was_running {
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
        self.remove(entry).await;
    }

    async fn remove(&self, entry: &Entry) {
        if let Err(error) = self.0.runtime.remove(entry.id()).await {
            tracing::error!(sandbox = entry.id(), %error, "a sandbox could not be removed");
            entry.change(State::Failed, |_| true);
            return;
        }
        self.registry().remove(entry.id());
        entry.change(State::Gone, |_| true);
    }

    /// Notices an agent that died.
    pub(super) async fn look_after(&self, entry: &Entry) {
        if entry.state() != State::Running {
            return;
        }
        let alive = match self.0.runtime.inspect(entry.id()).await {
            Ok(inspection) => inspection.alive,
            Err(RuntimeError::NotFound) => false,
            Err(error) => {
                tracing::warn!(sandbox = entry.id(), %error, "a sandbox could not be inspected");
                true
            }
        };
        if !alive && entry.change(State::Failed, |state| state == State::Running) {
            tracing::warn!(sandbox = entry.id(), "an agent died");
        }
    }
}

/// A place in the registry whose sandbox is removed unless it is kept.
struct Place {
    sandboxes: Sandboxes,
    entry: Arc<Entry>,
    open: bool,
}

impl Place {
    fn keep(mut self) -> Sandbox {
        self.open = false;
        self.entry.snapshot()
    }

    async fn clear(mut self) {
        self.open = false;
        self.entry.change(State::Stopping, |_| true);
        self.sandboxes.remove(&self.entry).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.open {
            let place = Self { sandboxes: self.sandboxes.clone(), entry: self.entry.clone(), open: false };
            tokio::spawn(place.clear());
        }
    }
}

fn not_found(kind: Kind, id: &str) -> Error {
    // The id is the client's and may be of any length.
    Error::not_found(kind, id.chars().take(200).collect::<String>())
}

fn from_runtime(error: RuntimeError, image: &str) -> Error {
    match error {
        RuntimeError::Image(hint) => {
            Error::NotFound { kind: Kind::Image, id: image.to_owned(), hint: Some(format!("; {hint}")) }
        }
        RuntimeError::NotSupported { field, message } => {
            Error::WrongState { reason: Reason::NotSupportedByHost, message: format!("{field}: {message}") }
        }
        error @ (RuntimeError::NotFound | RuntimeError::Failed { .. }) => Error::internal("start a sandbox", error),
    }
}
