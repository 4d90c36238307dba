//! The sandboxes that verifications work in: made from a sample, of nobody's, and gone when they are dropped.

use super::{Carried, Failure, FailureReason};
use crate::{
    error::{Error, Kind, Reason},
    runtime::{Limits, Network},
    sample::{History, Sample},
    sandbox::{Lifetime, NewSandbox, Reached, SampleWanted, Sandboxes},
    tenant::{self, Caller, Tenant},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

/// Whose these sandboxes are. No tenant can be called so, so no key reaches them, and no list shows them.
const NOBODYS: &str = "(verification)";

/// How long it is tried to make one while the server is busy or full, and how long is waited in between.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(500);

/// Who verifies.
pub(super) fn verifier() -> Caller {
    Caller::new(Tenant { id: NOBODYS.to_owned(), limits: tenant::Limits::default() })
}

/// How such a sandbox is to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Like {
    /// The image, if it is not the sample's own.
    pub(super) image: String,
    /// Its limits.
    pub(super) limits: Limits,
    /// As whom its programs run.
    pub(super) user: String,
    /// How much of the past its repository has.
    pub(super) history: History,
    /// Whether it has the host's network.
    pub(super) network: bool,
}

/// One of them.
pub(super) struct Ground {
    sandboxes: Sandboxes,
    pub(super) id: String,
    pub(super) reached: Reached,
    work: TaskTracker,
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A task of its own: whoever drops it cannot wait, and may have been given up.
        let (sandboxes, id) = (self.sandboxes.clone(), std::mem::take(&mut self.id));
        self.work.spawn(async move {
            if let Err(error) = sandboxes.delete(&verifier(), &id).await {
                tracing::warn!(sandbox = id, %error, "a sandbox of a verification could not be deleted; it is tried again");
            }
        });
    }
}

impl Ground {
    /// Makes one from a sample.
    pub(super) async fn make(
        sandboxes: &Sandboxes,
        work: &TaskTracker,
        sample: &Arc<Sample>,
        like: &Like,
        label: &str,
    ) -> Carried<Self> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match sandboxes.create(&verifier(), asked(sample, like, label)).await {
                Ok(sandbox) => {
                    let id = sandbox.about.id.clone();
                    let reached = sandboxes.reach(&verifier(), Kind::Sandbox, &id).await;
                    let reached = reached.map_err(|error| Failure::of(FailureReason::NoSandbox, &error))?;
                    let this = Self { sandboxes: sandboxes.clone(), id, reached, work: work.clone() };
                    let used = sandbox.about.details.sample.as_ref().map(|used| used.fingerprint.as_str());
                    if used != Some(sample.fingerprint()) {
                        let message = format!("the files of sample {} have just changed", sample.name());
                        return Err(Failure::new(FailureReason::SampleChanged, message));
                    }
                    return Ok(this);
                }
                Err(error) if is_passing(&error) && Instant::now() < give_up => sleep(PAUSE).await,
                Err(error) => return Err(Failure::of(reason_of(&error), &error)),
            }
        }
    }
}

/// Whether it may be otherwise soon.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Exhausted { reason, .. } => *reason != Reason::NoSpace,
        Error::Unavailable { reason, .. } => *reason != Reason::ServerStopping,
        Error::Unreachable { .. } => true,
        _ => false,
    }
}

/// Deletes those that an earlier server has left.
pub(super) async fn clear(sandboxes: &Sandboxes) {
    let mut token = String::new();
    loop {
        let page = match sandboxes.list(&verifier(), &BTreeMap::new(), 100, &token).await {
            Ok(page) => page,
            Err(error) => return tracing::warn!(%error, "sandboxes of verifications could not be listed"),
        };
        for sandbox in page.sandboxes {
            match sandboxes.delete(&verifier(), &sandbox.about.id).await {
                // What another server works with is none of ours.
                Ok(()) | Err(Error::WrongState { .. }) => {}
                Err(error) => tracing::warn!(%error, "a sandbox of an earlier verification could not be deleted"),
            }
        }
        let Some(next) = page.next_page_token else { return };
        token = next;
    }
}

fn reason_of(error: &Error) -> FailureReason {
    match error {
        Error::WrongState { reason: Reason::SampleSetupFailed | Reason::SampleUnusable, .. } => {
            FailureReason::SetupFailed
        }
        Error::NotFound { kind: Kind::Sample | Kind::Dataset, .. } => FailureReason::SampleChanged,
        _ => FailureReason::NoSandbox,
    }
}

fn asked(sample: &Sample, like: &Like, label: &str) -> NewSandbox {
    NewSandbox {
        image: like.image.clone(),
        labels: BTreeMap::from([("verification".to_owned(), label.to_owned())]),
        env: BTreeMap::new(),
        limits: like.limits,
        lifetime: Lifetime::default(),
        network: if like.network { Network::Host } else { Network::None },
        background_is_activity: false,
        working_directory: String::new(),
        user: like.user.clone(),
        sample: Some(SampleWanted {
            dataset: sample.dataset.clone(),
            sample_id: sample.id.clone(),
            history: like.history,
            opens_session: false,
        }),
        volumes: Vec::new(),
        request_id: String::new(),
    }
}
