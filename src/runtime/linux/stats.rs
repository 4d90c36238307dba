//! What a sandbox uses: from its cgroups, of either version, and from its own layer.

use super::{layout::Layout, process::ProcessId, record::Record};
use crate::runtime::Usage;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Measures. What cannot be read is not known.
pub(super) fn of(layout: &Layout, sandbox: &Path, record: &Record) -> Usage {
    let made = &record.made;
    let first = |names: &[&str]| number(&made.cgroups, names);
    Usage {
        cpu_time: cpu_time(&made.cgroups).or_else(|| cpu_time_of_processes(&record.process)),
        memory_bytes: first(&["memory.current", "memory.usage_in_bytes"]),
        memory_peak_bytes: first(&["memory.peak", "memory.max_usage_in_bytes"]),
        processes: first(&["pids.current"]),
        // Without root there are no layers: what it may write lies in its directory.
        disk_bytes: Some(bytes_below(&made.slot.map_or(sandbox.to_owned(), |slot| layout.slot(slot)))),
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
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(&agent.pid.to_string())?;
    let names = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let ticks: u64 = names.filter(|pid| namespace(pid).as_ref() == Some(&own)).filter_map(|pid| ticks(&pid)).sum();
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// Ticks that a process and its children that have ended were on a processor.
fn ticks(pid: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    Some(fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum())
}

/// Bytes that the files below a directory occupy. Links are not followed; what vanishes meanwhile does not count.
fn bytes_below(directory: &Path) -> u64 {
    let (mut total, mut left) = (0, vec![directory.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            total += meta.blocks() * 512;
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    total
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

    #[test]
    fn files_count_by_the_room_they_take() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let bytes = bytes_below(dir.path());
        assert!((1 << 20..3 << 20).contains(&bytes), "{bytes}");
    }
}
