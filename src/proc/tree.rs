//! Which processes there are, and how they belong together.

use super::text::text;
use std::{collections::HashSet, fs, io, path::Path};

/// The numbers of all processes.
pub fn pids() -> io::Result<impl Iterator<Item = i32>> {
    Ok(fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The process group of a process that has not ended for good.
pub fn group_of(pid: i32) -> Option<i32> {
    rustix::process::getpgid(rustix::process::Pid::from_raw(pid)).ok().map(|group| group.as_raw_nonzero().get())
}

/// The children of a process that has one thread. `None` when this kernel does not list them.
pub fn children(parent: i32) -> io::Result<Option<HashSet<i32>>> {
    match text(parent, &format!("task/{parent}/children"))? {
        Some(list) => Ok(Some(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())),
        None => Ok((!Path::new(&format!("/proc/{parent}/task")).exists()).then(HashSet::new)),
    }
}
