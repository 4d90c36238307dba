//! A sandbox as a call sees it: its agent's client, and what to make of it when the agent is lost.

use super::{Entry, Sandboxes, State, link::AgentClient};
use crate::{
    api::agent::v1::ActivityResponse,
    error::{Error, Result},
};
use std::sync::Arc;

/// A sandbox that runs, as a call needs it. It counts as used until the last clone is dropped.
#[derive(Clone)]
pub struct Reached {
    call: Arc<Call>,
    sandboxes: Sandboxes,
}

/// A call under way.
struct Call(Arc<Entry>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.call_ended();
    }
}

impl Reached {
    pub(super) fn new(entry: Arc<Entry>, sandboxes: Sandboxes) -> Self {
        entry.call_started();
        Self { call: Arc::new(Call(entry)), sandboxes }
    }

    fn entry(&self) -> &Arc<Entry> {
        &self.call.0
    }

    /// A client of its agent.
    pub async fn client(&self) -> Result<AgentClient> {
        let client = self.entry().link.client().await;
        if client.is_err() {
            self.sandboxes.look_after(self.entry()).await;
        }
        client
    }

    /// Open sessions, and what runs.
    pub(super) async fn in_use(&self) -> Result<(i64, ActivityResponse)> {
        let link = &self.entry().link;
        let asked = async { Ok((link.sessions().await?, link.activity().await?)) }.await;
        if asked.is_err() {
            self.sandboxes.look_after(self.entry()).await;
        }
        asked
    }

    /// The error of a call that lost the agent. Notices if the agent died.
    pub async fn lost(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.sandboxes.look_after(self.entry()).await;
        self.entry().link.unreachable(source)
    }

    /// Whether it is being deleted, or was.
    pub fn is_stopping(&self) -> bool {
        matches!(self.entry().state(), State::Stopping | State::Gone)
    }

    /// Resolved when the server stops and the sandbox goes on.
    pub fn server_stops(&self) -> impl Future<Output = ()> + Send + use<> {
        self.sandboxes.stops()
    }

    /// Counts an output stream until the guard is dropped.
    pub fn watch(&self) -> Watching {
        self.entry().stream_started();
        Watching(self.entry().clone())
    }
}

/// An output stream under way.
pub struct Watching(Arc<Entry>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.stream_ended();
    }
}
