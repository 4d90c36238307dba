//! Starting a sandbox that has a place: its image, the runtime's part, and the agent's first answer.

use super::{Entry, Progress, Reached, Sandboxes, State, failure::from_runtime, row};
use crate::{
    agent::config::AgentConfig,
    error::{Error, Reason, Result},
    image::Image,
    runtime::{Created, SandboxSpec},
    store::SandboxState,
    tenant::Caller,
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Where a code base is.
pub(super) const WORKSPACE: &str = "/workspace";

/// How long a new agent may take to answer. Far above what it needs; a loaded host is slow.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the runtime may take to make a sandbox, once its image is here. Longer is only an image that does not answer, as on
/// a network mount whose server is gone.
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long what was given up may take to come to an end by itself before it is cut off.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// What the runtime is asked to make.
pub(super) fn spec(
    entry: &Entry,
    image: Image,
    layer: Option<String>,
    env: BTreeMap<String, String>,
) -> Result<SandboxSpec> {
    let details = &entry.about.details;
    let is_in_volume = details.volumes.iter().any(|volume| Path::new(WORKSPACE).starts_with(&volume.path));
    let config = AgentConfig {
        sandbox_id: entry.id().to_owned(),
        env,
        working_directory: details.working_directory.clone(),
        memory_bytes: details.limits.memory_bytes,
        background_is_activity: details.background_is_activity,
        user: details.user.clone(),
        // In an image of somebody else's it belongs to whom that says, in a layer to whom it was given then, and in a volume to
        // whoever has made it.
        given_directory: (image == Image::Host && layer.is_none() && !is_in_volume).then(|| WORKSPACE.to_owned()),
        makes_directory: details.makes_directory,
    };
    let agent_config =
        serde_json::to_vec(&config).map_err(|error| Error::internal("write the agent's configuration", error))?;
    let (limits, network) = (details.limits, details.network);
    let (sandbox_id, volumes) = (entry.id().to_owned(), Vec::new());
    Ok(SandboxSpec { sandbox_id, image, layer, limits, network, volumes, agent_config })
}

impl Sandboxes {
    /// Brings an image here.
    pub(super) async fn fetch(&self, entry: &Arc<Entry>, image: &Image) -> Result<()> {
        let listener = entry.clone();
        let tell = Arc::new(move |pull| listener.progress(Progress::Pulling(pull)));
        let fetched = self.runtime().fetch(image, tell).await;
        fetched.map_err(|error| from_runtime(error, &entry.about.details.image))
    }

    /// Starts a sandbox that has its place and its turn, up to the row that says so.
    pub(super) async fn start(
        &self,
        caller: &Caller,
        entry: &Arc<Entry>,
        spec: SandboxSpec,
        opens_session: bool,
    ) -> Result<()> {
        self.start_agent(entry, spec).await?;
        if opens_session {
            let session_id = unless_deleted(entry, self.open_session(caller, entry)).await?;
            entry.learn(|details| details.default_session_id = session_id);
        }
        if entry.has_learned() {
            // Before the row says "running": a killed server takes over only what is complete.
            self.store().set_sandbox_details(entry.id(), &row::details(&entry.about())?).await?;
        }
        let noted = self.store().set_sandbox_state(entry.id(), SandboxState::Running, self.clock().now()).await?;
        if noted { Ok(()) } else { Err(Error::internal("start a sandbox", "its row is gone")) }
    }

    /// Starts a sandbox until its agent answers.
    pub(super) async fn start_agent(&self, entry: &Arc<Entry>, spec: SandboxSpec) -> Result<()> {
        let made = self.create_in_time(entry, spec).await?;
        // A request or a sample may have its own.
        if let Some(directory) = made.working_directory.filter(|_| entry.about.details.working_directory.is_empty()) {
            entry.learn(|details| details.working_directory = directory);
        }
        let greeting = async {
            let hello = timeout(START_TIMEOUT, entry.link.client()).await;
            hello.map_err(|error| Error::internal("wait for a new agent", error))?.map_err(|error| match error {
                Error::Unreachable { source, .. } => Error::internal("greet a new agent", source),
                error => error,
            })
        };
        unless_deleted(entry, greeting).await?;
        let details = &entry.about.details;
        if !details.user.is_empty() || details.makes_directory {
            let prepared = timeout(START_TIMEOUT, entry.link.prepare());
            let prepared = async { prepared.await.map_err(|error| Error::internal("wait for a new agent", error))? };
            unless_deleted(entry, prepared).await?;
        }
        Ok(())
    }

    /// Opens a session where the sandbox's sessions begin. It counts as any session of the caller's.
    async fn open_session(&self, caller: &Caller, entry: &Arc<Entry>) -> Result<String> {
        let reached = Reached::new(entry.clone(), self.clone());
        let _place = self.session_place(caller, &reached).await?;
        let opened = timeout(START_TIMEOUT, entry.link.open_session()).await;
        opened.map_err(|error| Error::internal("wait for a new session", error))?
    }

    /// Has the runtime make it, and gives that up when it takes too long or the sandbox is deleted meanwhile.
    async fn create_in_time(&self, entry: &Arc<Entry>, spec: SandboxSpec) -> Result<Created> {
        let runtime = self.runtime().clone();
        let mut work = self.spawn(async move { runtime.create(spec).await });
        let image = &entry.about.details.image;
        let in_time = async {
            timeout(CREATE_TIMEOUT, &mut work).await.map_err(|_| {
                let message =
                    format!("no sandbox could be made from image {image:?} within {} s", CREATE_TIMEOUT.as_secs());
                Error::Unavailable { reason: Reason::RuntimeUnreachable, message }
            })
        };
        match unless_deleted(entry, in_time).await {
            Ok(made) => {
                let made = made.map_err(|error| Error::internal("make a sandbox", error))?;
                made.map_err(|error| from_runtime(error, image))
            }
            Err(given_up) => {
                // What is half made is removed best once it has come to an end.
                if timeout(GIVE_UP_TIMEOUT, &mut work).await.is_err() {
                    work.abort();
                }
                Err(given_up)
            }
        }
    }
}

/// Does a step of making a sandbox, unless that is deleted meanwhile.
pub(super) async fn unless_deleted<T>(entry: &Entry, step: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = step => outcome,
        _ = entry.wait_for(|state| state != State::Starting) => Err(deleted_meanwhile(entry.id())),
    }
}

pub(super) fn deleted_meanwhile(sandbox_id: &str) -> Error {
    let message = format!("sandbox \"{sandbox_id}\" was deleted while it was being made");
    Error::WrongState { reason: Reason::SandboxNotRunning, message }
}
