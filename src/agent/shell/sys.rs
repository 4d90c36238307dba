//! System calls of the agent that have no safe form.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};
use tokio::io::unix::AsyncFd;

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
