//! What a sandbox uses, as the daemon measures it.

use super::daemon::{Daemon, is_missing};
use crate::runtime::{RuntimeError, Usage};
use bollard::query_parameters::{InspectContainerOptionsBuilder, StatsOptionsBuilder};
use futures_util::StreamExt;
use std::time::Duration;

/// Measures a container.
pub(super) async fn of(daemon: &Daemon, id: &str) -> Result<Usage, RuntimeError> {
    let explain = |error| match error {
        error if is_missing(&error) => RuntimeError::NotFound,
        error => daemon.explain("measure the container", error),
    };
    let docker = daemon.docker();
    let once = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
    let mut answers = std::pin::pin!(docker.stats(id, Some(once)));
    let stats = answers.next().await.ok_or(RuntimeError::NotFound)?.map_err(explain)?;
    let sizes = InspectContainerOptionsBuilder::new().size(true).build();
    let container = docker.inspect_container(id, Some(sizes)).await.map_err(explain)?;
    let memory = stats.memory_stats.unwrap_or_default();
    Ok(Usage {
        cpu_time: stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage).map(Duration::from_nanos),
        memory_bytes: memory.usage,
        memory_peak_bytes: memory.max_usage,
        processes: stats.pids_stats.and_then(|pids| pids.current),
        disk_bytes: container.size_rw.and_then(|bytes| u64::try_from(bytes).ok()),
    })
}
