//! The server's side: what the runtime is asked for, and what it has the daemon do.

mod changes;
mod container;
mod end;
mod handover;
mod home;
mod image;
mod labels;
mod layer;
mod listed;
mod named_volume;
mod relay;
mod start;
mod stats;
mod upload;
mod volume;

use crate::{
    image::{Image, ImageNames},
    runtime::{
        Changes, ChangesWanted, Connection, Created, HeldImage, Inspection, Layer, Limits, Runtime, RuntimeError,
        SandboxSpec, SupportedLimits, Tell, Usage,
        common::is_safe_id,
        docker::{
            daemon::{self, Daemon},
            work::failed,
        },
    },
};
use home::Home;
use image::Pulls;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, oneshot};

/// Where and how the runtime works. Which daemon is the environment's to say, as for all of Docker's tools.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// Where sockets and the agent's program are kept. One server at a time uses it.
    pub data_dir: PathBuf,
    /// The program with the hidden subcommand `agent`. Default: this one.
    pub program: PathBuf,
    /// What runs the containers, by the name that the daemon knows it by: `runsc`, `kata-runtime`. `None`: its default.
    pub container_runtime: Option<String>,
    /// The user namespace of the containers, as the daemon takes it. `None`: its default.
    pub userns: Option<String>,
    /// How long the pull of an image may bring nothing. Default: 30 s.
    pub pull_stall: Duration,
}

impl DockerConfig {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            program: PathBuf::from("/proc/self/exe"),
            container_runtime: None,
            userns: None,
            pull_stall: Duration::from_secs(30),
        }
    }

    /// With the operator's options: `container-runtime=NAME`, `userns=MODE`, `pull-stall=SECONDS`.
    ///
    /// # Errors
    /// If there is no such option, or its value is wrong.
    pub fn with(mut self, options: &[(String, String)]) -> Result<Self, RuntimeError> {
        for (name, value) in options {
            match name.as_str() {
                "container-runtime" => self.container_runtime = Some(value.clone()),
                "userns" => self.userns = Some(value.clone()),
                "pull-stall" => {
                    let seconds = value.parse::<u64>().ok().filter(|seconds| *seconds > 0);
                    let wrong = || RuntimeError::Option(format!("pull-stall={value}: must be a number of seconds"));
                    self.pull_stall = Duration::from_secs(seconds.ok_or_else(wrong)?);
                }
                _ => {
                    let known = "container-runtime=NAME, userns=MODE and pull-stall=SECONDS";
                    return Err(RuntimeError::Option(format!("{name}: no such option; there are {known}")));
                }
            }
        }
        Ok(self)
    }
}

/// Sandboxes of a Docker daemon.
pub struct DockerRuntime {
    shared: Arc<Shared>,
    warnings: Vec<String>,
    supported: SupportedLimits,
}

struct Shared {
    daemon: Daemon,
    home: Home,
    pulls: Arc<Pulls>,
    config: DockerConfig,
    /// Counts of files that the daemon may have under way.
    counts: Arc<Semaphore>,
    /// Looks for changes that the daemon may have under way.
    changes: Arc<Semaphore>,
    /// Threads that look at directories of this host, whose file systems may not answer.
    looks: Arc<Semaphore>,
}

impl DockerRuntime {
    /// Takes charge of the data directory and asks the daemon what it can do. Blocks.
    ///
    /// # Errors
    /// If no daemon answers, or the directory cannot be used: what is missing, and how to get it.
    pub fn start(config: DockerConfig) -> Result<Self, RuntimeError> {
        let (daemon, info) = Daemon::open(config.container_runtime.as_deref())?;
        let home = Home::open(&config.data_dir, &config.program)?;
        let pulls = Arc::new(Pulls::new(daemon.clone(), config.pull_stall));
        let warnings = daemon::warnings(&info, config.userns.as_deref());
        let supported = daemon::supported(&info);
        let counts = Arc::new(Semaphore::new(stats::COUNTS));
        let changes = Arc::new(Semaphore::new(changes::LOOKS));
        let looks = Arc::new(Semaphore::new(named_volume::LOOKS));
        let shared = Arc::new(Shared { daemon, home, pulls, config, counts, changes, looks });
        Ok(Self { shared, warnings, supported })
    }

