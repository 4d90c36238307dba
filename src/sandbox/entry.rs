//! One sandbox: what it is, where it is in its life, and who watches it.

use super::link::Link;
use crate::runtime::{Limits, Network};
use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};
use tokio::sync::watch;

/// Where a sandbox is in its life; see the drawing in [`super`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Being started.
    Starting,
    /// Ready.
    Running,
    /// Being deleted.
    Stopping,
    /// Its agent ended by itself, or it could not be deleted.
    Failed,
    /// Deleted. Only those who still hold the entry see it.
    Gone,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct NewSandbox {
    /// The image's name; empty for the default.
    pub image: String,
    /// The caller's own pairs.
    pub labels: HashMap<String, String>,
    /// Environment of every session.
    pub env: BTreeMap<String, String>,
    /// Limits that were asked for.
    pub limits: Limits,
    /// The network that was asked for.
    pub network: Network,
}

/// A sandbox as it is now.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// The image's name, as asked for.
    pub image: String,
    /// The caller's own pairs.
    pub labels: HashMap<String, String>,
    /// What started it.
    pub runtime: &'static str,
    /// When.
    pub create_time: SystemTime,
    /// Where sessions start.
    pub working_directory: &'static str,
    /// The limits in force.
    pub limits: Limits,
    /// Its network.
    pub network: Network,
    /// What the host could not give.
    pub warnings: Vec<String>,
    /// Where it is in its life.
    pub state: State,
}

/// A sandbox and how to reach it.
pub struct Entry {
    /// `state` in it is not kept up to date: [`Entry::snapshot`] is.
    pub(super) sandbox: Sandbox,
    state: watch::Sender<State>,
    pub(super) link: Link,
    /// Output streams under way, so that a deletion can let them end.
    streams: watch::Sender<usize>,
}

impl Entry {
    pub(super) fn new(sandbox: Sandbox, link: Link) -> Self {
        Self { state: watch::Sender::new(sandbox.state), sandbox, link, streams: watch::Sender::new(0) }
    }

    /// The sandbox as it is now.
    pub(super) fn snapshot(&self) -> Sandbox {
        Sandbox { state: self.state(), ..self.sandbox.clone() }
    }

    pub(super) fn id(&self) -> &str {
        &self.sandbox.id
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Changes the state if `may` says so of the present one.
    pub(super) fn change(&self, to: State, may: impl Fn(State) -> bool) -> bool {
        self.state.send_if_modified(|state| {
            let change = may(*state);
            if change {
                *state = to;
            }
            change
        })
    }

    /// Waits until the state is such; at once if it is.
    pub(super) async fn wait_for(&self, such: impl Fn(State) -> bool) -> State {
        // The sender lives as long as `self`, so the wait cannot fail.
        self.state.subscribe().wait_for(|state| such(*state)).await.map_or(State::Gone, |state| *state)
    }

    pub(super) fn stream_started(&self) {
        self.streams.send_modify(|count| *count += 1);
    }

    pub(super) fn stream_ended(&self) {
        self.streams.send_modify(|count| *count -= 1);
    }

    /// Waits until no output stream is under way.
    pub(super) async fn streams_ended(&self) {
        let _ = self.streams.subscribe().wait_for(|count| *count == 0).await;
    }
}
