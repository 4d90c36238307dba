//! System calls of the agent that have no safe form.

use super::{inherited::Inherited, limits};
use crate::agent::users::User;
use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
};
use tokio::io::unix::AsyncFd;

/// What is to be executed, prepared before the fork so that the child allocates nothing.
pub(super) struct Image {
    /// Paths that the program may be at. The first that is there and may be executed is executed.
    pub(super) programs: Vec<CString>,
    /// Its arguments, its name first.
    pub(super) arguments: Vec<CString>,
    /// `NAME=value`.
    pub(super) environment: Vec<CString>,
    /// Where it starts.
    pub(super) directory: CString,
    /// Whether it may start in `/` when that directory cannot be entered.
    pub(super) anywhere: bool,
    /// As whom, if not as the agent.
    pub(super) user: Option<Identity>,
}

/// The ids of a user.
pub(super) struct Identity {
    /// The user's own.
    pub(super) uid: u32,
    /// The first group.
    pub(super) gid: u32,
    /// The other groups.
    pub(super) groups: Vec<u32>,
}

impl Identity {
    /// Those of this user.
    pub(super) fn of(user: &User) -> Self {
        Self { uid: user.uid, gid: user.gid, groups: user.groups.clone() }
    }
}

/// Descriptors of what is executed and of its holder.
pub(super) struct Descriptors {
    /// Its standard input: of a shell, the lines that it reads.
    pub(super) input: OwnedFd,
    /// Its own standard output.
    pub(super) output: OwnedFd,
    /// Its own standard error.
    pub(super) error: OwnedFd,
    /// What more it has, if anything.
    pub(super) fourth: Option<Fourth>,
    /// Where the holder reports.
    pub(super) events: OwnedFd,
}

/// A descriptor beside the three that every program has.
pub(super) enum Fourth {
    /// Becomes its controlling terminal, and is closed then.
    Terminal(OwnedFd),
    /// Stays its descriptor 3.
    Channel(OwnedFd),
}

/// Reports of a holder: one byte and a number, little-endian.
pub(super) const REPORT_BYTES: usize = 5;
/// The program runs; its process id.
pub(super) const STARTED: u8 = b'S';
/// What has to be done before the program is executed has failed; errno.
pub(super) const UNPREPARED: u8 = b'U';
/// The program could not be executed; errno.
pub(super) const FAILED: u8 = b'X';
/// The program ended; its wait status.
pub(super) const ENDED: u8 = b'E';
/// The program has ended, and nothing that it started is left.
pub(super) const ALONE: u8 = b'A';

/// Stands for a descriptor that there is none of.
const NONE: RawFd = -1;

/// Adjustment of the shells' OOM score: when memory runs out, the kernel takes what the user runs and not the agent. It is
/// the highest there is, so that even a small program is ended before an agent that holds a lot of output.
const OOM_SCORE: &[u8] = b"1000";

/// Forks a holder, which forks the program (usually a shell), adopts whatever its descendants leave behind, reports its end,
/// and ends when nothing is left to adopt. Returns the holder's process id.
pub(super) fn fork_holder(image: &Image, descriptors: &Descriptors) -> io::Result<i32> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(&image.arguments), pointers(&image.environment));
    let (fourth, is_terminal) = match &descriptors.fourth {
        Some(Fourth::Terminal(fd)) => (fd.as_raw_fd(), true),
        Some(Fourth::Channel(fd)) => (fd.as_raw_fd(), false),
        None => (NONE, false),
    };
    let inherited = Inherited::of_this_process();
    let [input, output, error, events] =
        [&descriptors.input, &descriptors.output, &descriptors.error, &descriptors.events].map(AsRawFd::as_raw_fd);
    let fds = [input, output, error, fourth, events];
    limits::prepare();
    // SAFETY: the agent has one thread (a current-thread runtime, nothing is ever spawned on a blocking pool), so no
    // lock can be held by a thread that the child lacks. The child never returns from `holder`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: in the child; all pointers live until it executes or exits.
            unsafe { holder(image, &arguments, &environment, (fds, is_terminal), &inherited) }
        }
        pid => Ok(pid),
    }
}

