//! The system calls that have no safe form in `rustix`. All `unsafe` of this room is here, but for
//! requests to drivers, which are in `storage/pool/ioctl.rs`.
//!
//! [`fork`] and [`clone_into`] are sound only in a process with one thread: the child gets one thread and whatever
//! state the other threads' locks were in. They are called by the zygote and its children, which never start threads.

use rustix::process::Pid;
use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};
use tokio::io::{Interest, unix::AsyncFd};

/// `struct clone_args`, version 2 of the system call (Linux 5.7).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `struct mount_attr` (Linux 5.12).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// The mount becomes read-only.
pub(super) const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// Set-user-id bits have no effect on the mount.
pub(super) const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// Device files have no effect on the mount.
pub(super) const MOUNT_ATTR_NODEV: u64 = 0x4;
/// Programs on the mount cannot be executed.
pub(super) const MOUNT_ATTR_NOEXEC: u64 = 0x8;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// A child as its parent sees it.
pub(super) struct Child {
    /// Its process id, in the parent's pid namespace.
    pub(super) pid: Pid,
    /// A descriptor that always means this process, whatever becomes of the number.
    pub(super) pidfd: OwnedFd,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Copies the calling process into new namespaces: `Some` in the parent, `None` in the child.
/// The caller must have a single thread.
pub(super) fn clone_into(namespaces: libc::c_int) -> io::Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    // CLONE_CLEAR_SIGHAND (0x1_0000_0000): handlers must not run in the child before it executes another program.
    let args = CloneArgs {
        flags: namespaces as u32 as u64 | libc::CLONE_PIDFD as u64 | 0x1_0000_0000,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM and with no stack given this is a fork; the arguments outlive the call, and the only
    // memory that the kernel writes is `pidfd`. The process has one thread (the module's rule).
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<CloneArgs>()) })?;
    let Some(pid) = Pid::from_raw(pid as i32) else { return Ok(None) };
    // SAFETY: the kernel has just put a new descriptor there, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child { pid, pidfd }))
}

/// Copies the calling process: `Some` in the parent, `None` in the child. The caller must have a single thread.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread (the module's rule), so no lock can be held by a thread that the child lacks.
    let pid = check(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(Pid::from_raw(pid as i32))
}

/// Gives the calling process a mount namespace of its own. The caller must have a single thread.
pub(super) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a new mount namespace changes no memory and no descriptor.
    check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_NEWNS) })).map(drop)
}

fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and the attributes outlive the call; the kernel only reads them.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, attr, size_of::<MountAttr>())
    })
    .map(drop)
}

/// Sets attributes (`MOUNT_ATTR_…`) of a mount, or of all mounts below it too.
pub(super) fn set_mount_attributes(mount: BorrowedFd<'_>, recursive: bool, attributes: u64) -> io::Result<()> {
    mount_setattr(mount, recursive, &MountAttr { attr_set: attributes, ..MountAttr::default() })
}

/// Shows a detached mount's files as owned by the ids that a user namespace maps them to.
pub(super) fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    let userns_fd = user_namespace.as_raw_fd() as u64;
    mount_setattr(mount, false, &MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd, ..MountAttr::default() })
}

/// Replaces the program of this process by the one behind a descriptor. Returns only on failure.
pub(super) fn execute(program: BorrowedFd<'_>, arguments: &[&CStr], environment: &[&CStr]) -> io::Error {
    let pointers = |list: &[&CStr]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end with a null pointer and hold C strings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Makes `target` mean the same open file as `source`, to stay open in the next program.
pub(super) fn place_descriptor(source: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: the targets are the numbers 0 to 6, which no owned descriptor has where this is called: the zygote keeps its
    // own above them, and a first process is about to execute the agent.
    check(libc::c_long::from(unsafe { libc::dup2(source.as_raw_fd(), target) })).map(drop)
}

/// Closes all descriptors from `first` on when the next program starts.
pub(super) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: sets a flag on descriptors; none is closed now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Gives all signals their default action and blocks none: ignored and blocked ones are inherited by a new program.
pub(super) fn reset_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL without flags; errors for signals that cannot be set are of no interest.
    unsafe {
        let default: libc::sigaction = mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &default, ptr::null_mut());
        }
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Lets this thread access files as another user than its effective one.
pub(super) fn access_files_as(user: rustix::process::Uid) {
    // SAFETY: `setfsuid` takes a number and changes no memory.
    unsafe { libc::setfsuid(user.as_raw()) };
}

/// From now on this process, and what it starts, takes the processor from nobody in the midst of a turn.
pub(super) fn run_in_batches() -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one parameter of ours.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the kernel reap this process's children at once.
pub(super) fn ignore_children() {
    // SAFETY: SIG_IGN is a valid action for SIGCHLD.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Lets this process wait for its children itself.
pub(super) fn watch_children() {
    // SAFETY: SIG_DFL is a valid action for SIGCHLD.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Ends this process without running anything on the way out.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Brings up the loopback interface of this process's network namespace.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is valid; the kernel reads the name and the flags from it.
    unsafe {
        let mut request: libc::ifreq = mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::c_long::from(libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &request))).map(drop)
    }
}

/// Takes over a descriptor that this process was started with.
///
/// # Errors
/// If it is not open.
pub(super) fn inherited(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only reads a flag, and fails if the descriptor is not open.
    check(libc::c_long::from(unsafe { libc::fcntl(descriptor, libc::F_GETFD) }))?;
    // SAFETY: it is open, and by the caller's contract nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Lets the event loop say when a descriptor becomes readable: for a pidfd, when its process has ended.
pub(super) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd means the same open descriptor until it is dropped, which the AsyncFd does after it has
    // deregistered it.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(Into::into)
}
