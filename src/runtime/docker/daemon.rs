//! The daemon: where it is, what it can do, and what its errors mean.

use super::failed;
use crate::runtime::{RuntimeError, SupportedLimits};
use bollard::{Docker, errors::Error as ApiError, models::SystemInfo};
use std::{env, error::Error, io, time::Duration};

/// Where Docker's tools look unless told otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// How long the daemon may take for one answer. Creating and starting a container on a busy host takes seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take to say which version it has.
const GREETING_TIMEOUT: Duration = Duration::from_secs(15);

/// A daemon that answered. Cheap to clone.
#[derive(Clone)]
pub(super) struct Daemon {
    docker: Docker,
    host: String,
    local: bool,
}

impl Daemon {
    /// Finds the daemon that the environment names, and asks what it is. Blocks.
    pub(super) fn open(container_runtime: Option<&str>) -> Result<(Self, SystemInfo), RuntimeError> {
        let host = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()).unwrap_or_else(|| DEFAULT_HOST.into());
        // Other kinds of container have a kernel of their own, which a socket of the host's does not reach into.
        let local = host.starts_with("unix://") && container_runtime.is_none_or(|name| name == "runc");
        let docker = Docker::connect_with_host(&host).map_err(|error| unanswered(&host, &error))?;
        let mut this = Self { docker, host, local };
        // A runtime for the occasion: the server's own begins later, once nothing forks any more.
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed("start an event loop", error))?;
        let (docker, info) = tokio.block_on(async {
            let ask = async {
                let docker = this.docker.clone().negotiate_version().await?;
                let info = docker.info().await?;
                Ok::<_, ApiError>((docker, info))
            };
            match tokio::time::timeout(GREETING_TIMEOUT, ask).await {
                Ok(answer) => answer.map_err(|error| this.explain("say what it is", error)),
                Err(_) => Err(unanswered(&this.host, &io::Error::from(io::ErrorKind::TimedOut))),
            }
        })?;
        // The connections of the first client end with the event loop that they were made in.
        drop(tokio);
        this.docker = docker.with_timeout(ANSWER_TIMEOUT);
        if info.os_type.as_deref().is_some_and(|os| os != "linux") {
            return Err(RuntimeError::Refused("the Docker daemon makes no Linux containers".to_owned()));
        }
        if let Some(name) = container_runtime
            && !info.runtimes.as_ref().is_some_and(|known| known.contains_key(name))
        {
            let known: Vec<_> = info.runtimes.iter().flatten().map(|(name, _)| name.as_str()).collect();
            let message = format!("the Docker daemon has no container runtime {name:?}; it has {}", known.join(", "));
            return Err(RuntimeError::Refused(message));
        }
        Ok((this, info))
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
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
            error @ (ApiError::IOError { .. }
            | ApiError::HyperResponseError { .. }
            | ApiError::HyperLegacyError { .. }
            | ApiError::RequestTimeoutError
            | ApiError::SocketNotFoundError(_)) => unanswered(&self.host, &error),
            error => failed(step, io::Error::other(error)),
        }
    }
}

/// Whether the daemon said that there is no such thing.
pub(super) fn is_missing(error: &ApiError) -> bool {
    matches!(error, ApiError::DockerResponseServerError { status_code: 404, .. })
}

fn unanswered(host: &str, error: &(dyn Error + 'static)) -> RuntimeError {
    let cause = std::iter::successors(Some(error), |&error| error.source()).last().unwrap_or(error);
    RuntimeError::Unavailable(format!(
        "no Docker daemon answers at {host} ({cause}); start it, or name another with DOCKER_HOST"
    ))
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

/// What the daemon's host cannot give.
pub(super) fn warnings(info: &SystemInfo) -> Vec<String> {
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
            security("name=userns") || security("name=rootless"),
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
