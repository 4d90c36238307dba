//! Making a sandbox.
//!
//! A row comes first: it holds the id, the tenant's quota and the request's id, and tells a restarted server what to
//! clear up. Whatever happens then (an error, a caller that goes away) ends with the sandbox told to its caller, or with
//! nothing left of it.

use super::{
    Condition, Entry, NewSandbox, Progress, Sandbox, Sandboxes, State,
    entry::{About, Details},
    id, lifetime,
    link::Link,
    place::Place,
    policy,
    progress::Listener,
    row,
};
use crate::{
    agent::config::AgentConfig,
    error::{Error, Kind, Reason, Result},
    runtime::{Image, ImageNames, RuntimeError, SandboxSpec},
    store::{Inserted, Quota, RequestKey, SandboxState, Settings},
    tenant::Caller,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};
use tracing::Instrument;

/// How long a new agent may take to answer. Far above what it needs; a loaded host is slow.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request id is remembered.
pub(super) const REQUEST_KEPT: Duration = Duration::from_secs(3600);

impl Sandboxes {
    /// Starts a sandbox; returns when its agent answers. A caller that goes away leaves nothing behind.
    pub async fn create(&self, caller: &Caller, new: NewSandbox) -> Result<Sandbox> {
        self.create_heard(caller, new, None).await
    }

    /// The same, telling how far it is.
    pub(super) async fn create_heard(
        &self,
        caller: &Caller,
        new: NewSandbox,
        listener: Option<&Listener>,
    ) -> Result<Sandbox> {
        let now = self.clock().now();
        let (expire_time, idle_timeout) = lifetime::settle(new.lifetime, &self.policy().lifetimes, now)?;
        let network = self.policy().network(new.network)?;
        let limits = policy::limits(new.limits, self.runtime().supported_limits())?;
        let image = self.find_image(&new.image).await?;
        let settings = Settings { labels: new.labels.clone(), expire_time, idle_timeout };
        let details = Details {
            image: if image == Image::Host { "host".to_owned() } else { new.image.clone() },
            runtime: self.runtime().name().to_owned(),
            working_directory: match image {
                Image::Host => "/workspace",
                Image::Directory(_) => "/",
                // The image says, when it is there.
                Image::Reference(_) => "",
            }
            .to_owned(),
            limits,
            network,
            warnings: self.runtime().warnings().to_vec(),
        };
        let request = self.request_key(&new)?;
        loop {
            let about = About {
                id: id::new_sandbox_id(),
                tenant: caller.tenant().to_owned(),
                create_time: now,
                details: details.clone(),
            };
            match self.reserve(caller, about, settings.clone(), request.as_ref()).await? {
                Reserved::Place(place) => {
                    let entry = place.entry.clone();
                    return self.heard(&entry, self.make(place, image, new.env), listener).await;
                }
                Reserved::Repeated(sandbox_id) => {
                    if let Some(sandbox) = self.made_before(caller, &sandbox_id, listener).await? {
                        return Ok(sandbox);
                    }
                }
            }
        }
    }

    async fn find_image(&self, name: &str) -> Result<Image> {
        if self.runtime().image_names() == ImageNames::References {
            return self.policy().reference(name);
        }
        let (this, name) = (self.clone(), name.to_owned());
        if !name.starts_with('/') {
            return this.policy().file(&name);
        }
        // A path may lie on a slow disk.
        let found = tokio::task::spawn_blocking(move || this.policy().file(&name)).await;
        found.map_err(|error| Error::internal("look for an image", error))?
    }

    fn request_key(&self, new: &NewSandbox) -> Result<Option<RequestKey>> {
        if new.request_id.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_vec(new).map_err(|error| Error::internal("write a request", error))?;
        Ok(Some(RequestKey {
            request_id: new.request_id.clone(),
            digest: format!("{:x}", Sha256::digest(text)),
            not_before: self.clock().now() - REQUEST_KEPT,
        }))
    }

    /// Takes a place in this server and a row in the store, so that all bounds hold while the sandbox is made.
    async fn reserve(
        &self,
        caller: &Caller,
        about: About,
        settings: Settings,
        request: Option<&RequestKey>,
    ) -> Result<Reserved> {
        let id = about.id.clone();
        let status = Condition::new(State::Starting, settings);
        let row = row::new(&about, &status, self.server())?;
        let entry = Arc::new(Entry::new(about, status, Link::new(self.runtime().clone(), &id)));
        // Here before the row: who repeats the request while the sandbox is being made finds it.
        self.registry().insert(id, entry.clone(), |entry: &Entry| entry.state() != State::Failed)?;
        let mut place = Place::new(self, entry);
        let limits = caller.limits();
        let quota = Quota { sandboxes: limits.sandboxes, memory_bytes: limits.memory_bytes };
        let inserted = self.store().insert_sandbox(&row, quota, request).await?;
        if inserted != Inserted::New {
            place.give_back();
        }
        let too_much = |reason, what: &str, limit: Option<u64>| {
            let message = format!(
                "tenant \"{}\" has its limit of {} {what}; delete some sandboxes",
                caller.tenant(),
                limit.unwrap_or_default()
            );
            Err(Error::quota(reason, message))
        };
        match inserted {
            Inserted::New => Ok(Reserved::Place(place)),
            Inserted::Repeated(id) => Ok(Reserved::Repeated(id)),
            Inserted::Reused => Err(Error::WrongState {
                reason: Reason::RequestIdReused,
                message: "request_id was used for another request; make up a new one".to_owned(),
            }),
            Inserted::TooManySandboxes => too_much(Reason::TooManySandboxes, "sandboxes", limits.sandboxes),
            Inserted::TooMuchMemory => {
                too_much(Reason::TooMuchMemory, "bytes of memory in all sandboxes", limits.memory_bytes)
            }
        }
    }

