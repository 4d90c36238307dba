//! The kernel's count of processes that it killed because the sandbox's memory limit was reached.

use std::{fs::File, os::unix::fs::FileExt};

/// Reads the count from a cgroup file that the runtime handed over: `memory.events` (v2) or `memory.oom_control` (v1).
pub(in crate::agent) struct OomCounter {
    file: Option<File>,
}

impl OomCounter {
    /// Without a file the count is always 0.
    pub(in crate::agent) fn new(file: Option<File>) -> Self {
        Self { file }
    }

    /// How many were killed so far.
    pub(in crate::agent) fn kills(&self) -> u64 {
        let Some(file) = &self.file else { return 0 };
        let mut buffer = [0; 1024];
        let read = file.read_at(&mut buffer, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&buffer[..read]);
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }
}
