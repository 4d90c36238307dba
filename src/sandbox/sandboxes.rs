//! All sandboxes of a server: what they share, and how one is found.

use super::{
    Clock, Entry, Policy, Sandbox, State, admission::Admission, layers::Layers, link::Link, registry::Registry,
    removal::Removals,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    image::Finder,
    rpc::lanes::Lanes,
    runtime::{self, Inspection, Liveness, Runtime, RuntimeError},
    sample::Samples,
    store::{SandboxState, Store},
    sync::lock,
    tenant::Caller,
    volume::Volumes,
};
use futures_util::{StreamExt, stream, stream::BoxStream};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long a server that stops waits for work that owns something.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// All sandboxes of a server. Cheap to clone.
#[derive(Clone)]
pub struct Sandboxes(Arc<Shared>);

struct Shared {
    runtime: Arc<dyn Runtime>,
    store: Store,
    server: String,
    policy: Policy,
    clock: Clock,
    /// Held for look-ups and changes only, never while a sandbox is worked on.
    registry: Arc<Mutex<Registry<Entry>>>,
    admission: Admission,
    /// Held while places for sessions are counted and one is taken, and for nothing else.
    session_gate: Mutex<()>,
    stops: watch::Sender<bool>,
    removals: Removals,
    finder: Finder,
    layers: Layers,
    volumes: Volumes,
    /// Samples that sandboxes can be made from.
    catalog: OnceLock<Catalog>,
    /// Where the work of connections to agents runs.
    lanes: OnceLock<Lanes>,
    /// Work that owns something and goes on when the call that began it is cancelled.
    work: TaskTracker,
}

/// What samples need of a server.
pub(super) struct Catalog {
    pub(super) samples: Samples,
    /// For copies of code bases.
    pub(super) scratch: PathBuf,
}

/// What a sandbox uses.
#[derive(Debug, Clone)]
pub struct Stats {
    /// What the runtime measures.
    pub usage: runtime::Usage,
    /// Open sessions.
    pub sessions: i64,
    /// Commands that run or wait.
    pub running_commands: i64,
    /// Commands ever started.
    pub commands: i64,
}

impl Sandboxes {
    /// No sandboxes yet; see [`Sandboxes::recover`]. `server` is this server's name in the store.
    pub fn new(runtime: Arc<dyn Runtime>, store: Store, server: &str, policy: Policy) -> Self {
        Self::with_clock(runtime, store, server, policy, Clock::system())
    }

    /// The same with another clock.
    pub fn with_clock(runtime: Arc<dyn Runtime>, store: Store, server: &str, policy: Policy, clock: Clock) -> Self {
        let (binds, default_bytes, work) = (policy.binds.clone(), policy.default_disk_bytes, TaskTracker::new());
        let registry = Arc::new(Mutex::new(Registry::new(policy.max_sandboxes)));
        let (kept, most) = (registry.clone(), policy.max_layer_bytes);
        let layers = Layers::new(runtime.clone(), kept, clock.clone(), most, work.clone());
        let finder = Finder::new(policy.images.clone());
        let removals = Removals::new(runtime.clone(), work.clone());
        let volumes = Volumes::new(runtime.clone(), store.clone(), server, binds, default_bytes, work.clone());
        Self(Arc::new(Shared {
            runtime,
            store,
            server: server.to_owned(),
            registry,
            admission: Admission::new(policy.creations_at_once, policy.waiting_creations),
            policy,
            clock,
            session_gate: Mutex::default(),
            stops: watch::Sender::new(false),
            removals,
            finder,
            layers,
            volumes,
            catalog: OnceLock::new(),
            lanes: OnceLock::new(),
            work,
        }))
    }

    /// Has the work of connections to agents in these lanes. To be said before there are sandboxes.
    pub fn with_lanes(self, lanes: Lanes) -> Self {
        // Said twice, the first stays.
        let _ = self.0.lanes.set(lanes);
        self
    }

    /// A line to the agent of a sandbox.
    pub(super) fn link(&self, sandbox_id: &str) -> Link {
        let lanes = self.0.lanes.get().cloned().unwrap_or_default();
        Link::new(self.runtime().clone(), sandbox_id, &lanes)
    }

    /// The sandbox as it is now.
    pub async fn get(&self, caller: &Caller, sandbox_id: &str) -> Result<Sandbox> {
        let entry = self.used(caller, sandbox_id).await?;
        self.look_after(&entry).await;
        Ok(entry.snapshot(self.clock()))
    }

    /// What a sandbox uses now.
    pub async fn stats(&self, caller: &Caller, sandbox_id: &str) -> Result<Stats> {
        let reached = self.reach(caller, Kind::Sandbox, sandbox_id).await?;
        let (sessions, activity) = reached.in_use().await?;
        let usage = self.runtime().stats(sandbox_id).await;
        let usage = usage.map_err(|error| match error {
            RuntimeError::Unavailable(message) => Error::Unavailable { reason: Reason::RuntimeUnreachable, message },
            error => Error::internal("measure a sandbox", error),
        })?;
        let (running_commands, commands) = (activity.running_commands, activity.commands);
        Ok(Stats { usage, sessions, running_commands, commands })
    }

