//! Getting a sample ready: in a sandbox of its own, which becomes a layer that sandboxes are made from.
//!
//! ```text
//! code base ──archive──▶ /workspace ──▶ setup commands ──▶ end of the sandbox ──▶ layer
//! ```
//!
//! That sandbox belongs to nobody. It has a row that says "starting" as long as it is there, so a server that is killed
//! meanwhile leaves what the next one removes as anything that was half made.

use super::{
    Entry, Progress, Sandboxes,
    entry::{About, Details, SampleUsed, SampleWanted},
    failure::{from_runtime, is_full},
    id,
    link::Ran,
    place::{Place, Reserved},
    policy,
    sandboxes::Catalog,
    start::{WORKSPACE, spec, unless_deleted},
};
use crate::{
    error::{Error, Reason, Result},
    image::Image,
    runtime::{Limits, Network},
    sample::{CodebaseError, History, Sample, Samples, Workspace},
    store::Settings,
    tenant::{self, Caller, Tenant},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// Changes with what is made out of the same sample.
const FORMAT: u32 = 1;

/// How long bringing a code base in may take, how long its repository, and how long it may take to keep what was made.
const IMPORT_LIMIT: Duration = Duration::from_secs(600);
const REPOSITORY_LIMIT: Duration = Duration::from_secs(300);
const KEEP_LIMIT: Duration = Duration::from_secs(600);

/// Makes the directory and gives it to the sandbox's user, where the image has none.
const DIRECTORY: &str = "mkdir -p /workspace && if [ -n \"$1\" ]; then chown \"$1\" /workspace; fi";

/// Makes a repository of one commit, where there is git. What an archive brings as a repository would have a past of its own.
const REPOSITORY: &str = r#"
cd /workspace || exit
rm -rf .git
find . -name .git -prune -exec rm -rf {} + 2>/dev/null
command -v git >/dev/null || exit 0
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=Sandshell GIT_AUTHOR_EMAIL=sandshell@localhost GIT_AUTHOR_DATE='2000-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=Sandshell GIT_COMMITTER_EMAIL=sandshell@localhost GIT_COMMITTER_DATE='2000-01-01T00:00:00Z'
git init -q --template= && git symbolic-ref HEAD refs/heads/main &&
    git -c core.autocrlf=false add -A &&
    git -c core.logAllRefUpdates=false -c gc.auto=0 commit -q --allow-empty -m 'The code as it is when the task begins' &&
    rm -f .git/COMMIT_EDITMSG
"#;

/// What the layer of a sample is made from.
#[derive(Clone)]
pub(super) struct Prepared {
    sample: Arc<Sample>,
    history: History,
    user: String,
    image: String,
}

impl Prepared {
    pub(super) fn new(wanted: &SampleWanted, sample: Arc<Sample>, details: &Details) -> Self {
        let (user, image) = (details.user.clone(), details.image.clone());
        Self { sample, history: wanted.history, user, image }
    }

    /// The name of its layer: another one for everything that makes a difference.
    fn layer(&self, image_version: &str) -> String {
        let mut hash = Sha256::new();
        let parts = [self.sample.fingerprint(), &self.image, image_version, &self.user];
        for part in parts.into_iter().chain(self.sample.setup.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update([u8::from(self.history == History::None)]);
        hash.update(FORMAT.to_be_bytes());
        let hash: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("lyr-{hash}")
    }

    fn unusable(&self, why: impl std::fmt::Display) -> Error {
        let message = format!("sample \"{}\" cannot be used: {why}", self.sample.name());
        Error::WrongState { reason: Reason::SampleUnusable, message }
    }

    fn setup_failed(&self, command: &str, how: &str, output: &str) -> Error {
        let said = if output.is_empty() { "it printed nothing".to_owned() } else { format!("it printed:\n{output}") };
        let message = format!("the setup of sample \"{}\" failed: {command:?} {how}; {said}", self.sample.name());
        Error::WrongState { reason: Reason::SampleSetupFailed, message }
    }
}

/// What is told of the sample of a sandbox.
pub(super) fn used(wanted: &SampleWanted, sample: &Sample) -> SampleUsed {
    SampleUsed {
        dataset: sample.dataset.clone(),
        sample_id: sample.id.clone(),
        version: sample.version.clone(),
        fingerprint: sample.fingerprint().to_owned(),
        history: wanted.history,
    }
}

impl Sandboxes {
    /// The same with samples that sandboxes can be made from; `scratch` is a directory for copies of their code bases, of which nothing
    /// is kept. Only the first call counts.
    pub fn with_samples(self, samples: Samples, scratch: &Path) -> Self {
        if let Err(error) = crate::sample::sweep_scratch(scratch) {
            tracing::warn!(%error, "copies of code bases that an earlier server has left could not be removed");
        }
        self.set_catalog(Catalog { samples, scratch: scratch.to_owned() });
        self
    }

    /// The sample that a client means.
    pub(super) fn find_sample(&self, wanted: &SampleWanted) -> Result<Arc<Sample>> {
        let catalogue = self.catalog().map(|catalog| catalog.samples.current()).unwrap_or_default();
        catalogue.find(&wanted.dataset, &wanted.sample_id).map_err(|error| match error {
            Error::Invalid(violations) => Error::Invalid(
                violations
                    .into_iter()
                    .map(|violation| {
                        crate::error::Violation::new(format!("sample.{}", violation.field), violation.description)
                    })
                    .collect(),
            ),
            error => error,
        })
    }

    /// The layer of a sample, which is made first if it is not there. From here on it is not removed before this sandbox is gone.
    pub(super) async fn layer_of(&self, entry: &Arc<Entry>, sample: &Prepared, image: &Image) -> Result<String> {
        let version = self.runtime().image_version(image).await;
        let version = version.map_err(|error| from_runtime(error, &sample.image))?;
        let name = sample.layer(&version);
        entry.progress(Progress::Preparing);
        let _hold = self
            .layers()
            .hold(&name, || {
                let (this, sample, image, name) = (self.clone(), sample.clone(), image.clone(), name.clone());
                async move { this.prepare(&sample, image, &name).await }
            })
            .await?;
        entry.learn(|details| details.layer = Some(name.clone()));
        Ok(name)
    }

    /// Makes the layer of a sample.
    async fn prepare(&self, sample: &Prepared, image: Image, layer: &str) -> Result<()> {
        let _turn = self.layers().turn().await?;
        let Some(catalog) = self.catalog() else { return Err(sample.unusable("this server has no samples")) };
        let workspace = Workspace::open(&sample.sample, sample.history, &catalog.scratch).await;
        let workspace = workspace.map_err(|error| match error {
            CodebaseError::Io { source, .. } if is_full(&source) => Error::no_space("the server's data directory"),
            error => sample.unusable(error),
        })?;
        let place = self.place_of_nobody(sample, &image).await?;
        let made = unless_deleted(&place.entry, self.make_layer(&place, sample, image, workspace, layer)).await;
        // Of what was kept nothing is left here; of what was not, nobody is told before it is gone.
        place.clear().await;
        if let Err(error) = &made {
            tracing::warn!(sample = sample.sample.name(), %error, "a sample could not be prepared");
        }
        made
    }

    /// A place for the sandbox in which a sample is prepared.
    async fn place_of_nobody(&self, sample: &Prepared, image: &Image) -> Result<Place> {
        let details = Details {
            image: sample.image.clone(),
            runtime: self.runtime().name().to_owned(),
            working_directory: if *image == Image::Host { WORKSPACE } else { "/" }.to_owned(),
            makes_directory: false,
            limits: policy::limits(
                Limits::default(),
                self.runtime().supported_limits(),
                self.policy().default_disk_bytes,
            )?,
            network: Network::None,
            warnings: Vec::new(),
            background_is_activity: false,
            user: sample.user.clone(),
            sample: None,
            layer: None,
            volumes: Vec::new(),
            default_session_id: String::new(),
        };
        let about =
            About { id: id::new_sandbox_id(), tenant: NOBODY.to_owned(), create_time: self.clock().now(), details };
        let nobody = Caller::new(Tenant { id: NOBODY.to_owned(), limits: tenant::Limits::default() });
        match self.reserve(&nobody, about, Settings::default(), None).await? {
            Reserved::Place(place) => Ok(place),
            Reserved::Repeated(_) => Err(Error::internal("reserve a place for a sample", "it was there before")),
        }
    }

    async fn make_layer(
        &self,
        place: &Place,
        sample: &Prepared,
        image: Image,
        workspace: Workspace,
        layer: &str,
    ) -> Result<()> {
        let entry = &place.entry;
        let has_directory = image == Image::Host;
        let spec = spec(entry, image, None, BTreeMap::new())?;
        self.admission().enter()?.turn().await?.during(self.start_agent(entry, spec)).await?;
        if !has_directory {
            let argv = ["sh", "-c", DIRECTORY, "sh", &sample.user].map(str::to_owned).to_vec();
            // Only root can; who is not root is told by what it says.
            let user = if sample.user.is_empty() { "" } else { "0" };
            let ran = entry.link.run(argv, "/", user, REPOSITORY_LIMIT).await?;
            if !ran.is_success() {
                return Err(sample.unusable(format!("{WORKSPACE} could not be made in its image: {}", ran.output)));
            }
        }
        let lacks_repository = workspace.lacks_repository();
        let brought = timeout(IMPORT_LIMIT, entry.link.import(WORKSPACE, workspace.pack())).await;
        let brought = brought.map_err(|_| sample.unusable("its code base could not be brought in within 600 s"))?;
        brought?.map_err(|why| sample.unusable(format!("its code base could not be brought in: {why}")))?;
        if lacks_repository {
            let argv = ["sh", "-c", REPOSITORY].map(str::to_owned).to_vec();
            let ran = entry.link.run(argv, WORKSPACE, "", REPOSITORY_LIMIT).await?;
            if !ran.is_success() {
                return Err(sample.unusable(format!("no repository could be made of its code base: {}", ran.output)));
            }
        }
        self.set_up(entry, sample).await?;
        let kept = timeout(KEEP_LIMIT, self.runtime().freeze(entry.id(), layer)).await;
        let kept = kept.map_err(|error| Error::internal("keep what the setup of a sample has made", error))?;
        kept.map_err(|error| from_runtime(error, &sample.image))
    }

    /// Runs the setup commands, which share the time that they have.
    async fn set_up(&self, entry: &Arc<Entry>, sample: &Prepared) -> Result<()> {
        let until = Instant::now() + sample.sample.setup_timeout;
        for command in &sample.sample.setup {
            let left = until.saturating_duration_since(Instant::now());
            let argv = vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()];
            let ran = match left.is_zero() {
                true => Ran { is_timed_out: true, ..Ran::default() },
                false => entry.link.run(argv, WORKSPACE, "", left).await?,
            };
            if !ran.is_success() {
                let how = match ran.is_timed_out {
                    true => format!("was not over within the {} s of all", sample.sample.setup_timeout.as_secs_f64()),
                    false => format!("ended with exit code {}", ran.exit_code),
                };
                return Err(sample.setup_failed(command, &how, &ran.output));
            }
        }
        Ok(())
    }
}

/// Whose the sandboxes are in which samples are prepared: no tenant has an empty name.
const NOBODY: &str = "";
