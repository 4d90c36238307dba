//! Carrying a verification out, from the sandbox that is made for it to the judgement. Whoever drops this leaves nothing behind: the sandboxes go when
//! what holds them is dropped.

use super::{
    Carried, Compared, Failure, FailureReason, Judgement, Verification, Why,
    cover::{Cover, files_of},
    ground::{Ground, Like, verifier},
    laid,
    live::Live,
    take::{self, MOST_FILES, Origin, WORKSPACE, not_taken},
    tests_run,
};
use crate::{
    api::v1::{ExecStart, FindRequest, ImportOpen},
    error::{Error, Kind},
    sample::{Sample, Samples},
    sandbox::{Reached, Sandboxes},
    store::Store,
    tenant::{self, Caller, Tenant},
};
use futures_util::stream;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long it may take to bring everything where it belongs, once there is a sandbox.
const BRING_TIME: Duration = Duration::from_secs(600);

/// How long a patch may take to be applied.
const PATCH_TIME: Duration = Duration::from_secs(60);

/// Where a patch is put, in the sandbox that it is applied in. That one runs no tests.
const PATCH: &str = "/tmp";
const PATCH_NAME: &str = "sandshell.patch";

/// Applies a patch with git where it is there, else with patch. What a repository or a user says of git counts for nothing: there is none, and no
/// user has been here.
const APPLY: &str = "if command -v git >/dev/null 2>&1; then \
     GIT_CEILING_DIRECTORIES=/ exec git -c core.fsmonitor=false -c core.hooksPath=/dev/null apply --whitespace=nowarn /tmp/sandshell.patch; \
     elif command -v patch >/dev/null 2>&1; then exec patch -p1 --batch --forward -i /tmp/sandshell.patch; \
     else echo 'the image has neither git nor patch' >&2; exit 127; fi";

/// What a patch is verified by when the image cannot apply one.
const NO_TOOL: i32 = 127;

/// What work is done with.
pub(super) struct Tools {
    pub(super) sandboxes: Sandboxes,
    pub(super) samples: Samples,
    pub(super) store: Store,
    /// Work that owns something.
    pub(super) work: TaskTracker,
}

/// What there is to bring.
enum Prepared {
    Ready(Compared),
    /// The patch does not apply; what was said of it.
    NotApplied(String),
}

/// Carries it out; `begun` is called when the tests begin.
pub(super) async fn carry_out<F: Future<Output = Carried<()>>>(
    tools: &Tools,
    live: &Live,
    begun: impl FnOnce() -> F,
) -> Carried<Judgement> {
    let verification = live.verification();
    let sample = sample_of(tools, &verification)?;
    let origin = Tenanted::of(tools, &verification).await?;
    let like = origin.like(&sample);
    let ground = Ground::make(&tools.sandboxes, &tools.work, &sample, &like, &verification.id).await?;
    let prepared = timeout(BRING_TIME, prepare(tools, &verification, &sample, &origin, &like, &ground)).await;
    let prepared = prepared.map_err(|_| {
        let message = format!("what is verified could not be brought within {} s", BRING_TIME.as_secs());
        Failure::new(FailureReason::ChangesNotTaken, message)
    })??;
    let compared = match prepared {
        Prepared::Ready(compared) => compared,
        Prepared::NotApplied(said) => {
            let message = format!("the patch does not apply: {}", said.trim());
            return Ok(Judgement { why: Some(Why::PatchNotApplied), message, ..Judgement::default() });
        }
    };
    begun().await?;
    let judgement = tests_run::run(&sample, &ground.reached, live).await?;
    Ok(Judgement { compared, ..judgement })
}

/// The sample as it was when the verification was asked for.
fn sample_of(tools: &Tools, verification: &Verification) -> Carried<Arc<Sample>> {
    let about = &verification.about;
    let found = tools.samples.current().find(&about.dataset, &about.sample_id);
    let sample = found.map_err(|error| Failure::of(FailureReason::SampleChanged, &error))?;
    if sample.fingerprint() != about.sample_fingerprint {
        let message =
            format!("the files of sample {} have changed since the verification was asked for", sample.name());
        return Err(Failure::new(FailureReason::SampleChanged, message));
    }
    Ok(sample)
}

/// What is verified: a sandbox of a tenant's, or nothing but a patch.
enum Tenanted {
    Sandbox { caller: Caller, reached: Box<Reached>, about: Arc<crate::sandbox::About> },
    Patch(String),
}

impl Tenanted {
    async fn of(tools: &Tools, verification: &Verification) -> Carried<Self> {
        if verification.sandbox_id.is_empty() {
            let patch = tools.store.verification_patch(&verification.id).await.map_err(Error::from);
            let patch = patch.map_err(|error| Failure::of(FailureReason::Internal, &error))?;
            return Ok(Self::Patch(patch.unwrap_or_default()));
        }
        let tenant = Tenant { id: verification.tenant.clone(), limits: tenant::Limits::default() };
        let (caller, id) = (Caller::new(tenant), &verification.sandbox_id);
        let gone = |error: Error| Failure::of(FailureReason::SandboxGone, &error);
        let about = tools.sandboxes.get(&caller, id).await.map_err(gone)?.about;
        let reached = Box::new(tools.sandboxes.reach(&caller, Kind::Sandbox, id).await.map_err(gone)?);
        Ok(Self::Sandbox { caller, reached, about })
    }

