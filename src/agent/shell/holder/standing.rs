//! What a process has that its programs begin with, and that others who may signal it can change: scheduling, processors, input and
//! output, limits, what of it is dumped. A holder that something inside has changed is not used again: without the
//! capability nobody can give it back what it had.

use crate::proc::{self, Stat};
use std::{fs::File, io, os::unix::fs::FileExt, ptr, slice};

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

/// More than what `/proc` says in one of a holder's files.
const MOST_TEXT: usize = 4096;

/// `IOPRIO_WHO_PROCESS`.
const OF_A_PROCESS: libc::c_int = 1;

/// Of one process, at one moment. What the system does not tell is as the system leaves it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// But for the policy: the agent has another one than its holders.
    scheduling: [u8; ATTRIBUTES],
    policy: [u8; 4],
    processors: [u8; PROCESSORS],
    io: i64,
    limits: [(u64, u64); LIMITS],
    dumped: Option<String>,
}

/// What `/proc` says of one process, held open: it is asked before each program, and a file is found and opened in the time that it takes to
/// read one.
#[derive(Debug)]
pub(super) struct Files {
    status: File,
    stat: File,
    /// Not every kernel has it.
    dumped: Option<File>,
}

impl Files {
    /// Of this process.
    pub(super) fn open(pid: i32) -> io::Result<Self> {
        let open = |name| File::open(format!("/proc/{pid}/{name}"));
        Ok(Self { status: open("status")?, stat: open("stat")?, dumped: open("coredump_filter").ok() })
    }

    /// Whether the process has been killed and is only not gone yet: a signal was sent to it that nobody survives, or it has taken that.
    pub(super) fn is_dying(&self) -> bool {
        // Asked for in this order, so that a signal which is taken in between is seen as taken.
        let (Ok(status), Ok(stat)) = (text(&self.status), text(&self.stat)) else { return true };
        let is_pending = |line: &str| {
            let signals = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"));
            signals.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok()).is_some_and(|set| set & KILL != 0)
        };
        let flags = Stat::parse(&stat).and_then(|stat| stat.number(9));
        status.lines().any(is_pending) || flags.is_none_or(|flags| flags & ENDING != 0)
    }
}

/// All that a file says now.
fn text(file: &File) -> io::Result<String> {
    let mut bytes = [0; MOST_TEXT];
    let length = file.read_at(&mut bytes, 0)?;
    if length == MOST_TEXT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

impl Standing {
    /// What a child of this process has that is forked now. Its policy of scheduling is the usual one, whatever this process has.
    pub(super) fn of_a_child() -> Self {
        let dumped = proc::text("self", "coredump_filter").ok().flatten();
        Self { policy: libc::SCHED_OTHER.to_ne_bytes(), ..Self::of(0, dumped) }
    }

    /// Whether a process still has all of this.
    pub(super) fn is_of(&self, pid: i32, files: &Files) -> bool {
        *self == Self::of(pid, files.dumped.as_ref().and_then(|dumped| text(dumped).ok()))
    }

    /// Of a process; 0 is this one.
    fn of(pid: i32, dumped: Option<String>) -> Self {
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
            let files = Files::open(pid).unwrap();
            assert!(!files.is_dying());
            child.kill().unwrap();
            assert!(files.is_dying());
            child.wait().unwrap();
            assert!(files.is_dying());
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
            let born = Standing::of_a_child();
            let (mut child, pid) = sleeper();
            let files = Files::open(pid).unwrap();
            assert!(born.is_of(pid, &files), "before {change:?}");
            let done = Command::new(change[0]).args(&change[1..]).arg(pid.to_string()).output().unwrap();
            assert!(done.status.success(), "{change:?}: {done:?}");
            let seen = !born.is_of(pid, &files);
            child.kill().unwrap();
            child.wait().unwrap();
            // On one processor there is nothing to change.
            let is_alone = std::thread::available_parallelism().unwrap().get() == 1;
            assert!(seen || is_alone && change[0] == "taskset", "{change:?} is not seen");
        }
    }
}
