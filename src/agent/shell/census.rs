//! All processes at one time, as a client is shown them, and a signal for exactly one of them.

use super::processes::Moment;
use crate::proc::{self, Stat, pids};
use rustix::process::{Pid, PidfdFlags};
use std::{
    fs, io,
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    sync::OnceLock,
    time::{Duration, SystemTime},
};

/// Processes that are looked at before other tasks of the agent have their turn.
const AT_ONE_TIME: usize = 64;

/// What is shown of a program's arguments, in bytes.
const MOST_ARGUMENTS: usize = 4096;

/// Open files of a process that are looked at.
const MOST_FILES: usize = 64;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its id.
    pub(crate) pid: i32,
    /// Its parent.
    pub(crate) parent: i32,
    /// Its process group.
    pub(crate) group: i32,
    /// Its session, as the kernel has it.
    pub(crate) session: i32,
    /// The process group in the foreground of its terminal.
    pub(crate) foreground: i32,
    /// When it began.
    pub(crate) began: Moment,
    /// One letter, as proc(5) has them.
    pub(crate) state: char,
    /// The wait status of one that has ended, where it may be known.
    pub(crate) status: i32,
}

/// What came of looking at one process.
pub(crate) enum Looked {
    /// It is there.
    There(Member),
    /// There is none of this number.
    Gone,
}

impl Member {
    /// Looks at one.
    pub(crate) fn look(pid: i32) -> io::Result<Looked> {
        let Some(stat) = Stat::of(pid)? else { return Ok(Looked::Gone) };
        member(pid, &stat).map(Looked::There).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// How one has ended that nobody has asked yet: its exit code and its signal. Of other users' processes the kernel does not
    /// say it.
    pub(crate) fn end(&self) -> (Option<i32>, i32) {
        if !is_own(self.pid) {
            return (None, 0);
        }
        if libc::WIFSIGNALED(self.status) {
            let signal = libc::WTERMSIG(self.status);
            (Some(128 + signal), signal)
        } else {
            (Some(libc::WEXITSTATUS(self.status)), 0)
        }
    }

    /// Whether it is the same process: ids are used again, but not within a tick of the clock.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.pid, self.began) == (other.pid, other.began)
    }

    /// Whether it takes no signal any more.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// When it began, by the clock.
    pub(crate) fn start_time(&self) -> SystemTime {
        self.began.time()
    }
}

/// Looks at all processes. One that ends meanwhile may be missing.
pub(crate) async fn census() -> io::Result<Vec<Member>> {
    let mut all = Vec::new();
    for (n, pid) in pids()?.enumerate() {
        if let Looked::There(member) = Member::look(pid)? {
            all.push(member);
        }
        if n % AT_ONE_TIME == AT_ONE_TIME - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(all)
}

fn member(pid: i32, stat: &Stat) -> Option<Member> {
    Some(Member {
        pid,
        parent: stat.id(4)?,
        group: stat.id(5)?,
        session: stat.id(6)?,
        // Negative where there is no terminal.
        foreground: stat.id(8).unwrap_or(-1),
        began: Moment(stat.start_time()?),
        state: stat.state,
        status: stat.id(52).unwrap_or(0),
    })
}

/// What a process was called with, with spaces between. `None` when that is not to be had, as of one that has ended.
pub(crate) fn argument_text(pid: i32) -> String {
    let mut arguments = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/cmdline")) {
        let _ = file.take(MOST_ARGUMENTS as u64).read_to_end(&mut arguments);
    }
    while arguments.last() == Some(&0) {
        arguments.pop();
    }
    if arguments.is_empty() {
        let name = proc::text(pid, "comm").ok().flatten().unwrap_or_default();
        return format!("[{}]", name.trim_end_matches('\n'));
    }
    arguments.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    String::from_utf8_lossy(&arguments).trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// Device and number of the files that a process has open, those of its outputs first. Of some processes that is nobody's to
/// know.
pub(crate) fn output_files(pid: i32) -> impl Iterator<Item = (u64, u64)> {
    let others = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let others = others.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let others = others.filter(|fd| !matches!(fd.as_str(), "1" | "2"));
    let all = ["1", "2"].map(str::to_owned).into_iter().chain(others).take(MOST_FILES);
    all.filter_map(move |fd| {
        // Without opening it: the link of a pipe leads to the pipe.
        let meta = fs::metadata(format!("/proc/{pid}/fd/{fd}")).ok()?;
        Some((meta.dev(), meta.ino()))
    })
}

/// Whether a process is the agent's own user's.
fn is_own(pid: i32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw())
}

/// Sends a signal to exactly this process. False when it is gone, whatever has its number now.
pub(crate) fn send(member: &Member, signal: i32) -> io::Result<bool> {
    let Some(pid) = Pid::from_raw(member.pid) else { return Ok(false) };
    let handle: OwnedFd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    // The handle is of whoever had the number a moment ago. If that is still the one that is meant, the handle is its own.
    match Member::look(member.pid)? {
        Looked::There(now) if now.is_same(member) && !now.has_ended() => {}
        Looked::There(_) | Looked::Gone => return Ok(false),
    }
    // SAFETY: no memory is involved; the descriptor is open, and no information goes with the signal.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    match result {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            error => Err(error),
        },
    }
}

impl Moment {
    /// In ticks since the machine was started.
    pub(crate) fn ticks(self) -> u64 {
        self.0
    }

    /// The same by the clock. What is set on the clock later does not change it.
    fn time(self) -> SystemTime {
        static BOOT: OnceLock<SystemTime> = OnceLock::new();
        let boot = BOOT.get_or_init(|| {
            let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            SystemTime::now() - Duration::new(up.tv_sec as u64, up.tv_nsec as u32)
        });
        let ticks = rustix::param::clock_ticks_per_second();
        *boot + Duration::from_millis(self.0 * 1000 / ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) S (b) T 1 5 6 34816 9 4194304 0 0 0 0 0 0 0 0 20 0 1 0 777 0";
        let member = member(7, &Stat::parse(stat).unwrap()).unwrap();
        assert_eq!((member.state, member.parent, member.group, member.session, member.foreground), ('T', 1, 5, 6, 9));
        assert_eq!(member.began, Moment(777));
        assert_eq!(Stat::parse("7 (x"), None);
    }

    #[test]
    fn a_signal_reaches_the_very_process_or_none() {
        use std::{io::Write, process::Stdio};
        let mut program = std::process::Command::new("cat");
        let mut child = program.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It is past its start when it has answered.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let Looked::There(member) = Member::look(child.id() as i32).unwrap() else { panic!("it was just started") };
        assert_eq!(argument_text(member.pid), "cat -");
        let another = Member { began: Moment(member.began.0 + 1), ..member };
        assert!(!send(&another, libc::SIGKILL).unwrap());
        assert!(send(&member, libc::SIGTERM).unwrap());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(libc::SIGTERM));
        assert!(!send(&member, libc::SIGKILL).unwrap());
    }
}
