//! The life of a holder, from the fork of the agent on: it forks a program (usually a shell), adopts whatever the program's
//! descendants leave behind, reports its end, and, when nothing is left to adopt, waits for an order to do the same again.
//! That takes a fraction of the time that the agent takes to copy itself.

use super::{
    inherited::Inherited,
    limits,
    order::{self, Descriptors, Image, MOST_BYTES, Order, Room},
};
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    ptr, slice,
};

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
/// The program has ended, and nothing that it started is left. The holder waits for an order.
pub(super) const ALONE: u8 = b'A';

/// The most descriptors of a program.
const PROGRAM_FDS: usize = 4;
/// What becomes its terminal, if it has one.
const TERMINAL: RawFd = 3;
/// The holder's line to the agent.
const LINE: RawFd = 4;

/// The stack of a process before it executes its program, in pieces of 16 bytes. It calls little.
const STACK: usize = 2048;

/// Stands for a descriptor that there is none of.
const NONE: RawFd = -1;

/// Adjustment of the shells' OOM score: when memory runs out, the kernel takes what the user runs and not the agent. It is
/// the highest there is, so that even a small program is ended before an agent that holds a lot of output.
const OOM_SCORE: &[u8] = b"1000";

/// Forks a holder that carries out an order and has `line` to hear and to report by. Returns its process id.
pub(super) fn fork_holder(image: &Image, descriptors: &Descriptors, line: &OwnedFd) -> io::Result<i32> {
    // All of this before the fork, so that the child allocates nothing.
    let pointers = order::pointers(image);
    let order = Order::of(image, descriptors.has_terminal(), &pointers);
    let mut fds = [NONE; PROGRAM_FDS + 1];
    for (to, from) in fds.iter_mut().zip(descriptors.all()) {
        *to = from.as_raw_fd();
    }
    fds[LINE as usize] = line.as_raw_fd();
    let inherited = Inherited::of_this_process();
    limits::prepare();
    // SAFETY: the agent has one thread (a current-thread runtime, nothing is ever spawned on a blocking pool), so no
    // lock can be held by a thread that the child lacks. The child never returns from `live`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: in the child; all pointers live until it gives its memory back.
        0 => unsafe { live(&order, fds, &inherited) },
        pid => Ok(pid),
    }
}

/// The life of a holder.
///
/// # Safety
/// Only in a freshly forked child of a single-threaded process.
unsafe fn live(first: &Order<'_>, fds: [RawFd; PROGRAM_FDS + 1], inherited: &Inherited) -> ! {
    // SAFETY: plain system calls on descriptors of this process; a failure ends the child.
    unsafe {
        // First out of the way of 0 to 4, then into place; everything else of the agent's is closed.
        let mut high = [NONE; PROGRAM_FDS + 1];
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
        close_from(LINE as u32 + 1);
        libc::fcntl(LINE, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        libc::prctl(libc::PR_SET_NAME, c"sandshell-hold".as_ptr());
        // The agent may wait for its turn; who starts programs need not.
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &libc::sched_param { sched_priority: 0 });
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &all, ptr::null_mut());
        // All of its programs begin with this.
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let program = start(first);
        // The program has its own copy of all this, or is executing by now. What follows is on the stack.
        inherited.give_back();
        hold(program);
        // Not written to before it is needed, and so no memory until then.
        let mut bytes = [const { MaybeUninit::<u8>::uninit() }; MOST_BYTES];
        loop {
            let length = receive(&mut bytes);
            let bytes = slice::from_raw_parts(bytes.as_ptr().cast(), length);
            let mut room = Room::new();
            // Without an order the agent needs this holder no more, or is gone.
            let Some(order) = Order::read(bytes, &mut room) else { libc::_exit(0) };
            let program = start(&order);
            hold(program);
        }
    }
}

