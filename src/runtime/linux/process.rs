//! Processes named so that a reused number is never mistaken for them.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::{fs, io, os::fd::OwnedFd};

/// One process of one boot of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    /// Its number.
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot.
    pub(super) start_time: u64,
    /// The boot.
    pub(super) boot_id: String,
}

/// The identity of this boot.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// State letter and start time of a process.
pub(super) fn state_and_start(pid: Pid) -> io::Result<(u8, u64)> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_pid()))?;
    parse_stat(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown form of /proc/PID/stat"))
}

/// The second field, the program's name, may hold anything, so fields are counted from its last parenthesis.
fn parse_stat(stat: &[u8]) -> Option<(u8, u64)> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// A descriptor of the process, if it still is the one that was recorded.
pub(super) fn open(process: &ProcessId) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(None) };
    if boot_id()? != process.boot_id {
        return Ok(None);
    }
    let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Checked after the descriptor was opened: from here on the descriptor cannot change its meaning.
    match state_and_start(pid) {
        Ok((_, start_time)) if start_time == process.start_time => Ok(Some(pidfd)),
        _ => Ok(None),
    }
}

/// Whether the process runs; a zombie does not.
pub(super) fn is_alive(process: &ProcessId) -> bool {
    let Some(pid) = Pid::from_raw(process.pid) else { return false };
    let same = |(state, start_time): (u8, u64)| start_time == process.start_time && !matches!(state, b'Z' | b'X');
    state_and_start(pid).is_ok_and(same) && boot_id().is_ok_and(|boot| boot == process.boot_id)
}

/// Kills it; one that is already gone is no error.
pub(super) fn kill(pidfd: &OwnedFd) -> io::Result<()> {
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
    fn a_name_full_of_parentheses_does_not_move_the_fields() {
        let stat = b"7 (a) b) (S 9) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 424242 20 21";
        assert_eq!(parse_stat(stat), Some((b'R', 424_242)));
    }

    #[test]
    fn this_process_is_alive_and_its_number_with_another_start_is_not() {
        let pid = rustix::process::getpid();
        let (_, start_time) = state_and_start(pid).unwrap();
        let own = ProcessId { pid: pid.as_raw_pid(), start_time, boot_id: boot_id().unwrap() };
        assert!(is_alive(&own) && open(&own).unwrap().is_some());
        let other = ProcessId { start_time: start_time + 1, ..own };
        assert!(!is_alive(&other) && open(&other).unwrap().is_none());
    }
}
