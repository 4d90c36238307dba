//! What a sandbox uses: from its cgroups, of either version, and from its own layer.

use super::work::blocking;
use crate::{
    proc::{ProcessId, Stat, pids},
    runtime::{
        Usage,
        linux::{
            failure::{Failure, Step},
            layout::Layout,
            record::Record,
            storage::{
                count::{self, Bounds},
                pool::Pool,
            },
        },
    },
};
use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};

/// Who may measure now. One at a time for each four processors: it is the sandbox that decides how many files it has.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors / 4).max(1))))
    }
}

/// How long to wait for one's turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells the counting thread that nobody waits for it any more.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Measures. What cannot be read is not known, and neither is the size of files that take too long to count. Counting ends when
/// this is dropped.
pub(super) async fn of(
    layout: &Layout,
    pool: Option<Arc<Pool>>,
    sandbox: &Path,
    record: Record,
    turns: Turns,
) -> Result<Usage, Failure> {
    if let Some((pool, subvolume)) = pool.zip(record.made.subvolume) {
        // The kernel has counted already.
        let counted = move || {
            let disk_bytes = pool.used(subvolume).step("read how much room the sandbox's files take")?;
            Ok(Usage { disk_bytes, ..without_files(&record) })
        };
        return blocking(counted).await;
    }
    let files = layout.layers(&record.made).unwrap_or_else(|| sandbox.to_owned());
    let usage = blocking(move || Ok(without_files(&record))).await?;
    // Held by the thread that counts, not by the call: a thread cannot be dropped.
    let Ok(Ok(turn)) = timeout(PATIENCE, turns.0.acquire_owned()).await else { return Ok(usage) };
    let stop = Stop(Arc::default());
    let stopped = stop.0.clone();
    let disk_bytes = blocking(move || {
        let _turn = turn;
        count::bytes_below(&files, Bounds::USUAL, &stopped).step("count the sandbox's files")
    });
    Ok(Usage { disk_bytes: disk_bytes.await?, ..usage })
}

fn without_files(record: &Record) -> Usage {
    let made = &record.made;
    let first = |names: &[&str]| number(&made.cgroups, names);
    Usage {
        cpu_time: cpu_time(&made.cgroups).or_else(|| cpu_time_of_processes(&record.process)),
        memory_bytes: first(&["memory.current", "memory.usage_in_bytes"]),
        memory_peak_bytes: first(&["memory.peak", "memory.max_usage_in_bytes"]),
        processes: first(&["pids.current"]),
        disk_bytes: None,
    }
}

/// The first of these files that one of the cgroups has and that holds a number.
fn number(cgroups: &[PathBuf], names: &[&str]) -> Option<u64> {
    let paths = names.iter().flat_map(|name| cgroups.iter().map(move |cgroup| cgroup.join(name)));
    paths.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).next()
}

fn cpu_time(cgroups: &[PathBuf]) -> Option<Duration> {
    if let Some(nanos) = number(cgroups, &["cpuacct.usage"]) {
        return Some(Duration::from_nanos(nanos));
    }
    let stat = cgroups.iter().find_map(|cgroup| fs::read_to_string(cgroup.join("cpu.stat")).ok())?;
    let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    micros.trim().parse().ok().map(Duration::from_micros)
}

/// The same from the processes themselves. Each has the times of its children that have ended, and the agent, to which
/// orphans fall, those of all the others.
fn cpu_time_of_processes(agent: &ProcessId) -> Option<Duration> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(agent.pid)?;
    let members = pids().ok()?.filter(|pid| namespace(*pid).as_ref() == Some(&own));
    let ticks: u64 = members.filter_map(ticks).sum();
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// Ticks that a process and its children that have ended were on a processor.
fn ticks(pid: impl Display) -> Option<u64> {
    let stat = Stat::of(pid).ok()??;
    Some((14..=17).filter_map(|field| stat.number(field)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let cgroups = [dir.path().join("nothing"), dir.path().to_owned()];
        write("cpu.stat", "nr_periods 0\nusage_usec 1500\nuser_usec 1\n");
        write("memory.current", "4096\n");
        assert_eq!(cpu_time(&cgroups), Some(Duration::from_micros(1500)));
        assert_eq!(number(&cgroups, &["memory.current", "memory.usage_in_bytes"]), Some(4096));
        assert_eq!(number(&cgroups, &["pids.current"]), None);
        write("cpuacct.usage", "7\n");
        assert_eq!(cpu_time(&cgroups), Some(Duration::from_nanos(7)));
    }

    #[test]
    fn processes_know_their_time() {
        let before = ticks("self").unwrap();
        let start = std::time::Instant::now();
        while ticks("self").unwrap() < before + 3 {
            assert!(start.elapsed().as_secs() < 60, "nothing counts this process's time");
        }
    }
}
