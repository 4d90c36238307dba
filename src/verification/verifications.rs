//! All verifications of a server: asked for, looked at, cancelled, followed, and begun when it is their turn.

use super::{
    About, AtOnce, Failure, FailureReason, Outcome, State, Verification, ground,
    job::{json, new_id, now},
    live::{Heard, Live, Told},
    queue::Queue,
    state::Event,
    work::Tools,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    sample::{Sample, Samples},
    sandbox::Sandboxes,
    store::{NewVerification, Store, VerificationInserted, VerificationRow},
    sync::lock,
    tenant::Caller,
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// How many verifications of one tenant may be unfinished.
const MOST_UNFINISHED: u64 = 10_000;

/// Bytes that the patches of one tenant's unfinished verifications may have together: they are in the database.
const MOST_PATCH_BYTES: u64 = 512 << 20;

/// Longest patch, in bytes.
pub const MOST_PATCH: usize = 16 << 20;

/// How long a server that stops waits until nothing is left of what was under way.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// All verifications. Cheap to clone.
#[derive(Clone)]
pub struct Verifications(Arc<Shared>);

struct Shared {
    tools: Tools,
    server: String,
    board: Mutex<Board>,
    stops: CancellationToken,
}

/// What is not over.
struct Board {
    queue: Queue,
    live: HashMap<String, Arc<Live>>,
}

/// What a client wants verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// What a sandbox has in its `/workspace`.
    Sandbox(String),
    /// A sample with a patch.
    Patch {
        /// The dataset; empty for the only one with such a sample.
        dataset: String,
        /// The sample.
        sample_id: String,
        /// A patch as `git diff` writes it.
        patch: String,
    },
}

/// A page of verifications.
#[derive(Debug)]
pub struct Listing {
    /// Oldest first, in brief.
    pub verifications: Vec<Verification>,
    /// Whether there are more.
    pub more: bool,
    /// How many match in all.
    pub total: u64,
}

impl Verifications {
    /// None yet; see [`Self::recover`]. `server` is this server's name in the store.
    pub fn new(sandboxes: Sandboxes, samples: Samples, store: Store, server: &str, at_once: AtOnce) -> Self {
        let tools = Tools { sandboxes, samples, store, work: TaskTracker::new() };
        let board = Mutex::new(Board { queue: Queue::new(at_once), live: HashMap::new() });
        Self(Arc::new(Shared { tools, server: server.to_owned(), board, stops: CancellationToken::new() }))
    }

    /// Takes over what an earlier server left: what waited waits on, and what was under way begins anew.
    pub async fn recover(&self) -> Result<()> {
        let rows = self.store().unfinished_verifications(self.server()).await?;
        for row in rows {
            let mut verification = Verification::from_row(&row)?;
            if verification.state != State::Pending {
                verification = self.interrupted(verification).await?;
            }
            if !verification.is_final() {
                self.enqueue(verification);
            }
        }
        // Their sandboxes are of no use any more. Nobody waits for that.
        let sandboxes = self.0.tools.sandboxes.clone();
        let this = self.clone();
        self.0.tools.work.spawn(async move {
            ground::clear(&sandboxes).await;
            this.begin_next();
        });
        Ok(())
    }

