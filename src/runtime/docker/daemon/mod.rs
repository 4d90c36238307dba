//! The daemon: what it is, what it can do, and what its errors mean.

mod client;
mod context;
mod place;
mod ssh;
mod tls;

use crate::runtime::{RuntimeError, SupportedLimits, docker::work::failed};
use bollard::{API_DEFAULT_VERSION, Docker, errors::Error as ApiError, models::SystemInfo};
use http::Response;
use hyper::body::Incoming;
use place::Place;
use std::{env, error::Error, io, sync::Arc, time::Duration};

/// How long the daemon may take for one answer. Creating and starting a container on a busy host takes seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take to say which version it has.
const GREETING_TIMEOUT: Duration = Duration::from_secs(20);

/// Container runtimes whose containers are processes of the daemon's host.
const SHARED_KERNEL: [&str; 3] = ["runc", "io.containerd.runc.v2", "crun"];

/// A daemon that answered. Cheap to clone.
#[derive(Clone)]
pub(super) struct Daemon {
    docker: Docker,
    place: Arc<Place>,
    local: bool,
}

impl Daemon {
    /// Finds the daemon that the environment names, and asks what it is. Blocks.
    pub(super) fn open(container_runtime: Option<&str>) -> Result<(Self, SystemInfo), RuntimeError> {
        let place = Arc::new(Place::find(&|name| env::var_os(name))?);
        let client = |answer, version| client::new(&place, answer, version).map_err(|error| unanswered(&place, &error));
        let docker = client(GREETING_TIMEOUT, API_DEFAULT_VERSION)?;
        let mut this = Self { docker: docker.clone(), place: place.clone(), local: false };
        // A runtime for the occasion: the server's own begins later, once nothing forks any more.
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed("start an event loop", error))?;
        let (version, info) = tokio.block_on(async {
            let ask = async {
                let docker = docker.negotiate_version().await?;
                let info = docker.info().await?;
                Ok::<_, ApiError>((docker.client_version(), info))
            };
            match tokio::time::timeout(GREETING_TIMEOUT, ask).await {
                Ok(answer) => answer.map_err(|error| this.explain("say what it is", error)),
                Err(_) => Err(unanswered(&place, &io::Error::from(io::ErrorKind::TimedOut))),
            }
        })?;
        // What the first client has kept belongs to the event loop that it was made in.
        drop(tokio);
        this.docker = client(ANSWER_TIMEOUT, &version)?;
        if info.os_type.as_deref().is_some_and(|os| os != "linux") {
            return Err(RuntimeError::Refused("the Docker daemon makes no Linux containers".to_owned()));
        }
        if let Some(name) = container_runtime
            && !info.runtimes.as_ref().is_some_and(|known| known.contains_key(name))
        {
            let mut known: Vec<_> = info.runtimes.iter().flatten().map(|(name, _)| name.as_str()).collect();
            known.sort_unstable();
            let message = format!("the Docker daemon has no container runtime {name:?}; it has {}", known.join(", "));
            return Err(RuntimeError::Option(message));
        }
        this.local = place.is_socket() && is_here(&info, container_runtime);
        Ok((this, info))
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Asks for something whose length nobody knows. What is answered is read as it comes, whatever its status.
    pub(super) async fn get(&self, path: &str) -> Result<Response<Incoming>, RuntimeError> {
        let version = self.docker.client_version();
        let path = format!("/v{}.{}{path}", version.major_version, version.minor_version);
        client::get(&self.place, &path).await.map_err(|error| self.broken(&error))
    }