/// The life of a holder.
///
/// # Safety
/// Only in a freshly forked child of a single-threaded process.
unsafe fn holder(
    image: &Image,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    (fds, has_terminal): ([RawFd; 5], bool),
    inherited: &Inherited,
) -> ! {
    const TERMINAL: RawFd = 3;
    const EVENTS: RawFd = 4;
    // SAFETY: plain system calls on descriptors of this process; a failure ends the child.
    unsafe {
        // First out of the way of 0 to 4, then into place; everything else of the agent's is closed.
        let mut high = [0; 5];
        for (to, from) in high.iter_mut().zip(fds) {
            *to = if from == NONE { NONE } else { libc::fcntl(from, libc::F_DUPFD, 16) };
            if *to < 0 && from != NONE {
                libc::_exit(125);
            }
        }
        for (to, from) in high.iter().enumerate() {
            if *from == NONE {
                libc::close(to as RawFd);
            } else {
                libc::dup2(*from, to as RawFd);
            }
        }
        close_from(5);
        libc::fcntl(EVENTS, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        libc::prctl(libc::PR_SET_NAME, c"sandshell-hold".as_ptr());
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
        let program = libc::fork();
        if program == 0 {
            let failed = become_program(image, arguments, environment, has_terminal.then_some(TERMINAL));
            report(EVENTS, failed, *libc::__errno_location());
            libc::_exit(127);
        }
        if program < 0 {
            report(EVENTS, UNPREPARED, *libc::__errno_location());
            libc::_exit(126);
        }
        for fd in 0..EVENTS {
            libc::close(fd);
        }
        report(EVENTS, STARTED, program);
        // The program has its own copy of all this, or is executing by now. What follows is on the stack.
        inherited.give_back();
        loop {
            let mut status = 0;
            let pid = libc::waitpid(-1, &mut status, libc::__WALL);
            if pid == program {
                report(EVENTS, ENDED, status);
            } else if pid < 0 && *libc::__errno_location() == libc::ECHILD {
                report(EVENTS, ALONE, 0);
                libc::_exit(0);
            }
        }
    }
}

/// Turns this process into the program. Returns only on failure, with what to report beside errno.
///
/// # Safety
/// Only in a freshly forked child.
unsafe fn become_program(
    image: &Image,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    terminal: Option<RawFd>,
) -> u8 {
    // SAFETY: plain system calls; the pointer arrays end with null and outlive the call.
    unsafe {
        libc::setsid();
        if let Some(terminal) = terminal {
            if libc::ioctl(terminal, libc::TIOCSCTTY, 0) < 0 {
                return UNPREPARED;
            }
            libc::close(terminal);
        }
        limits::apply();
        // The agent is not to be looked into; its own entry in /proc is closed to it then, and the shell's would be.
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
        let oom = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if oom >= 0 {
            libc::write(oom, OOM_SCORE.as_ptr().cast(), OOM_SCORE.len());
            libc::close(oom);
        }
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        if let Some(Identity { uid, gid, groups }) = &image.user {
            // As system calls: the C library would ask other threads to do the same, and there are none.
            if libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) < 0
                || libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid) < 0
                || libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid) < 0
            {
                return UNPREPARED;
            }
        }
        if libc::chdir(image.directory.as_ptr()) < 0 && !(image.anywhere && libc::chdir(c"/".as_ptr()) == 0) {
            return UNPREPARED;
        }
        let mut denied = false;
        for program in &image.programs {
            libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            // As `execvp` and shells do: another one of that name may be there, and may be executed.
            match *libc::__errno_location() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => denied = true,
                _ => return FAILED,
            }
        }
        if denied {
            *libc::__errno_location() = libc::EACCES;
        }
        FAILED
    }
}

/// # Safety
/// Closes descriptors that others may own: only in a freshly forked child.
unsafe fn close_from(first: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) < 0 {
            for fd in first..65536 {
                libc::close(fd as RawFd);
            }
        }
    }
}

/// # Safety
/// Writes to a descriptor by number.
unsafe fn report(fd: RawFd, kind: u8, number: i32) {
    let mut record = [kind, 0, 0, 0, 0];
    record[1..].copy_from_slice(&number.to_le_bytes());
    // SAFETY: a small buffer of our own; a report that nobody reads is of no use.
    unsafe {
        libc::write(fd, record.as_ptr().cast(), REPORT_BYTES);
    }
}

/// Process group in the foreground of the terminal whose master this is.
pub(super) fn foreground_group(master: BorrowedFd<'_>) -> Option<i32> {
    let mut group: libc::pid_t = 0;
    // SAFETY: the kernel writes one pid_t.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPGRP, &mut group) };
    (result == 0 && group > 0).then_some(group)
}

/// Sends a signal to one process.
pub(crate) fn kill(pid: i32, signal: i32) {
    if pid > 1 {
        // SAFETY: no memory is involved; 0, 1 and negative numbers were excluded.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Sends a signal to a process group.
pub(crate) fn kill_group(group: i32, signal: i32) {
    if group > 1 {
        // SAFETY: as in `kill`.
        unsafe { libc::kill(-group, signal) };
    }
}

/// Whether a process group has members.
pub(crate) fn group_lives(group: i32) -> bool {
    // SAFETY: no memory is involved, and signal 0 is none.
    group > 1 && unsafe { libc::kill(-group, 0) } == 0
}

/// Watches a descriptor for readiness.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open file for as long as it lives, and nothing replaces it inside the `AsyncFd`.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}

/// Makes this process one that nothing inside the sandbox can trace, or read the memory and descriptors of; and keeps
/// its memory small: what is free at the end of the heap goes back to the system.
///
/// It also gives up the handlers that Rust has for stack overflows. Signals sent from inside would run them, and several
/// at once, with the registers of AVX-512, overflow the small stack that they run on. The first process of a sandbox gets
/// no such signal from inside without a handler; a fault of its own ends it all the same.
pub(crate) fn protect() {
    super::inherited::note_what_is_needed();
    // SAFETY: all calls take numbers only, and SIG_DFL is a valid action for these signals.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
        // Pieces of output are 252 KiB: a log that lets go of the oldest gives its memory to the newest, without a fault
        // for each page of it.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
    }
}

/// Has the allocator keep as much as this of what is free at the end of each heap, and map alone only what is larger.
pub(crate) fn keep_memory(bytes: usize) {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    // SAFETY: takes numbers only.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
        libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
    }
}

/// Gives memory back to the system that is free, wherever in a heap it is.
pub(crate) fn give_back_memory() {
    // SAFETY: takes a number only.
    unsafe { libc::malloc_trim(0) };
}