    /// Asks for a verification. It goes on whatever becomes of the call.
    pub async fn start(&self, caller: &Caller, subject: Subject, request_id: &str) -> Result<Verification> {
        if self.0.stops.is_cancelled() {
            return Err(Error::stopping());
        }
        let (about, sandbox_id, patch) = self.about(caller, &subject).await?;
        let verification = Verification {
            id: new_id(),
            tenant: caller.tenant().to_owned(),
            server: self.server().to_owned(),
            sandbox_id,
            about,
            state: State::Pending,
            attempt: 1,
            create_time: now(),
            start_time: None,
            end_time: None,
            outcome: None,
        };
        let new = NewVerification {
            request: (request_id.to_owned(), digest(&subject)),
            patch,
            most_unfinished: MOST_UNFINISHED,
            most_patch_bytes: MOST_PATCH_BYTES,
        };
        let row = row_of(&verification)?;
        let (this, id) = (self.clone(), verification.id.clone());
        // A task of its own: what is in the store has its turn, even if nobody waits for the answer.
        let inserting = async move {
            let inserted = this.store().insert_verification(&row, new).await?;
            if inserted == VerificationInserted::New {
                this.enqueue(verification);
                this.begin_next();
            }
            Ok::<_, Error>(inserted)
        };
        let inserted = self.0.tools.work.spawn(inserting.in_current_span()).await;
        match inserted.map_err(|error| Error::internal("note a verification", error))?? {
            VerificationInserted::New => self.get(caller, &id).await,
            VerificationInserted::Repeated(id) => self.get(caller, &id).await,
            VerificationInserted::Reused => Err(Error::WrongState {
                reason: Reason::RequestIdReused,
                message: "request_id was used for another request; make up a new one".to_owned(),
            }),
            VerificationInserted::TooMany => {
                let message = format!(
                    "tenant \"{}\" may have {MOST_UNFINISHED} verifications that are not over, and {} MiB of patches in them; wait for some to end, or cancel some",
                    caller.tenant(),
                    MOST_PATCH_BYTES >> 20
                );
                Err(Error::quota(Reason::TooManyVerifications, message))
            }
        }
    }

    /// What never changes of it, the sandbox, and the patch.
    async fn about(&self, caller: &Caller, subject: &Subject) -> Result<(About, String, Option<String>)> {
        match subject {
            Subject::Sandbox(id) => {
                let reached = self.0.tools.sandboxes.reach(caller, Kind::Sandbox, id).await?;
                let details = self.0.tools.sandboxes.get(caller, id).await?.about.details.clone();
                drop(reached);
                let Some(used) = details.sample else {
                    let message = format!(
                        "sandbox \"{id}\" was not made from a sample; create one with `sample`, or send a sample and a patch"
                    );
                    return Err(Error::WrongState { reason: Reason::NoSample, message });
                };
                let sample = self.0.tools.samples.current().find(&used.dataset, &used.sample_id)?;
                if sample.fingerprint() != used.fingerprint {
                    let message = format!(
                        "the files of sample {} have changed since sandbox \"{id}\" was made; create another",
                        sample.name()
                    );
                    return Err(Error::WrongState { reason: Reason::SampleChanged, message });
                }
                Ok((about(&sample, details.image), id.clone(), None))
            }
            Subject::Patch { dataset, sample_id, patch } => {
                let sample = self.0.tools.samples.current().find(dataset, sample_id)?;
                let mut about = about(&sample, sample.image.clone());
                about.patch_sha256 = format!("{:x}", Sha256::digest(patch));
                Ok((about, String::new(), Some(patch.clone())))
            }
        }
    }

    /// One of the caller's.
    pub async fn get(&self, caller: &Caller, id: &str) -> Result<Verification> {
        let live = lock(&self.0.board).live.get(id).cloned();
        let found = match live {
            Some(live) => live.verification(),
            None => match self.store().verification(id).await? {
                Some(row) => Verification::from_row(&row)?,
                None => return Err(Error::not_found(Kind::Verification, id)),
            },
        };
        if found.tenant == caller.tenant() { Ok(found) } else { Err(Error::not_found(Kind::Verification, id)) }
    }

    /// A page of the caller's, of one sandbox if that is named, behind the one with this id.
    pub async fn list(&self, caller: &Caller, sandbox_id: &str, after: &str, size: usize) -> Result<Listing> {
        let page = self.store().verifications_of_tenant(caller.tenant(), sandbox_id, after, size).await?;
        let verifications = page.rows.iter().map(|row| {
            let live = lock(&self.0.board).live.get(&row.id).cloned();
            let found = live.map_or_else(|| Verification::from_row(row), |live| Ok(live.verification()));
            found.map(Verification::brief)
        });
        Ok(Listing { verifications: verifications.collect::<Result<_>>()?, more: page.more, total: page.total })
    }

    /// Cancels one of the caller's. One that is over stays as it is.
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<Verification> {
        let found = self.here(caller, id).await?;
        if found.is_final() {
            return Ok(found);
        }
        let this = self.clone();
        let cancelling = async move { this.note(&found, Event::CancelAsked, None).await };
        let noted = self.0.tools.work.spawn(cancelling.in_current_span()).await;
        noted.map_err(|error| Error::internal("cancel a verification", error))??;
        self.get(caller, id).await
    }