    /// The daemon cannot be reached, or is not heard any more.
    pub(super) fn broken(&self, error: &(dyn Error + 'static)) -> RuntimeError {
        unanswered(&self.place, error)
    }

    /// Whether containers can be shown files of this host, and be reached by them.
    pub(super) fn is_local(&self) -> bool {
        self.local
    }

    /// What an error means, while the daemon was asked to do something: "start the container".
    pub(super) fn explain(&self, step: &str, error: ApiError) -> RuntimeError {
        match error {
            ApiError::DockerResponseServerError { message, .. } => {
                RuntimeError::Refused(format!("the Docker daemon did not {step}: {}", message.trim()))
            }
            ApiError::DockerStreamError { error } => {
                RuntimeError::Refused(format!("the Docker daemon did not {step}: {}", error.trim()))
            }
            error
            @ (ApiError::IOError { .. } | ApiError::HyperResponseError { .. } | ApiError::RequestTimeoutError) => {
                unanswered(&self.place, &error)
            }
            error => failed(step, io::Error::other(error)),
        }
    }
}

/// Whether the daemon said that there is no such thing.
pub(super) fn is_missing(error: &ApiError) -> bool {
    matches!(error, ApiError::DockerResponseServerError { status_code: 404, .. })
}

/// Whether containers have this host's kernel, so that a socket of ours reaches into them. A socket may lead into a virtual
/// machine, as Docker Desktop's does, and other kinds of container have a kernel of their own.
fn is_here(info: &SystemInfo, container_runtime: Option<&str>) -> bool {
    let uname = rustix::system::uname();
    let kernel = info.kernel_version.as_deref();
    let runtime = container_runtime.or(info.default_runtime.as_deref());
    kernel.is_none_or(|kernel| uname.release().to_bytes() == kernel.as_bytes())
        && runtime.is_none_or(|name| SHARED_KERNEL.contains(&name))
}

fn unanswered(place: &Place, error: &(dyn Error + 'static)) -> RuntimeError {
    let chain = || std::iter::successors(Some(error), |&error| error.source());
    let cause = chain().last().unwrap_or(error);
    RuntimeError::Unavailable(match place.tls().filter(|_| chain().any(tls::is_disagreement)) {
        Some(tls) => format!("no trusted connection to the Docker daemon at {place} ({cause}); look at {tls:?}"),
        None => format!("no Docker daemon answers at {place} ({cause}); start it, or name another with DOCKER_HOST"),
    })
}

/// Which limits the daemon keeps.
pub(super) fn supported(info: &SystemInfo) -> SupportedLimits {
    SupportedLimits {
        memory: info.memory_limit.unwrap_or(false),
        cpu: info.cpu_cfs_quota.unwrap_or(false),
        processes: info.pids_limit.unwrap_or(false),
        disk: keeps_disk(info),
    }
}

/// Only some of its drivers can, and overlay2 only on XFS. (There it needs project quotas too; without, the daemon refuses.)
fn keeps_disk(info: &SystemInfo) -> bool {
    let backing = info.driver_status.iter().flatten().find(|row| row[..] == ["Backing Filesystem", "xfs"]);
    match info.driver.as_deref() {
        Some("overlay2") => backing.is_some(),
        Some("btrfs" | "zfs" | "devicemapper") => true,
        _ => false,
    }
}

/// What the daemon's host cannot give to containers in this user namespace.
pub(super) fn warnings(info: &SystemInfo, userns: Option<&str>) -> Vec<String> {
    let supported = supported(info);
    let security = |name: &str| info.security_options.iter().flatten().any(|option| option.contains(name));
    let mut found = Vec::new();
    for (kept, sentence) in [
        (supported.memory, "the Docker daemon cannot limit memory on its host"),
        (!supported.memory || info.swap_limit.unwrap_or(false), "the Docker daemon cannot limit swap on its host"),
        (supported.cpu, "the Docker daemon cannot limit processor time on its host"),
        (supported.processes, "the Docker daemon cannot limit processes on its host"),
        (security("name=seccomp"), "the Docker daemon does not filter system calls"),
        (
            (security("name=userns") && userns != Some("host")) || security("name=rootless"),
            "root in a sandbox is root of the Docker daemon's host, confined by capabilities, system call filter and \
             namespaces only; start the daemon with userns-remap to change that",
        ),
    ] {
        if !kept {
            found.push(sentence.to_owned());
        }
    }
    found
}
