//! What the kernel says about processes.

use std::{collections::HashSet, fs, path::PathBuf};

/// Process ids, as seen on the host.
pub(crate) type Pids = HashSet<u32>;

/// Processes with a process namespace of their own, those of other sandboxes and containers included.
pub(crate) fn in_sandboxes() -> Pids {
    let namespace = |pid: &str| fs::read_link(PathBuf::from("/proc").join(pid).join("ns/pid")).ok();
    let own = namespace("self");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok()?.parse().ok());
    pids.filter(|pid: &u32| namespace(&pid.to_string()).is_some_and(|theirs| Some(theirs) != own)).collect()
}

/// Memory of these processes in KiB. Pages that several share count for each in part, so sums are true.
pub(crate) fn memory_kib(pids: &Pids) -> u64 {
    let rollup = |pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    pids.iter().map(|pid| kibibytes(&rollup(pid), "Pss:")).sum()
}

/// The value of a line like `Pss:   12 kB`, or 0.
pub(crate) fn kibibytes(text: &str, label: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(label));
    value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
