//! What one process does: what it waits for, how it takes signals, what it has open.

use super::{Image, process};
use crate::proc;
use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// What a process executes; `Some(None)` while it is between two images, and when it may not be looked into.
pub(crate) fn image(pid: i32) -> Option<Option<Image>> {
    process(pid).ok().flatten().filter(|process| !process.ended).map(|process| process.image)
}

/// What keeps a process from going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// It has ended.
    Ended,
    /// It is stopped, by a signal or by a process that traces it.
    Stopped,
}

/// Whether something keeps a process from going on.
pub(crate) fn halted(pid: i32) -> Option<Halt> {
    match process(pid) {
        Ok(None) => Some(Halt::Ended),
        Ok(Some(process)) if process.ended => Some(Halt::Ended),
        Ok(Some(process)) if process.stopped => Some(Halt::Stopped),
        Ok(Some(_)) | Err(_) => None,
    }
}

/// Whether a process has a handler for a signal, or has the signal still before it.
pub(crate) fn minds(pid: i32, signal: i32) -> bool {
    let Ok(Some(status)) = proc::text(pid, "status") else { return true };
    ["SigCgt:", "SigPnd:", "ShdPnd:"].iter().any(|set| has_signal(&status, set, signal) == Some(true))
}

/// What a process does with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent::shell) enum Handling {
    /// It has a handler.
    Caught,
    /// Nothing.
    Ignored,
    /// What the kernel does when it has said nothing.
    Default,
}

/// What a process does with a signal. `None` when that cannot be seen.
pub(in crate::agent::shell) fn handling(pid: i32, signal: i32) -> Option<Handling> {
    let status = proc::text(pid, "status").ok()??;
    Some(if has_signal(&status, "SigCgt:", signal)? {
        Handling::Caught
    } else if has_signal(&status, "SigIgn:", signal)? {
        Handling::Ignored
    } else {
        Handling::Default
    })
}

/// The process that traces another one.
pub(in crate::agent::shell) fn tracer(pid: i32) -> Option<i32> {
    let status = proc::text(pid, "status").ok()??;
    let tracer = field(&status, "TracerPid:")?.parse().ok()?;
    (tracer > 0).then_some(tracer)
}

/// Whether a process waits for nothing but signals: a shell, for children of its own.
pub(in crate::agent::shell) fn waits_for_signals(pid: i32) -> bool {
    let call = proc::text(pid, "syscall");
    call.is_ok_and(|call| {
        call.is_some_and(|call| {
            call.split(' ').next().and_then(|number| number.parse().ok()) == Some(libc::SYS_rt_sigsuspend)
        })
    })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn has_signal(status: &str, set: &str, signal: i32) -> Option<bool> {
    let set = u64::from_str_radix(field(status, set)?, 16).ok()?;
    Some(set >> (signal - 1) & 1 == 1)
}

/// Whether a process is blocked reading from a terminal: what it wants next is typed by somebody. Busybox waits until it can
/// read, for its standard input and for nothing else.
pub(crate) fn reads_terminal(pid: i32) -> bool {
    match call(pid) {
        Some((libc::SYS_read, [fd, _])) => is_terminal(&fd.to_string(), pid),
        Some((number, [_, 1])) if POLLS.contains(&number) => is_terminal("0", pid),
        Some(_) | None => false,
    }
}

/// Whether a process reads from a terminal, or waits with one open until it can read from some file.
pub(crate) fn waits_for_terminal(pid: i32) -> bool {
    reads_terminal(pid) || call(pid).is_some_and(|(number, _)| WAITS.contains(&number)) && has_terminal(pid)
}

/// The calls that wait for a number of files, which is their second argument.
#[cfg(target_arch = "x86_64")]
const POLLS: &[i64] = &[libc::SYS_poll, libc::SYS_ppoll];
#[cfg(target_arch = "aarch64")]
const POLLS: &[i64] = &[libc::SYS_ppoll];

/// The calls that wait for one of several files.
#[cfg(target_arch = "x86_64")]
const WAITS: &[i64] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_pwait,
];
#[cfg(target_arch = "aarch64")]
const WAITS: &[i64] = &[libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_pwait];

/// Whether a process has a terminal open.
fn has_terminal(pid: i32) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.take(MOST_FILES).flatten().any(|entry| entry.file_name().to_str().is_some_and(|fd| is_terminal(fd, pid)))
}

/// Whether a process has a file of this name open.
pub(crate) fn has_open(pid: i32, path: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.take(MOST_FILES).flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|file| file.as_os_str() == path))
}

/// Open files of one process that are looked at.
const MOST_FILES: usize = 1024;

fn is_terminal(fd: &str, pid: i32) -> bool {
    let file = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    file.is_ok_and(|file| file.as_os_str() == "/dev/tty" || file.starts_with("/dev/pts"))
}

/// What a process has open as its standard output.
pub(in crate::agent::shell) fn output(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/fd/1")).ok()
}

/// What a process is blocked reading from, if it is.
pub(in crate::agent::shell) fn reads(pid: i32) -> Option<PathBuf> {
    let (_, [fd, _]) = call(pid).filter(|(number, _)| *number == libc::SYS_read)?;
    fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()
}

/// The system call that a process is blocked in, if it is, and its first two arguments.
fn call(pid: i32) -> Option<(i64, [u64; 2])> {
    let call = proc::text(pid, "syscall").ok()??;
    let mut words = call.split(' ');
    let number = words.next()?.parse().ok()?;
    let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    Some((number, [argument()?, argument()?]))
}

/// Whether a process has this pipe as its standard output.
pub(in crate::agent::shell) fn writes_to(pid: i32, pipe: &OwnedFd) -> bool {
    let output = rustix::fs::stat(format!("/proc/{pid}/fd/1"));
    let pipe = rustix::fs::fstat(pipe);
    matches!((output, pipe), (Ok(output), Ok(pipe)) if (output.st_dev, output.st_ino) == (pipe.st_dev, pipe.st_ino))
}

/// Whether what `/proc` calls an open file is the other end of this pipe.
pub(in crate::agent::shell) fn is_same_pipe(file: &Path, pipe: &OwnedFd) -> bool {
    let inode = rustix::fs::fstat(pipe).map(|stat| stat.st_ino);
    inode.is_ok_and(|inode| file.as_os_str() == format!("pipe:[{inode}]").as_str())
}