    /// How the sandbox of the verification is to be.
    fn like(&self, sample: &Sample) -> Like {
        let network = sample.verification.network;
        match self {
            Self::Sandbox { about, .. } => Like {
                image: about.details.image.clone(),
                limits: about.details.limits,
                user: about.details.user.clone(),
                history: about.details.sample.as_ref().map(|sample| sample.history).unwrap_or_default(),
                network,
            },
            Self::Patch(_) => Like { network, ..Like::default() },
        }
    }
}

/// Brings everything into the sandbox of the verification.
async fn prepare(
    tools: &Tools,
    verification: &Verification,
    sample: &Arc<Sample>,
    origin: &Tenanted,
    like: &Like,
    ground: &Ground,
) -> Carried<Prepared> {
    let cover = cover(sample, &ground.reached).await?;
    let compared = match origin {
        Tenanted::Sandbox { caller, reached, about } => {
            let origin = Origin {
                sandboxes: &tools.sandboxes,
                caller,
                id: &verification.sandbox_id,
                reached,
                since: about.create_time,
            };
            take::bring(&origin, &ground.reached, &cover).await?
        }
        Tenanted::Patch(patch) => {
            // It is applied where an agent would have worked, and what it has changed is brought as an agent's changes are.
            let like = Like { network: false, ..like.clone() };
            let made = std::time::SystemTime::now();
            let scratch = Ground::make(&tools.sandboxes, &tools.work, sample, &like, &verification.id).await?;
            if let Some(said) = apply(patch, &scratch.reached).await? {
                return Ok(Prepared::NotApplied(said));
            }
            let caller = verifier();
            let origin = Origin {
                sandboxes: &tools.sandboxes,
                caller: &caller,
                id: &scratch.id,
                reached: &scratch.reached,
                since: made,
            };
            take::bring(&origin, &ground.reached, &cover).await?
        }
    };
    laid::lay(sample, &ground.reached).await?;
    tests_run::remove_old_report(sample, &ground.reached).await?;
    Ok(Prepared::Ready(compared))
}

/// What of the workspace is the sample's.
async fn cover(sample: &Sample, ground: &Reached) -> Carried<Cover> {
    let verification = &sample.verification;
    let brought = match &verification.files {
        Some(files) => {
            let files = files.clone();
            let found = tokio::task::spawn_blocking(move || files_of(&files)).await;
            found.map_err(|error| Failure::new(FailureReason::Internal, error.to_string()))??
        }
        None => Default::default(),
    };
    let mut there = Vec::new();
    if !verification.protected.is_empty() {
        let request =
            FindRequest { path: WORKSPACE.to_owned(), globs: verification.protected.clone(), ..FindRequest::default() };
        let found = ground.find(request, MOST_FILES).await.map_err(not_taken)?;
        let below = |path: &[u8]| path.strip_prefix(WORKSPACE.as_bytes())?.strip_prefix(b"/").map(<[u8]>::to_vec);
        there.extend(found.iter().filter_map(|found| below(&found.path)));
    }
    Cover::new(&verification.protected, there, brought).map_err(|error| {
        Failure::new(FailureReason::SampleChanged, format!("what the sample protects cannot be understood: {error}"))
    })
}

/// Applies a patch. What was said if it does not apply.
async fn apply(patch: &str, scratch: &Reached) -> Carried<Option<String>> {
    if patch.trim().is_empty() {
        // Nothing is changed by nothing.
        return Ok(None);
    }
    let archive = crate::archive::one_file(PATCH_NAME, patch.as_bytes());
    let open = ImportOpen { path: PATCH.to_owned(), ..ImportOpen::default() };
    scratch.import(open, stream::iter([Some(archive.into())])).await.map_err(not_taken)?;
    let start = ExecStart {
        argv: ["/bin/sh", "-c", APPLY].map(str::to_owned).into(),
        working_directory: WORKSPACE.to_owned(),
        timeout: PATCH_TIME.try_into().ok(),
        ..ExecStart::default()
    };
    let mut said = super::output::Stream::default();
    let exited = scratch.execute(start, |_, bytes| said.push(bytes)).await.map_err(not_taken)?;
    match exited.exit_code {
        0 => Ok(None),
        NO_TOOL => {
            Err(Failure::new(FailureReason::NoSandbox, "the image has neither git nor patch to apply a patch with"))
        }
        _ => {
            let mut said = said.keep().text;
            said.truncate(said.floor_char_boundary(4096));
            Ok(Some(said))
        }
    }
}