/// Starts the program, and lets go of its descriptors. Returns its process id.
///
/// Until it is executed, the program's process uses this one's memory, which waits for that: nothing is copied, and nothing has
/// to be taken down again.
///
/// # Safety
/// Only in a holder.
unsafe fn start(order: &Order<'_>) -> libc::pid_t {
    let mut stack = [const { MaybeUninit::<u128>::uninit() }; STACK];
    // SAFETY: plain system calls; see `live`. Order and stack live until the process has other memory, or is gone.
    unsafe {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let (top, order) = (stack.as_mut_ptr_range().end, ptr::from_ref(order).cast_mut());
        let program = libc::clone(begin, top.cast(), flags, order.cast());
        if program < 0 {
            report(UNPREPARED, *libc::__errno_location());
            libc::_exit(126);
        }
        for fd in 0..LINE {
            libc::close(fd);
        }
        program
    }
}

/// The beginning of a program's process.
extern "C" fn begin(order: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `start` has handed it over, and waits. What this changes of the memory that it shares is its own stack and errno.
    unsafe {
        report(STARTED, libc::getpid());
        let failed = become_program(&*order.cast::<Order<'_>>());
        report(failed, *libc::__errno_location());
        libc::_exit(127)
    }
}

/// Waits until nothing is left of a program.
///
/// # Safety
/// Only in a holder.
unsafe fn hold(program: libc::pid_t) {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one number of ours; errno is this thread's.
        let (pid, error) = unsafe { (libc::waitpid(-1, &mut status, libc::__WALL), *libc::__errno_location()) };
        // SAFETY: as above.
        unsafe {
            if pid == program {
                report(ENDED, status);
            } else if pid < 0 && error == libc::ECHILD {
                return report(ALONE, 0);
            }
        }
    }
}

/// Waits for an order, whose descriptors become 0 to 3: nothing else than the line is open. Returns its length, and 0 when none
/// will come.
///
/// # Safety
/// Only in a holder.
unsafe fn receive(bytes: &mut [MaybeUninit<u8>]) -> usize {
    // Aligned as the kernel wants it, with room for one message of descriptors.
    let mut control = [0u64; 8];
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the message points to what lives until the call returns, and the kernel writes within it.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut piece, 1);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
        let length = loop {
            let length = libc::recvmsg(LINE, &mut message, 0);
            if length >= 0 || *libc::__errno_location() != libc::EINTR {
                break length;
            }
        };
        let is_cut = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
        if is_cut { 0 } else { usize::try_from(length).unwrap_or(0) }
    }
}

/// Turns this process into the program. Returns only on failure, with what to report beside errno.
///
/// # Safety
/// Only in a freshly forked child.
unsafe fn become_program(order: &Order<'_>) -> u8 {
    // SAFETY: plain system calls; the pointer arrays end with null and outlive the call.
    unsafe {
        libc::setsid();
        if order.has_terminal {
            if libc::ioctl(TERMINAL, libc::TIOCSCTTY, 0) < 0 {
                return UNPREPARED;
            }
            libc::close(TERMINAL);
        }
        limits::apply();
        // The agent is not to be looked into; its own entry in /proc is closed to it then, and so is this one's.
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
        let oom = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if oom >= 0 {
            libc::write(oom, OOM_SCORE.as_ptr().cast(), OOM_SCORE.len());
            libc::close(oom);
        }
        // The memory is still the holder's. That of a program that is executed may be looked into.
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        if let Some((uid, gid, groups)) = order.user {
            // As system calls: the C library would ask other threads to do the same, and there are none.
            if libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) < 0
                || libc::syscall(libc::SYS_setresgid, gid, gid, gid) < 0
                || libc::syscall(libc::SYS_setresuid, uid, uid, uid) < 0
            {
                return UNPREPARED;
            }
        }
        if libc::chdir(order.directory) < 0 && !(order.anywhere && libc::chdir(c"/".as_ptr()) == 0) {
            return UNPREPARED;
        }
        let mut denied = false;
        for program in order.programs.iter().take_while(|program| !program.is_null()) {
            libc::execve(*program, order.arguments.as_ptr(), order.environment.as_ptr());
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

/// Tells the agent.
///
/// # Safety
/// Only in a holder, and in a program before it is executed.
unsafe fn report(kind: u8, number: i32) {
    let mut record = [kind, 0, 0, 0, 0];
    record[1..].copy_from_slice(&number.to_le_bytes());
    // SAFETY: a small buffer of our own; a report that nobody reads is of no use.
    unsafe {
        libc::write(LINE, record.as_ptr().cast(), REPORT_BYTES);
    }
}
