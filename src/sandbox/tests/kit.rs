//! A domain over a real store and a runtime in memory, and short words for what tests ask of it.

use super::super::{fake::FakeRuntime, *};
use crate::{
    runtime::{Limits, Network},
    store::{Durability, Store},
    tenant::{self, Caller},
};
use futures_util::StreamExt;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(super) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Keeps tokio from moving a paused clock by itself, which it does whenever all it sees waits, the database included.
pub(super) struct Frozen(#[expect(dead_code, reason = "held, not read")] std::sync::mpsc::Sender<()>);

impl Frozen {
    pub(super) fn new() -> Self {
        let (sender, released) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || released.recv());
        Self(sender)
    }
}

pub(super) struct Kit {
    pub(super) runtime: Arc<FakeRuntime>,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) sandboxes: Sandboxes,
    pub(super) caller: Caller,
    _frozen: Frozen,
}

impl Kit {
    pub(super) async fn new() -> Self {
        Self::with(FakeRuntime::default()).await
    }

    pub(super) async fn with(runtime: FakeRuntime) -> Self {
        let _frozen = Frozen::new();
        let store = Store::open("sqlite::memory:", Durability::Kill).await.unwrap();
        store.ensure_tenant(tenant::DEFAULT, SystemTime::now()).await.unwrap();
        let (runtime, clock) = (Arc::new(runtime), Clock::of_tokio());
        let sandboxes = server(&runtime, &store, &clock);
        Self { runtime, store, clock, sandboxes, caller: Caller::anyone(), _frozen }
    }

    /// A server as after a kill: nothing but the store and the runtime is left of the one before.
    pub(super) async fn restarted(&self) -> (Sandboxes, Recovered) {
        let sandboxes = server(&self.runtime, &self.store, &self.clock);
        let recovered = sandboxes.recover().await.unwrap();
        (sandboxes, recovered)
    }

    pub(super) async fn create(&self, new: NewSandbox) -> Sandbox {
        self.sandboxes.create(&self.caller, new).await.unwrap()
    }

    pub(super) async fn created(&self) -> String {
        self.create(new()).await.about.id.clone()
    }

    pub(super) async fn total(&self, labels: &[(&str, &str)]) -> u64 {
        self.sandboxes.list(&self.caller, &pairs(labels), 10, "").await.unwrap().total
    }

    /// Moves time, and lets everybody who waited for it go on.
    pub(super) async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        // Who uses the database has its answer before time goes on: it serves in order.
        self.store.sandbox("").await.unwrap();
    }
}

pub(super) fn server(runtime: &Arc<FakeRuntime>, store: &Store, clock: &Clock) -> Sandboxes {
    let policy = Policy { creations_at_once: 2, waiting_creations: 2, ..Policy::default() };
    Sandboxes::with_clock(runtime.clone(), store.clone(), "here", policy, clock.clone())
}

pub(super) fn new() -> NewSandbox {
    NewSandbox {
        image: String::new(),
        labels: BTreeMap::new(),
        env: BTreeMap::new(),
        limits: Limits::default(),
        lifetime: Lifetime { ttl: None, idle_timeout: Some(Duration::ZERO) },
        network: Network::None,
        background_is_activity: false,
        working_directory: String::new(),
        user: String::new(),
        sample: None,
        volumes: Vec::new(),
        request_id: String::new(),
    }
}

pub(super) fn living(ttl: u64, idle: u64) -> NewSandbox {
    NewSandbox { lifetime: Lifetime { ttl: Some(s(ttl)), idle_timeout: Some(s(idle)) }, ..new() }
}

pub(super) fn requested(id: &str) -> NewSandbox {
    NewSandbox { request_id: id.into(), ..new() }
}

pub(super) fn pairs(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) async fn gone(sandboxes: &Sandboxes, caller: &Caller, id: &str) -> EndReason {
    let mut changes = sandboxes.watch(caller, id).await.unwrap();
    while let Some(Ok(sandbox)) = changes.next().await {
        if sandbox.status.state == State::Gone {
            return sandbox.status.end_reason.unwrap();
        }
    }
    panic!("the end was not told");
}
