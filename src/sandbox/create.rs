//! Making a sandbox.
//!
//! A row comes first: it holds the id, the tenant's quota and the request's id, and tells a restarted server what to
//! clear up. Whatever happens then (an error, a caller that goes away) ends with the sandbox told to its caller, or with
//! nothing left of it.

use super::{
    Condition, Entry, NewSandbox, Progress, Sandbox, Sandboxes, State,
    admission::Turn,
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
    runtime::{Created, Image, RuntimeError, SandboxSpec},
    store::{Inserted, Quota, RequestKey, SandboxState, Settings},
    tenant::Caller,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a new agent may take to answer. Far above what it needs; a loaded host is slow.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the runtime may take to make a sandbox, once its image is here. Longer is only an image that does not answer, as on
/// a network mount whose server is gone.
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long what was given up may take to come to an end by itself before it is cut off.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a repeated request waits for what the first one makes. A pull may take longer.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(600);

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
        let limits = policy::limits(new.limits, self.runtime().supported_limits(), self.policy().default_disk_bytes)?;
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
            background_is_activity: new.background_is_activity,
            user: new.user.clone(),
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
    ///
    /// A task of its own: a caller that goes away in the middle leaves the insertion to come to its end, and only then is what
    /// was inserted removed, when the place that nobody takes is dropped.
    async fn reserve(
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
        let entry = Arc::new(Entry::new(about, status, Link::new(self.runtime().clone(), &id)));
        // Here before the row: who repeats the request while the sandbox is being made finds it.
        self.registry().insert(id, entry.clone(), Entry::counts)?;
        let place = Place::new(self, entry);
        let limits = caller.limits();
        let quota = Quota { sandboxes: limits.sandboxes, memory_bytes: limits.memory_bytes };
        // After an error nobody knows whether the row is there: the place, dropped, sees to it that it is not.
        let inserted = self.store().insert_sandbox(&row, quota, request).await?;
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
        if let Some(entry) = entry {
            let is_settled = |state| !matches!(state, State::Starting | State::Abandoned);
            let settled = timeout(SETTLE_TIMEOUT, self.heard(&entry, entry.wait_for(is_settled), listener)).await;
            match settled {
                Ok(State::Gone) => {}
                Ok(_) => return Ok(Some(entry.snapshot(self.clock()))),
                Err(_) => return Err(not_settled("the sandbox of this request is still being made or removed")),
            }
        }
        match self.store().sandbox(sandbox_id).await? {
            Some(row) if row.state == SandboxState::Running => {
                let (about, status) = row::read(row)?;
                let expire_time = status.settings.expire_time;
                Ok(Some(Sandbox { about: about.into(), status, expire_time }))
            }
            Some(row) if row.state == SandboxState::Starting && row.server == self.server() => {
                Err(not_settled("what an earlier try of this request has left is still being removed"))
            }
            Some(row) if row.state == SandboxState::Starting => {
                Err(not_settled("another server is making the sandbox of this request"))
            }
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
            background_is_activity: about.details.background_is_activity,
            user: about.details.user.clone(),
            // In an image of somebody else's it belongs to whom that says.
            gives_directory: image == Image::Host,
        };
        let agent_config =
            serde_json::to_vec(&config).map_err(|error| Error::internal("write the agent's configuration", error))?;
        let (limits, network) = (about.details.limits, about.details.network);
        let spec = SandboxSpec { sandbox_id: about.id.clone(), image, layer: None, limits, network, agent_config };
        // Whoever goes away up to here drops the place, which clears up.
        let turn = match unless_deleted(&place.entry, self.image_and_turn(&place.entry, &spec.image)).await {
            Ok(turn) => turn,
            Err(error) => {
                // Before the caller is told: it may look at once.
                place.clear().await;
                return Err(error);
            }
        };
        // A task of its own, so that the work comes to a defined end even when the caller goes away in the middle. The
        // place travels with the answer: if nobody takes it, dropping it clears up.
        let this = self.clone();
        let work = async move {
            place.entry.progress(Progress::Starting);
            match turn.during(this.start(&place.entry, spec)).await {
                Ok(()) => Ok(place),
                Err(error) => {
                    place.clear().await;
                    Err(error)
                }
            }
        };
        let place = self.spawn(work).await.map_err(|error| Error::internal("start a sandbox", error))??;
        match place.keep() {
            Ok(sandbox) => Ok(sandbox),
            Err(place) => {
                place.clear().await;
                Err(deleted_meanwhile(&about.id))
            }
        }
    }

    /// Brings the image here, and waits for a turn. Those who wait for an image take no turn.
    async fn image_and_turn(&self, entry: &Arc<Entry>, image: &Image) -> Result<Turn> {
        let listener = entry.clone();
        let tell = Arc::new(move |pull| listener.progress(Progress::Pulling(pull)));
        let fetched = self.runtime().fetch(image, tell).await;
        fetched.map_err(|error| from_runtime(error, &entry.about.details.image))?;
        entry.progress(Progress::Waiting);
        self.admission().enter()?.turn().await
    }

    async fn start(&self, entry: &Arc<Entry>, spec: SandboxSpec) -> Result<()> {
        let made = self.create_in_time(entry, spec).await?;
        if let Some(directory) = made.working_directory {
            // Before the row says "running": a killed server takes over only what is complete.
            let about = entry.learn(directory);
            self.store().set_sandbox_details(entry.id(), &row::details(&about)?).await?;
        }
        let greeting = async {
            let hello = timeout(START_TIMEOUT, entry.link.client()).await;
            hello.map_err(|error| Error::internal("wait for a new agent", error))?.map_err(|error| match error {
                Error::Unreachable { source, .. } => Error::internal("greet a new agent", source),
                error => error,
            })
        };
        unless_deleted(entry, greeting).await?;
        if !entry.about.details.user.is_empty() {
            let checked = timeout(START_TIMEOUT, entry.link.check_user());
            let checked = async { checked.await.map_err(|error| Error::internal("wait for a new agent", error))? };
            unless_deleted(entry, checked).await?;
        }
        let noted = self.store().set_sandbox_state(entry.id(), SandboxState::Running, self.clock().now()).await?;
        if noted { Ok(()) } else { Err(Error::internal("start a sandbox", "its row is gone")) }
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
async fn unless_deleted<T>(entry: &Entry, step: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = step => outcome,
        _ = entry.wait_for(|state| state != State::Starting) => Err(deleted_meanwhile(entry.id())),
    }
}

fn deleted_meanwhile(sandbox_id: &str) -> Error {
    let message = format!("sandbox \"{sandbox_id}\" was deleted while it was being made");
    Error::WrongState { reason: Reason::SandboxNotRunning, message }
}

fn not_settled(what: &str) -> Error {
    Error::Unavailable { reason: Reason::SandboxNotRunning, message: format!("{what}; send it again later") }
}

/// What came of asking for a place.
enum Reserved {
    Place(Place),
    /// The same request has made this sandbox.
    Repeated(String),
}

pub(super) fn from_runtime(error: RuntimeError, image: &str) -> Error {
    match error {
        RuntimeError::Image(hint) => {
            Error::NotFound { kind: Kind::Image, id: image.to_owned(), hint: Some(format!("; {hint}")) }
        }
        RuntimeError::NotSupported { field, message } => {
            Error::WrongState { reason: Reason::NotSupportedByHost, message: format!("{field}: {message}") }
        }
        RuntimeError::Refused(message) => Error::WrongState { reason: Reason::NotSupportedByHost, message },
        RuntimeError::Unavailable(message) => Error::Unavailable { reason: Reason::RuntimeUnreachable, message },
        RuntimeError::Failed { source, step } if is_full(&source) => {
            tracing::error!(error = %source, step, "the disk of the sandboxes is full");
            Error::no_space("the server's sandboxes")
        }
        error @ (RuntimeError::NotFound | RuntimeError::Option(_) | RuntimeError::Failed { .. }) => {
            Error::internal("start a sandbox", error)
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
