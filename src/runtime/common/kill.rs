//! Ending processes that have no interest in it. A killed process needs processor time to die, and a sandbox can see to
//! it that its own first process gets none: by its scheduling class, by a crowd of others, by its limit.

use crate::proc;
use rustix::process::{Pid, PidfdFlags, pidfd_open, setpriority_process};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The niceness of a dying process, or the best that may be given.
const NICENESS: [i32; 2] = [-20, 0];

/// Gives a process all the processor time that there is: its cgroups' limit is lifted, and each of its threads gets an
/// ordinary scheduling class. What is not allowed is left as it is.
pub(in crate::runtime) fn hurry(pid: i32, cgroups: &[PathBuf]) {
    for cgroup in cgroups {
        for (file, no_limit) in [("cpu.cfs_quota_us", "-1"), ("cpu.max", "max")] {
            let _ = write(&cgroup.join(file), no_limit);
        }
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for thread in threads.flatten().filter_map(|thread| thread.file_name().to_str()?.parse().ok()) {
        let _ = schedule_normally(thread);
        let thread = Pid::from_raw(thread);
        let _ = NICENESS.iter().find(|niceness| setpriority_process(thread, **niceness).is_ok());
    }
}

/// Kills every process in a cgroup. Those that are on their way out may still be there afterwards, and on version 1 those
/// that were forked meanwhile; so this is done again until the cgroup can be removed.
pub(in crate::runtime) fn kill_all(cgroup: &Path) -> io::Result<()> {
    match write(&cgroup.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    // Version 1, or a kernel before 5.14.
    let processes = match fs::read_to_string(cgroup.join("cgroup.procs")) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(()),
        other => other?,
    };
    for pid in processes.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        kill_member(pid, cgroup)?;
    }
    Ok(())
}

/// Kills a process if it is in a cgroup: by now its number may be another's.
fn kill_member(pid: Pid, cgroup: &Path) -> io::Result<()> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(()),
        other => other?,
    };
    let Some(name) = cgroup.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let member = |line: &str| line.rsplit_once('/').is_some_and(|(_, last)| last == name);
    match proc::text(pid.as_raw_pid(), "cgroup")? {
        Some(cgroups) if cgroups.lines().any(member) => proc::kill(&process),
        Some(_) | None => Ok(()),
    }
}

/// Gives a thread the ordinary scheduling class.
fn schedule_normally(thread: i32) -> io::Result<()> {
    // SAFETY: an all-zero sched_param is valid, and what SCHED_OTHER takes; the kernel only reads it.
    match unsafe { libc::sched_setscheduler(thread, libc::SCHED_OTHER, &std::mem::zeroed()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes to a file that the kernel has made. It is never created.
fn write(file: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    io::Write::write_all(&mut file, value.as_bytes())
}
