//! A sandbox as a call sees it: its agent's client, and what to make of it when the agent is lost.

use super::{
    Entry, Sandboxes, State, id,
    link::{AgentClient, CodeClient, FileClient},
};
use crate::{
    api::agent::v1::ActivityResponse,
    error::{Error, Kind, Reason, Result},
    tenant::Caller,
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How long a new connection may be silent before the runtime is asked what holds it up.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// What a call for files has met where the runtime knows of nothing that is wrong with the sandbox.
const FILES_ENDED: &str = "the program in it that works on files has ended or does not answer; it was perhaps killed because the \
                           sandbox's memory is full, or by a program of the sandbox. The next call starts another";

/// A sandbox that runs, as a call needs it. It counts as used until the last clone is dropped.
#[derive(Clone)]
pub struct Reached {
    call: Arc<Call>,
    sandboxes: Sandboxes,
    /// Whether the call is answered by the program that works on files, and not by the agent.
    is_for_files: bool,
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
        Self { call: Arc::new(Call(entry)), sandboxes, is_for_files: false }
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.call.0
    }

    /// A client of its agent.
    pub async fn client(&self) -> Result<AgentClient> {
        let link = &self.entry().link;
        if link.is_greeted() {
            return link.client().await;
        }
        tokio::select! {
            client = link.client() => match client {
                Ok(client) => Ok(client),
                Err(error) => Err(self.explain(error).await),
            },
            cause = self.hindrance() => Err(because(link.unreachable(cause.clone()), Some(cause))),
        }
    }

    /// A client of its agent for a stream that only watches.
    pub async fn watcher(&self) -> Result<AgentClient> {
        self.client().await?;
        self.entry().link.watcher().await
    }

    /// A client of the program that works on its files.
    pub async fn files(&self) -> Result<FileClient> {
        self.client().await?;
        self.entry().link.files()
    }

    /// What runs code in it.
    pub async fn code(&self) -> Result<CodeClient> {
        self.client().await?;
        self.entry().link.code()
    }

    /// A client of that program for a stream that only watches.
    pub async fn file_watcher(&self) -> Result<FileClient> {
        self.client().await?;
        self.entry().link.file_watcher()
    }

    /// Refuses a program without a shell, if its agent is too old for one. To be asked once there is a client.
    pub fn executes_programs(&self) -> Result<()> {
        self.entry().link.executes_programs()
    }

    /// Refuses a start that goes on with an earlier one, if its agent is too old for that. To be asked once there is a client.
    pub fn resumes_starts(&self) -> Result<()> {
        self.entry().link.resumes_starts()
    }

    /// Whether its agent knows input that has a place. To be asked once there is a client.
    pub fn knows_places_of_input(&self) -> bool {
        self.entry().link.knows_places_of_input()
    }

    /// Open sessions, and what runs.
    pub(super) async fn in_use(&self) -> Result<(i64, ActivityResponse)> {
        let link = &self.entry().link;
        let asked = async { Ok((link.sessions().await?, link.activity().await?)) }.await;
        match asked {
            Ok(answers) => Ok(answers),
            Err(error) => Err(self.explain(error).await),
        }
    }

    /// The same for a call that the program for files answers.
    #[must_use]
    pub fn for_files(self) -> Self {
        Self { is_for_files: true, ..self }
    }

    /// The error of a call that lost the agent. Notices if the agent died.
    pub async fn lost(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.explain(self.entry().link.unreachable(source)).await
    }

    /// Adds what the runtime knows of why the agent does not answer.
    async fn explain(&self, error: Error) -> Error {
        let known = self.sandboxes.look_after(self.entry()).await;
        because(error, known.or_else(|| self.is_for_files.then(|| FILES_ENDED.to_owned())))
    }

    /// Returns when the agent's silence has a known cause, which is asked for less and less often.
    async fn hindrance(&self) -> String {
        let mut pause = FIRST_LOOK;
        loop {
            sleep(pause).await;
            if let Some(cause) = self.sandboxes.look_after(self.entry()).await {
                return cause;
            }
            pause *= 2;
        }
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

impl Sandboxes {
    /// What a session, command or sandbox of this id is reached by, if its sandbox runs.
    pub async fn reach(&self, caller: &Caller, kind: Kind, id: &str) -> Result<Reached> {
        if kind == Kind::Sandbox && id != id::sandbox_of(id) {
            return Err(Error::not_found(kind, id));
        }
        let entry = self.find(caller, kind, id, id::sandbox_of(id)).await?;
        let problem = match entry.state() {
            State::Running => return Ok(Reached::new(entry, self.clone())),
            State::Gone => return Err(Error::not_found(kind, id)),
            State::Starting => "is still being started".to_owned(),
            State::Stopping | State::Abandoned => "is being deleted".to_owned(),
            State::Failed => format!("has failed: {}; create another", entry.status().end_message),
        };
        let message = format!("sandbox \"{}\" {problem}", entry.id());
        Err(Error::WrongState { reason: Reason::SandboxNotRunning, message })
    }
}

fn because(error: Error, known: Option<String>) -> Error {
    match error {
        Error::Unreachable { sandbox_id, cause, retry_after, source } => {
            Error::Unreachable { sandbox_id, cause: cause.or(known), retry_after, source }
        }
        other => other,
    }
}

/// An output stream under way.
pub struct Watching(Arc<Entry>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.stream_ended();
    }
}