    fn check(&self, limits: &Limits) -> Result<(), RuntimeError> {
        for (wanted, kept, field) in [
            (limits.memory_bytes, self.supported.memory, "resources.memory_bytes"),
            (limits.cpu_millis, self.supported.cpu, "resources.cpu_millis"),
            (limits.max_processes, self.supported.processes, "resources.max_processes"),
            (limits.disk_bytes, self.supported.disk, "resources.disk_bytes"),
        ] {
            if wanted.is_some() && !kept {
                let message = "the Docker daemon cannot enforce it on its host; leave it out".to_owned();
                return Err(RuntimeError::NotSupported { field, message });
            }
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Runtime for DockerRuntime {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn supported_limits(&self) -> SupportedLimits {
        self.supported
    }

    fn image_names(&self) -> ImageNames {
        ImageNames::References
    }

    async fn images(&self) -> Result<Vec<HeldImage>, RuntimeError> {
        image::held(&self.shared.daemon).await
    }

    async fn fetch(&self, image: &Image, tell: Tell) -> Result<(), RuntimeError> {
        let Shared { daemon, pulls, .. } = &*self.shared;
        image::fetch(daemon, pulls, reference(image)?, &tell).await
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Created, RuntimeError> {
        if !is_safe_id(&spec.sandbox_id) {
            return Err(failed("check the id", io::ErrorKind::InvalidInput));
        }
        self.check(&spec.limits)?;
        named_volume::check(&self.shared, &spec.volumes).await?;
        let reference = match &spec.layer {
            Some(layer) => layer::reference(&self.shared, layer),
            None => reference(&spec.image)?.to_owned(),
        };
        let shared = self.shared.clone();
        let (done, result) = oneshot::channel();
        // In a task of its own: a caller that goes away leaves nothing half made.
        tokio::spawn(async move {
            let id = spec.sandbox_id.clone();
            let result = start::create(&shared, spec, &reference).await;
            let made = result.is_ok();
            if done.send(result).is_err()
                && made
                && let Err(error) = end::remove(&shared, &id).await
            {
                tracing::error!(sandbox_id = id, %error, "a sandbox that nobody waited for could not be removed");
            }
        });
        result.await.unwrap_or_else(|_| Err(failed("start the sandbox", io::ErrorKind::Interrupted)))
    }

    async fn connect(&self, sandbox_id: &str) -> Result<Connection, RuntimeError> {
        if !is_safe_id(sandbox_id) {
            return Err(RuntimeError::NotFound);
        }
        if self.shared.daemon.is_local() {
            return Ok(Connection::Socket(self.shared.home.connect(sandbox_id).await?));
        }
        let relayed = relay::connect(&self.shared.daemon, &self.shared.home.name(sandbox_id)).await?;
        Ok(Connection::Stream(relayed))
    }

    async fn inspect(&self, sandbox_id: &str) -> Inspection {
        match end::find(&self.shared, sandbox_id).await {
            Ok(Some(container)) => end::inspection(container.state.as_ref()),
            Ok(None) => end::removed(),
            // A daemon's silence says nothing of its containers.
            Err(RuntimeError::Unavailable(cause)) => Inspection::unknown(cause),
            Err(error) => Inspection::unknown(error.to_string()),
        }
    }

    async fn stats(&self, sandbox_id: &str) -> Result<Usage, RuntimeError> {
        let container = end::find(&self.shared, sandbox_id).await?.ok_or(RuntimeError::NotFound)?;
        stats::of(&self.shared.daemon, &container.id.unwrap_or_default(), &self.shared.counts).await
    }

    async fn changes(&self, sandbox_id: &str, wanted: ChangesWanted) -> Result<Changes, RuntimeError> {
        let container = end::find(&self.shared, sandbox_id).await?.ok_or(RuntimeError::NotFound)?;
        let Shared { daemon, changes, .. } = &*self.shared;
        changes::of(daemon, &container.id.unwrap_or_default(), wanted, changes).await
    }

    async fn image_version(&self, image: &Image) -> Result<String, RuntimeError> {
        Ok(image::find(&self.shared.daemon, reference(image)?).await?.id)
    }

    async fn freeze(&self, sandbox_id: &str, layer: &str) -> Result<(), RuntimeError> {
        let (shared, id, layer) = (self.shared.clone(), sandbox_id.to_owned(), layer.to_owned());
        let task = tokio::spawn(async move { layer::freeze(&shared, &id, &layer).await });
        task.await.unwrap_or_else(|error| Err(failed("keep the sandbox's files", io::Error::other(error))))
    }

    async fn has_layer(&self, layer: &str) -> Result<bool, RuntimeError> {
        layer::is_there(&self.shared, layer).await
    }

    async fn layers(&self) -> Result<Vec<Layer>, RuntimeError> {
        layer::list(&self.shared).await
    }

    async fn remove_layer(&self, layer: &str) -> Result<bool, RuntimeError> {
        layer::remove(&self.shared, layer).await
    }

    fn check_host_directories(&self) -> Result<(), RuntimeError> {
        if self.shared.daemon.is_local() {
            return Ok(());
        }
        let message = "the Docker daemon is on another host, where nobody can look who may use what".to_owned();
        Err(RuntimeError::NotSupported { field: "host_directory", message })
    }

    async fn create_volume(&self, volume_id: &str, size_bytes: Option<u64>) -> Result<(), RuntimeError> {
        named_volume::create(&self.shared, volume_id, size_bytes).await
    }

    async fn remove_volume(&self, volume_id: &str) -> Result<(), RuntimeError> {
        named_volume::remove(&self.shared, volume_id).await
    }

    async fn volumes(&self) -> Result<Vec<String>, RuntimeError> {
        named_volume::list(&self.shared).await
    }

    async fn list(&self) -> Result<Vec<String>, RuntimeError> {
        end::list(&self.shared).await
    }

    async fn remove(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        if !is_safe_id(sandbox_id) {
            return Ok(());
        }
        let (shared, id) = (self.shared.clone(), sandbox_id.to_owned());
        let task = tokio::spawn(async move { end::remove(&shared, &id).await });
        task.await.unwrap_or_else(|error| Err(failed("remove the sandbox", io::Error::other(error))))
    }
}

fn reference(image: &Image) -> Result<&str, RuntimeError> {
    match image {
        Image::Reference(reference) => Ok(reference),
        _ => Err(RuntimeError::Image("the docker runtime takes names of images only".to_owned())),
    }
}
