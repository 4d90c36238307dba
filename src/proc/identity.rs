//! Processes named so that a reused number is never mistaken for them, and whether they live: alive, dead, or unknown, which is an error.

use super::{Stat, text::is_gone};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

/// One process of one boot of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// The boot.
    pub boot_id: String,
}

/// The identity of this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// State letter and start time of a process.
pub fn state_and_start(pid: Pid) -> io::Result<(char, u64)> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let stat = Stat::of(pid.as_raw_pid())?.ok_or_else(gone)?;
    let start_time = stat.start_time().ok_or(io::ErrorKind::InvalidData)?;
    Ok((stat.state, start_time))
}

/// A descriptor of the process if it still is the one that was recorded. `None` is a process that was seen to be gone:
/// its number is free or another's, or the host has booted since. An error says that it could not be looked at, and
/// nothing about the process. A zombie still has a descriptor; see [`has_ended`].
pub fn open(process: &ProcessId) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(None) };
    if boot_id()? != process.boot_id {
        return Ok(None);
    }
    let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => pidfd,
        // EINVAL: the number is that of a thread which is no process.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Checked after the descriptor was opened: from here on the descriptor cannot change its meaning.
    match state_and_start(pid) {
        Ok((_, start_time)) => Ok((start_time == process.start_time).then_some(pidfd)),
        // It ended between the two calls, or /proc hides the processes of others.
        Err(error) if is_gone(&error) && has_ended(&pidfd)? => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the process has ended; a zombie has. Needs no further descriptor.
pub fn has_ended(pidfd: &impl AsFd) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills it; one that is already gone is no error.
pub fn kill(pidfd: impl AsFd) -> io::Result<()> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_number_with_another_start_is_not() {
        let pid = rustix::process::getpid();
        let (_, start_time) = state_and_start(pid).unwrap();
        let own = ProcessId { pid: pid.as_raw_pid(), start_time, boot_id: boot_id().unwrap() };
        assert!(!has_ended(&open(&own).unwrap().unwrap()).unwrap());
        let other = ProcessId { start_time: start_time + 1, ..own.clone() };
        assert!(open(&other).unwrap().is_none());
        assert!(open(&ProcessId { boot_id: "another".to_owned(), ..own }).unwrap().is_none());
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let (_, start_time) = state_and_start(pid).unwrap();
        let process = ProcessId { pid: pid.as_raw_pid(), start_time, boot_id: boot_id().unwrap() };
        let pidfd = open(&process).unwrap().unwrap();
        assert!(!has_ended(&pidfd).unwrap());
        kill(&pidfd).unwrap();
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        assert!(has_ended(&pidfd).unwrap());
        child.wait().unwrap();
        assert!(open(&process).unwrap().is_none());
    }
}