    /// What the same request has made. `None` when that failed, so that it is to be made again.
    async fn made_before(
        &self,
        caller: &Caller,
        sandbox_id: &str,
        listener: Option<&Listener>,
    ) -> Result<Option<Sandbox>> {
        let entry = self.registry().get(sandbox_id).filter(|entry| entry.about.tenant == caller.tenant());
        if let Some(entry) = entry
            && self.heard(&entry, entry.wait_for(|state| state != State::Starting), listener).await != State::Gone
        {
            return Ok(Some(entry.snapshot(self.clock())));
        }
        match self.store().sandbox(sandbox_id).await? {
            Some(row) if row.state == SandboxState::Running => {
                let (about, status) = row::read(row)?;
                let expire_time = status.settings.expire_time;
                Ok(Some(Sandbox { about: about.into(), status, expire_time }))
            }
            Some(row) if row.state == SandboxState::Starting => Err(Error::Unavailable {
                reason: Reason::SandboxNotRunning,
                message: "another server is making the sandbox of this request; send it again".to_owned(),
            }),
            None if !self.store().is_requested(sandbox_id).await? => Ok(None),
            _ => Err(Error::NotFound {
                kind: Kind::Sandbox,
                id: sandbox_id.to_owned(),
                hint: Some("; this request_id has made it, and it was released since".to_owned()),
            }),
        }
    }

    async fn make(&self, place: Place, image: Image, env: BTreeMap<String, String>) -> Result<Sandbox> {
        let about = place.entry.about.clone();
        tracing::Span::current().record("id", &about.id);
        let config = AgentConfig {
            sandbox_id: about.id.clone(),
            env,
            working_directory: about.details.working_directory.clone(),
            memory_bytes: about.details.limits.memory_bytes,
        };
        let agent_config =
            serde_json::to_vec(&config).map_err(|error| Error::internal("write the agent's configuration", error))?;
        let (limits, network) = (about.details.limits, about.details.network);
        let spec = SandboxSpec { sandbox_id: about.id.clone(), image, limits, network, agent_config };
        // Whoever goes away up to here drops the place, which clears up. Those who wait for an image take no turn.
        let listener = place.entry.clone();
        let tell = Arc::new(move |pull| listener.progress(Progress::Pulling(pull)));
        if let Err(error) = self.runtime().fetch(&spec.image, tell).await {
            // Before the caller is told: it may look at once.
            place.clear().await;
            return Err(from_runtime(error, &about.details.image));
        }
        place.entry.progress(Progress::Waiting);
        let turn = self.admission().enter()?.turn().await?;

        // A task of its own, so that the work comes to a defined end even when the caller goes away in the middle. The
        // place travels with the answer: if nobody takes it, dropping it clears up.
        let (answer, answered) = oneshot::channel();
        let this = self.clone();
        let work = async move {
            place.entry.progress(Progress::Starting);
            let outcome = match this.start(&place.entry, spec).await {
                Ok(()) => Ok(place),
                Err(error) => {
                    place.clear().await;
                    Err(error)
                }
            };
            drop(turn);
            drop(answer.send(outcome));
        };
        tokio::spawn(work.in_current_span());
        let place = answered.await.map_err(|error| Error::internal("start a sandbox", error))??;
        Ok(place.keep())
    }

    async fn start(&self, entry: &Arc<Entry>, spec: SandboxSpec) -> Result<()> {
        let image = &entry.about.details.image;
        let made = self.runtime().create(spec).await.map_err(|error| from_runtime(error, image))?;
        if let Some(directory) = made.working_directory {
            // Before the row says "running": a killed server takes over only what is complete.
            let about = entry.learn(directory);
            self.store().set_sandbox_details(entry.id(), &row::details(about)?).await?;
        }
        let hello = timeout(START_TIMEOUT, entry.link.client()).await;
        hello.map_err(|error| Error::internal("wait for a new agent", error))?.map_err(|error| match error {
            Error::Unreachable { source, .. } => Error::internal("greet a new agent", source),
            error => error,
        })?;
        self.store().set_sandbox_state(entry.id(), SandboxState::Running, self.clock().now()).await?;
        Ok(())
    }
}

/// What came of asking for a place.
enum Reserved {
    Place(Place),
    /// The same request has made this sandbox.
    Repeated(String),
}

fn from_runtime(error: RuntimeError, image: &str) -> Error {
    match error {
        RuntimeError::Image(hint) => {
            Error::NotFound { kind: Kind::Image, id: image.to_owned(), hint: Some(format!("; {hint}")) }
        }
        RuntimeError::NotSupported { field, message } => {
            Error::WrongState { reason: Reason::NotSupportedByHost, message: format!("{field}: {message}") }
        }
        RuntimeError::Refused(message) => Error::WrongState { reason: Reason::NotSupportedByHost, message },
        RuntimeError::Unavailable(message) => Error::Unavailable { reason: Reason::RuntimeUnreachable, message },
        error @ (RuntimeError::NotFound | RuntimeError::Option(_) | RuntimeError::Failed { .. }) => {
            Error::internal("start a sandbox", error)
        }
    }
}
