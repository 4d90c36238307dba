//! What a process has that its programs begin with, and that others who may signal it can change: scheduling, processors, input and
//! output, limits, what of it is dumped. A holder that something inside has changed is not used again: without the
//! capability nobody can give it back what it had.

use crate::proc::{self, Stat};
use std::{ptr, slice};

/// Bytes of the kernel's `sched_attr`, and where the policy is in it.
const ATTRIBUTES: usize = 56;
const POLICY: std::ops::Range<usize> = 4..8;

/// Processors of a large host, a bit for each.
const PROCESSORS: usize = 128;

/// Kinds of limits that the kernel knows.
const LIMITS: usize = 16;

/// SIGKILL in a set of signals.
const KILL: u64 = 1 << (libc::SIGKILL - 1);

/// `PF_EXITING` and `PF_SIGNALED` in the flags of a process.
const ENDING: u64 = 0x4 | 0x400;

/// `IOPRIO_WHO_PROCESS`.
const OF_A_PROCESS: libc::c_int = 1;

/// Of one process, at one moment. What the system does not tell is as the system leaves it.
#[derive(PartialEq, Eq)]
struct Standing {
    /// But for the policy: the agent has another one than its holders.
    scheduling: [u8; ATTRIBUTES],
    policy: [u8; 4],
    processors: [u8; PROCESSORS],
    io: i64,
    limits: [(u64, u64); LIMITS],
    dumped: Option<String>,
}

/// Whether a child of this process has all that it had by its fork, but for the usual policy of scheduling.
pub(super) fn is_as_it_was(child: i32) -> bool {
    let (mut own, child) = (Standing::of(0), Standing::of(child));
    own.policy = libc::SCHED_OTHER.to_ne_bytes();
    own == child
}

/// Whether a process has been killed and is only not gone yet: a signal was sent to it that nobody survives, or it has taken that.
pub(super) fn is_dying(pid: i32) -> bool {
    // Asked for in this order, so that a signal which is taken in between is seen as taken.
    let (Ok(Some(status)), Ok(Some(stat))) = (proc::text(pid, "status"), Stat::of(pid)) else { return true };
    let is_pending = |line: &str| {
        let signals = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"));
        signals.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok()).is_some_and(|set| set & KILL != 0)
    };
    status.lines().any(is_pending) || stat.number(9).is_none_or(|flags| flags & ENDING != 0)
}

impl Standing {
    /// Of a process; 0 is this one.
    fn of(pid: i32) -> Self {
        let (mut scheduling, mut processors, mut policy) = ([0; ATTRIBUTES], [0; PROCESSORS], [0; 4]);
        let mut limits = [(0, 0); LIMITS];
        // SAFETY: the kernel writes as many bytes as it is told that there are, into memory of ours.
        let io = unsafe {
            libc::syscall(libc::SYS_sched_getattr, pid, scheduling.as_mut_ptr(), ATTRIBUTES, 0);
            libc::syscall(libc::SYS_sched_getaffinity, pid, PROCESSORS, processors.as_mut_ptr());
            for (limit, resource) in limits.iter_mut().zip(0..) {
                let mut found: libc::rlimit = std::mem::zeroed();
                libc::prlimit(pid, resource, ptr::null(), slice::from_mut(&mut found).as_mut_ptr());
                *limit = (found.rlim_cur, found.rlim_max);
            }
            libc::syscall(libc::SYS_ioprio_get, OF_A_PROCESS, pid)
        };
        policy.copy_from_slice(&scheduling[POLICY]);
        scheduling[POLICY].fill(0);
        let name = if pid == 0 { "self".to_owned() } else { pid.to_string() };
        let dumped = proc::text(name, "coredump_filter").ok().flatten();
        Self { scheduling, policy, processors, io, limits, dumped }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    /// This process has the usual policy.
    fn sleeper() -> (Child, i32) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        (child, pid)
    }

    #[test]
    fn who_was_killed_is_known_at_once() {
        for _ in 0..200 {
            let (mut child, pid) = sleeper();
            assert!(!is_dying(pid));
            child.kill().unwrap();
            assert!(is_dying(pid));
            child.wait().unwrap();
        }
    }

    #[test]
    fn each_change_from_outside_is_seen() {
        let changes: [&[&str]; 5] = [
            &["renice", "-n", "5", "-p"],
            &["chrt", "-i", "-p", "0"],
            &["taskset", "-pc", "0"],
            &["ionice", "-c3", "-p"],
            &["prlimit", "--core=1:1", "-p"],
        ];
        for change in changes {
            let (mut child, pid) = sleeper();
            assert!(is_as_it_was(pid), "before {change:?}");
            let done = Command::new(change[0]).args(&change[1..]).arg(pid.to_string()).output().unwrap();
            assert!(done.status.success(), "{change:?}: {done:?}");
            let seen = !is_as_it_was(pid);
            child.kill().unwrap();
            child.wait().unwrap();
            // On one processor there is nothing to change.
            let is_alone = std::thread::available_parallelism().unwrap().get() == 1;
            assert!(seen || is_alone && change[0] == "taskset", "{change:?} is not seen");
        }
    }
}