    /// Follows one of the caller's to its end.
    pub async fn watch(&self, caller: &Caller, id: &str, heard: Heard) -> Result<BoxStream<'static, Result<Told>>> {
        let found = self.here(caller, id).await?;
        let live = lock(&self.0.board).live.get(id).cloned();
        Ok(match live {
            Some(live) => live.follow(heard, self.0.stops.clone()),
            None => stream::iter([Ok(Told::Verification(Box::new(found)))]).boxed(),
        })
    }

    /// One of the caller's that is over, or is this server's.
    async fn here(&self, caller: &Caller, id: &str) -> Result<Verification> {
        let found = self.get(caller, id).await?;
        if found.server == self.server() || found.is_final() {
            return Ok(found);
        }
        let message = format!("verification \"{id}\" is on another server: {}", found.server);
        Err(Error::WrongState { reason: Reason::OnOtherServer, message })
    }

    fn enqueue(&self, verification: Verification) {
        let mut board = lock(&self.0.board);
        board.queue.add(&verification.tenant, verification.id.clone());
        let gives_up = self.0.stops.child_token();
        board.live.insert(verification.id.clone(), Live::new(verification, gives_up));
    }

    /// Begins those whose turn it is.
    fn begin_next(&self) {
        while !self.0.stops.is_cancelled() {
            let (tenant, live) = {
                let mut board = lock(&self.0.board);
                let Some((tenant, id)) = board.queue.next() else { return };
                let Some(live) = board.live.get(&id).cloned() else {
                    board.queue.ended(&tenant);
                    continue;
                };
                (tenant, live)
            };
            let this = self.clone();
            self.0.tools.work.spawn(async move {
                this.work_on(&live).await;
                lock(&this.0.board).queue.ended(&tenant);
                this.begin_next();
            });
        }
    }

    /// Ends all work and refuses new. What is not over begins anew with the next server.
    pub async fn close(&self) {
        self.0.stops.cancel();
        self.0.tools.work.close();
        if timeout(END_TIMEOUT, self.0.tools.work.wait()).await.is_err() {
            tracing::warn!("some verifications did not end in time");
        }
    }

    /// It is over: nobody needs to hear of it from here.
    pub(super) fn forget(&self, verification: &Verification) {
        let mut board = lock(&self.0.board);
        board.live.remove(&verification.id);
        board.queue.remove(&verification.tenant, &verification.id);
    }

    /// What follows it, if it is not over.
    pub(super) fn live(&self, id: &str) -> Option<Arc<Live>> {
        lock(&self.0.board).live.get(id).cloned()
    }

    pub(super) fn tools(&self) -> &Tools {
        &self.0.tools
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.tools.store
    }

    pub(super) fn server(&self) -> &str {
        &self.0.server
    }

    /// A failure of ours that should not be.
    pub(super) fn failure(error: &Error) -> Outcome {
        Outcome::Error(Failure::of(FailureReason::Internal, error))
    }
}

fn about(sample: &Sample, image: String) -> About {
    About {
        dataset: sample.dataset.clone(),
        sample_id: sample.id.clone(),
        sample_version: sample.version.clone(),
        sample_fingerprint: sample.fingerprint().to_owned(),
        image,
        patch_sha256: String::new(),
    }
}

/// Of all that a request asks for.
fn digest(subject: &Subject) -> String {
    let mut digest = Sha256::new();
    let parts: [&str; 4] = match subject {
        Subject::Sandbox(id) => ["sandbox", id, "", ""],
        Subject::Patch { dataset, sample_id, patch } => ["patch", dataset, sample_id, patch],
    };
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    format!("{:x}", digest.finalize())
}

fn row_of(verification: &Verification) -> Result<VerificationRow> {
    let details = json(&verification.about)?;
    Ok(VerificationRow {
        id: verification.id.clone(),
        tenant: verification.tenant.clone(),
        server: verification.server.clone(),
        sandbox_id: verification.sandbox_id.clone(),
        state: verification.state.name().to_owned(),
        attempt: verification.attempt,
        create_time: verification.create_time,
        start_time: None,
        end_time: None,
        details,
        outcome: None,
    })
}
