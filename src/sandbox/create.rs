//! Making a sandbox.
//!
//! A row comes first: it holds the id, the tenant's quota and the request's id, and tells a restarted server what to
//! clear up. Whatever happens then (an error, a caller that goes away) ends with the sandbox told to its caller, or with
//! nothing left of it.

use super::{
    Entry, NewSandbox, Progress, Sandbox, Sandboxes, State,
    admission::Turn,
    entry::{About, Details},
    id, lifetime,
    place::{Place, Reserved},
    policy,
    preparing::{Prepared, used},
    progress::Listener,
    row,
    start::{WORKSPACE, deleted_meanwhile, spec, unless_deleted},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    image::Image,
    runtime::{SandboxSpec, VolumeMount},
    store::{RequestKey, SandboxState, Settings},
    tenant::Caller,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::timeout;

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
        let sample = new.sample.as_ref().map(|wanted| self.find_sample(wanted)).transpose()?;
        let name = match &sample {
            Some(sample) if new.image.is_empty() => sample.image.clone(),
            _ => new.image.clone(),
        };
        let image = self.finder().find(&name, self.runtime().image_names()).await?;
        let (volumes, mounts) = self.volumes().find_wanted(caller, &new.volumes).await?;
        let settings = Settings { labels: new.labels.clone(), expire_time, idle_timeout };
        let details = Details {
            image: if name.is_empty() { "host".to_owned() } else { name },
            runtime: self.runtime().name().to_owned(),
            working_directory: match image {
                _ if !new.working_directory.is_empty() => &new.working_directory,
                _ if sample.is_some() => WORKSPACE,
                Image::Host => WORKSPACE,
                Image::Directory(_) => "/",
                // The image says, when it is there.
                Image::Reference(_) => "",
            }
            .to_owned(),
            makes_directory: !new.working_directory.is_empty(),
            limits,
            network,
            warnings: self.runtime().warnings().to_vec(),
            background_is_activity: new.background_is_activity,
            user: new.user.clone(),
            sample: new.sample.as_ref().zip(sample.as_ref()).map(|(wanted, sample)| used(wanted, sample)),
            layer: None,
            volumes,
            default_session_id: String::new(),
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
                    let opens_session = new.sample.as_ref().is_some_and(|sample| sample.opens_session);
                    let sample =
                        new.sample.zip(sample).map(|(wanted, sample)| Prepared::new(&wanted, sample, &details));
                    let plan = Plan { image, env: new.env, sample, volumes: mounts, opens_session };
                    return self.heard(&entry, self.make(caller, place, plan), listener).await;
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

    async fn make(&self, caller: &Caller, place: Place, plan: Plan) -> Result<Sandbox> {
        let id = place.entry.id().to_owned();
        tracing::Span::current().record("id", &id);
        // Whoever goes away up to here drops the place, which clears up.
        let (spec, turn) = match unless_deleted(&place.entry, self.get_ready(&place.entry, &plan)).await {
            Ok(ready) => ready,
            Err(error) => {
                // Before the caller is told: it may look at once.
                place.clear().await;
                return Err(error);
            }
        };
        // A task of its own, so that the work comes to a defined end even when the caller goes away in the middle. The
        // place travels with the answer: if nobody takes it, dropping it clears up.
        let (this, caller) = (self.clone(), caller.clone());
        let work = async move {
            place.entry.progress(Progress::Starting);
            match turn.during(this.start(&caller, &place.entry, spec, plan.opens_session)).await {
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
                Err(deleted_meanwhile(&id))
            }
        }
    }

    /// Brings here what the sandbox is made from, and waits for a turn. Those who wait for an image or a sample take no turn.
    async fn get_ready(&self, entry: &Arc<Entry>, plan: &Plan) -> Result<(SandboxSpec, Turn)> {
        self.fetch(entry, &plan.image).await?;
        let layer = match &plan.sample {
            Some(sample) => Some(self.layer_of(entry, sample, &plan.image).await?),
            None => None,
        };
        let mut spec = spec(entry, plan.image.clone(), layer, plan.env.clone())?;
        spec.volumes.clone_from(&plan.volumes);
        entry.progress(Progress::Waiting);
        Ok((spec, self.admission().enter()?.turn().await?))
    }
}

/// What a sandbox is made from.
struct Plan {
    image: Image,
    env: BTreeMap<String, String>,
    sample: Option<Prepared>,
    volumes: Vec<VolumeMount>,
    opens_session: bool,
}

fn not_settled(what: &str) -> Error {
    Error::Unavailable { reason: Reason::SandboxNotRunning, message: format!("{what}; send it again later") }
}