    /// The sandbox now, and after each change. The last is the one whose state is [`State::Gone`], or an error when the
    /// server stops before.
    pub async fn watch(&self, caller: &Caller, sandbox_id: &str) -> Result<BoxStream<'static, Result<Sandbox>>> {
        let entry = self.used(caller, sandbox_id).await?;
        let (this, mut changes, mut over) = (self.clone(), entry.watch(), false);
        changes.mark_changed();
        let next = async move || {
            if over {
                return None;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = this.stops() => {
                    over = true;
                    return Some(Err(Error::stopping()));
                }
            }
            let now = entry.snapshot(this.clock());
            over = now.status.state == State::Gone;
            Some(Ok(now))
        };
        Ok(stream::unfold(next, async |mut next| Some((next().await?, next))).boxed())
    }

    /// A sandbox of the caller's.
    pub(super) async fn find(&self, caller: &Caller, kind: Kind, id: &str, sandbox_id: &str) -> Result<Arc<Entry>> {
        let found = self.registry().get(sandbox_id);
        match found {
            Some(entry) if entry.about.tenant == caller.tenant() => return Ok(entry),
            Some(_) => return Err(Error::not_found(kind, id)),
            None => {}
        }
        match self.store().sandbox(sandbox_id).await? {
            Some(row)
                if row.tenant == caller.tenant()
                    && row.server != self.server()
                    && !matches!(row.state, SandboxState::Deleted | SandboxState::Failed) =>
            {
                let message = format!("sandbox \"{sandbox_id}\" is on another server: {}", row.server);
                Err(Error::WrongState { reason: Reason::OnOtherServer, message })
            }
            _ => Err(Error::not_found(kind, id)),
        }
    }

    async fn used(&self, caller: &Caller, sandbox_id: &str) -> Result<Arc<Entry>> {
        let entry = self.find(caller, Kind::Sandbox, sandbox_id, sandbox_id).await?;
        entry.touch();
        Ok(entry)
    }

    /// Notices an agent that died, and clears up after it. Returns why the sandbox does not answer, if that is known.
    pub(super) async fn look_after(&self, entry: &Arc<Entry>) -> Option<String> {
        if entry.state() != State::Running {
            return None;
        }
        let Inspection { liveness, cause } = self.inspect(entry.id()).await;
        if liveness == Liveness::Dead {
            self.fail(entry, cause.clone()).await;
        }
        cause
    }

    /// What the runtime knows of a sandbox.
    pub(super) async fn inspect(&self, sandbox_id: &str) -> Inspection {
        let inspection = self.runtime().inspect(sandbox_id).await;
        if inspection.liveness == Liveness::Unknown {
            tracing::warn!(sandbox = sandbox_id, cause = inspection.cause, "a sandbox could not be inspected");
        }
        inspection
    }

    /// The volumes that these sandboxes can have.
    pub fn volumes(&self) -> &Volumes {
        &self.0.volumes
    }

    /// Ends the calls that would otherwise hold a stopping server up, and refuses new sandboxes. Those that run go on
    /// without the server.
    pub fn close(&self) {
        self.registry().close();
        self.0.stops.send_replace(true);
    }

    /// Resolved when [`Self::close`] is called.
    pub(super) fn stops(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stops = self.0.stops.subscribe();
        async move {
            if stops.wait_for(|stops| *stops).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Begins work that owns something: it is finished or undone although nobody waits for it any more.
    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.work.spawn(work.in_current_span())
    }

    /// Waits for such work, for a while, before the program ends. What is not finished then has a row, by which the next
    /// server finishes it.
    pub async fn finish(&self) {
        self.0.work.close();
        if timeout(FINISH_TIMEOUT, self.0.work.wait()).await.is_err() {
            tracing::warn!("some work is left to the next start of the server");
        }
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry<Entry>> {
        lock(&self.0.registry)
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.0.runtime
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.0.policy
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn server(&self) -> &str {
        &self.0.server
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    pub(super) fn removals(&self) -> &Removals {
        &self.0.removals
    }

    pub(super) fn finder(&self) -> &Finder {
        &self.0.finder
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.0.layers
    }

    pub(super) fn catalog(&self) -> Option<&Catalog> {
        self.0.catalog.get()
    }

    pub(super) fn set_catalog(&self, catalog: Catalog) {
        // A second one changes nothing.
        let _ = self.0.catalog.set(catalog);
    }

    pub(super) fn session_gate(&self) -> &Mutex<()> {
        &self.0.session_gate
    }
}
