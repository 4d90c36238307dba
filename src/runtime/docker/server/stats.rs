//! What a sandbox uses, as the daemon measures it.

use crate::runtime::{
    RuntimeError, Usage,
    docker::daemon::{Daemon, is_missing},
};
use bollard::{
    errors::Error as ApiError,
    query_parameters::{InspectContainerOptionsBuilder, StatsOptionsBuilder},
};
use futures_util::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// For how many containers the daemon counts files at one time, how long to wait for one's turn, and how long for the count.
pub(super) const COUNTS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);
const COUNT: Duration = Duration::from_secs(5);

/// Measures a container. The size of files that take too long to count is not known.
pub(super) async fn of(daemon: &Daemon, id: &str, counts: &Arc<Semaphore>) -> Result<Usage, RuntimeError> {
    let explain = |error| match error {
        error if is_missing(&error) => RuntimeError::NotFound,
        error => daemon.explain("measure the container", error),
    };
    let docker = daemon.docker();
    let once = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
    let mut answers = std::pin::pin!(docker.stats(id, Some(once)));
    let stats = answers.next().await.ok_or(RuntimeError::NotFound)?.map_err(explain)?;
    let disk_bytes = size(daemon, id, counts).await.map_err(explain)?;
    let memory = stats.memory_stats.unwrap_or_default();
    Ok(Usage {
        cpu_time: stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage).map(Duration::from_nanos),
        memory_bytes: memory.usage,
        memory_peak_bytes: memory.max_usage,
        processes: stats.pids_stats.and_then(|pids| pids.current),
        disk_bytes,
    })
}

/// The bytes of a container's own files, unless it takes too long to count them.
async fn size(daemon: &Daemon, id: &str, counts: &Arc<Semaphore>) -> Result<Option<u64>, ApiError> {
    let Ok(Ok(turn)) = timeout(PATIENCE, counts.clone().acquire_owned()).await else { return Ok(None) };
    let (docker, id) = (daemon.docker().clone(), id.to_owned());
    // The daemon goes on counting when nobody waits for it any more, so the turn is over when it answers.
    let counted = tokio::spawn(async move {
        let _turn = turn;
        let sizes = InspectContainerOptionsBuilder::new().size(true).build();
        docker.inspect_container(&id, Some(sizes)).await
    });
    match timeout(COUNT, counted).await {
        Ok(Ok(container)) => Ok(container?.size_rw.and_then(|bytes| u64::try_from(bytes).ok())),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}
