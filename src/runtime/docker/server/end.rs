//! Finding containers of ours, and ending them.

use super::{Shared, labels, volume};
use crate::{
    proc,
    runtime::{
        Inspection, RuntimeError,
        common::{hurry, is_safe_id},
        docker::{
            daemon::is_missing,
            work::{blocking, failed},
        },
    },
};
use bollard::{
    models::{ContainerInspectResponse, ContainerState, ContainerUpdateBody},
    query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};
use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    io,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long the daemon may take to end a container: the kernel waits for disk writes, for example.
const DEATH: Duration = Duration::from_secs(30);
/// How long it may take before it is helped, and how often it is helped then.
const SOON: Duration = Duration::from_millis(500);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// The container of a sandbox, if it is ours. A name alone proves nothing, and neither does a label: an image made from a
/// container of ours passes its labels on.
pub(super) async fn find(shared: &Shared, sandbox_id: &str) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
    if !is_safe_id(sandbox_id) {
        return Ok(None);
    }
    match shared.daemon.docker().inspect_container(&shared.home.name(sandbox_id), None).await {
        Ok(container) => {
            let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
            let ours = sandbox_of(shared, labels) == Some(sandbox_id);
            Ok(Some(container).filter(|_| ours))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(shared.daemon.explain("look at the container", error)),
    }
}

/// The sandbox that a container's labels speak of.
fn sandbox_of<'a>(shared: &Shared, labels: Option<&'a HashMap<String, String>>) -> Option<&'a str> {
    labels::id(shared, labels?, labels::SANDBOX)
}

/// What a container's state says of its agent.
pub(super) fn inspection(state: Option<&ContainerState>) -> Inspection {
    let is = |value: Option<bool>| value.unwrap_or(false);
    // Only a daemon that says "no" has seen an end.
    let Some((state, running)) = state.and_then(|state| Some((state, state.running?))) else {
        return Inspection::unknown("the Docker daemon does not say whether the container runs");
    };
    if running {
        let cause = is(state.paused).then(|| "its container is paused".to_owned());
        return Inspection { cause, ..Inspection::alive() };
    }
    let code = state.exit_code.unwrap_or_default();
    let detail = match state.error.as_deref().unwrap_or_default() {
        _ if is(state.oom_killed) => " after processes in it were killed for lack of memory".to_owned(),
        "" => String::new(),
        error => format!(": {error}"),
    };
    Inspection::dead(Some(format!("its container ended with exit code {code}{detail}")))
}

/// What is said of a sandbox whose container is not there.
pub(super) fn removed() -> Inspection {
    Inspection::dead(Some("its container was removed".to_owned()))
}

/// All sandboxes: those with a container, and those of which only a directory or a volume is left.
pub(super) async fn list(shared: &Shared) -> Result<Vec<String>, RuntimeError> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&labels::filter(shared, &[])).build();
    let containers = shared.daemon.docker().list_containers(Some(options)).await;
    let containers = containers.map_err(|error| shared.daemon.explain("list containers", error))?;
    let mut ids: HashSet<String> = shared.home.ids().await?.into_iter().collect();
    ids.extend(containers.iter().filter_map(|container| {
        let id = sandbox_of(shared, container.labels.as_ref())?;
        let name = format!("/{}", shared.home.name(id));
        container.names.iter().flatten().any(|given| *given == name).then(|| id.to_owned())
    }));
    ids.extend(volume::sandboxes(shared).await?);
    Ok(ids.into_iter().collect())
}

/// Ends a sandbox. One that is not there is no error. Its directory goes last, so that it is found again if this breaks off.
pub(super) async fn remove(shared: &Shared, sandbox_id: &str) -> Result<(), RuntimeError> {
    let (docker, began) = (shared.daemon.docker(), Instant::now());
    let options = || RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    loop {
        let container = match find(shared, sandbox_id).await {
            Ok(Some(container)) => container,
            Ok(None) => break,
            // Its directory is made before its container and removed after it: without one there is nothing to ask for.
            Err(RuntimeError::Unavailable(_)) if shared.home.is_missing(sandbox_id) => return Ok(()),
            Err(error) => return Err(error),
        };
        let id = container.id.unwrap_or_default();
        if container.state.as_ref().and_then(|state| state.paused) == Some(true) {
            // What is frozen cannot die. If it is thawed by now, so much the better.
            let _ = docker.unpause_container(&id).await;
        }
        let pid = container.state.and_then(|state| state.pid);
        let removed = tokio::select! {
            removed = docker.remove_container(&id, Some(options())) => removed,
            never = help(shared, &id, pid) => match never {},
        };
        match removed {
            Ok(()) => break,
            Err(error) if is_missing(&error) => break,
            // Somebody else removes it, or it just ends: then it is soon gone.
            Err(error) if began.elapsed() > DEATH => {
                return Err(shared.daemon.explain("remove the container", error));
            }
            Err(error) => match shared.daemon.explain("remove the container", error) {
                RuntimeError::Refused(reason) => tracing::debug!(sandbox_id, reason, "removed again in a moment"),
                other => return Err(other),
            },
        }
        sleep(PAUSE).await;
        if began.elapsed() > DEATH * 2 {
            return Err(failed("wait for the end of the container", io::ErrorKind::TimedOut));
        }
    }
    volume::remove(shared, sandbox_id).await?;
    shared.home.remove(sandbox_id).await
}

/// Gives a container that takes long to end the processor time that it needs for that: its limit is lifted, and, where the
/// daemon is on this host, its first process gets an ordinary scheduling class. Does not return.
async fn help(shared: &Shared, id: &str, pid: Option<i64>) -> Infallible {
    loop {
        sleep(SOON).await;
        let nanos = std::thread::available_parallelism().map_or(1, |count| count.get() as i64) * 1_000_000_000;
        let no_limit = ContainerUpdateBody { nano_cpus: Some(nanos), ..ContainerUpdateBody::default() };
        if let Err(error) = shared.daemon.docker().update_container(id, no_limit).await {
            tracing::debug!(id, %error, "the processor limit of a container that is to end could not be lifted");
        }
        let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|_| shared.daemon.is_local()) else {
            continue;
        };
        let id = id.to_owned();
        let helped = blocking("help a container to end", move || {
            // The daemon may count processes otherwise than this host, and the number may be another's by now.
            let ours =
                proc::text(pid, "cgroup").is_ok_and(|cgroups| cgroups.is_some_and(|cgroups| cgroups.contains(&id)));
            if ours {
                hurry(pid, &[]);
            }
            Ok(())
        });
        drop(helped.await);
    }
}
