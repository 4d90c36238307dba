//! What a sandbox's first process mounts into its root file system before it gives up the right to: `/proc`, `/dev`, `/sys`,
//! and the directory for the agent's own files. All paths here are inside the new root, where the image decides what is a
//! directory and what is a link, so nothing of the host may be mounted any more when they are followed.

use super::{cgroup_view::View, tmpfs::tmpfs};
use crate::runtime::linux::{
    failure::{Failure, Step},
    sys,
};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdir, open, openat2, symlink},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, mount, move_mount, open_tree,
    },
};
use std::{
    ffi::{CStr, CString},
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

/// Devices that sandboxes share with the host: they keep no state.
const DEVICES: [&CStr; 6] = [c"null", c"zero", c"full", c"random", c"urandom", c"tty"];

/// Directories that every image has, or gets.
const DIRECTORIES: [(&CStr, u32); 7] = [
    (c"/proc", 0o555),
    (c"/dev", 0o755),
    (c"/sys", 0o555),
    (c"/tmp", 0o1777),
    (c"/run", 0o755),
    (c"/run/sandshell", 0o755),
    (c"/workspace", 0o755),
];

/// What is mounted upon. Programs could replace a link, so there may be none on the way there.
const MOUNT_POINTS: [&CStr; 4] = [c"/proc", c"/dev", c"/sys", c"/run/sandshell"];

/// Files of `/proc` that tell about or change the whole host; they read as empty.
const HIDDEN_FILES: [&CStr; 6] = [
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/proc/sched_debug",
];
/// Directories of `/proc` that do; they are empty.
const HIDDEN_DIRECTORIES: [&CStr; 3] = [c"/proc/acpi", c"/proc/asound", c"/proc/scsi"];
/// Settings in `/proc`; they cannot be changed. Those of the first process are the agent's: how likely the kernel is to kill
/// it for want of memory, say, which all processes of its user could set.
const READ_ONLY: [&CStr; 6] =
    [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger", c"/proc/1"];

/// Bytes for the agent's files: commands of 4 MiB in many sessions.
const AGENT_BYTES: u64 = 64 << 20;
/// Bytes of shared memory where memory is not limited.
const SHARED_BYTES: u64 = 1 << 30;

/// Terminals of one sandbox. The kernel has 4096 (`kernel.pty.max`) for all of the host, 1024 of them for the host alone.
/// Each of the 512 sessions that a sandbox may have takes one, and so does each command with a terminal.
const TERMINALS: u32 = 640;

const PRIVATE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Detached mounts of the host's devices, taken while the host's `/dev` is still there.
pub(super) struct Devices(Vec<(&'static CStr, OwnedFd)>);

impl Devices {
    pub(super) fn take() -> Result<Self, Failure> {
        let take = |name: &'static CStr| {
            let path = format!("/dev/{}", name.to_string_lossy());
            let device = open_tree(CWD, &path, CLONE).step_with(|| format!("take {path}"))?;
            Ok((name, device))
        };
        DEVICES.into_iter().map(take).collect::<Result<_, _>>().map(Self)
    }
}

/// A `/proc` of this process namespace, mounted nowhere yet. The host's must still be mounted somewhere: the kernel only
/// then gives a user namespace another one.
pub(super) fn processes() -> Result<OwnedFd, Failure> {
    let make = || -> io::Result<OwnedFd> {
        let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), c"source", c"proc")?;
        fsconfig_create(context.as_fd())?;
        let attributes =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    };
    make().step("make /proc (in a container this needs --security-opt systempaths=unconfined or --privileged)")
}

/// Mounts everything, and returns the agent's way to its own directory. The process's root is the new one already, and the
/// host's file systems are gone.
pub(super) fn mount_all(
    processes: &OwnedFd,
    devices: Devices,
    cgroups: View,
    terminal_group: bool,
    memory_bytes: Option<u64>,
) -> Result<OwnedFd, Failure> {
    for (path, mode) in DIRECTORIES {
        match mkdir(path, Mode::from_raw_mode(mode)) {
            // `mkdir` obeys the umask, which keeps the sticky and the group's bits away from /tmp.
            Ok(()) if mode & 0o1000 != 0 => {
                rustix::fs::chmod(path, Mode::from_raw_mode(mode)).step("make /tmp")?;
            }
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step_with(|| format!("make {}", path.to_string_lossy())),
        }
    }
    for path in MOUNT_POINTS {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .step_with(|| format!("{} is not a directory, or a link leads there", path.to_string_lossy()))?;
    }
    move_mount(processes, c"", CWD, c"/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).step("mount /proc")?;
    device_directory(devices, terminal_group, memory_bytes)?;
    mask_proc()?;
    cgroups.mount()?;
    private_directory().step("mount /run/sandshell")
}

/// Mounts the directory that agent and programs share, read-only, and returns a way to it that is writable and has no path.
/// Programs can open the pipes in it at both ends, and neither remove, replace nor add anything.
fn private_directory() -> io::Result<OwnedFd> {
    let path = c"/run/sandshell";
    tmpfs(path, PRIVATE, 0o755, AGENT_BYTES)?;
    let writable = open_tree(CWD, path, CLONE)?;
    let seen = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    sys::set_mount_attributes(seen.as_fd(), false, sys::MOUNT_ATTR_RDONLY)?;
    Ok(writable)
}

/// Whoever shares the host's network shares its name servers. An image without `/etc` does without.
pub(super) fn set_resolver(text: &[u8]) {
    // What is there may be a link to something that only runs elsewhere.
    let _ = fs::remove_file("/etc/resolv.conf");
    let _ = fs::write("/etc/resolv.conf", text);
}

fn device_directory(devices: Devices, terminal_group: bool, memory_bytes: Option<u64>) -> Result<(), Failure> {
    tmpfs(c"/dev", MountFlags::NOSUID | MountFlags::NOEXEC, 0o755, 1 << 20).step("mount /dev")?;
    for (name, device) in devices.0 {
        let path = format!("/dev/{}", name.to_string_lossy());
        let attach = || {
            open(&path, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))?;
            move_mount(&device, c"", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        };
        attach().step_with(|| format!("make {path}"))?;
    }
    for (target, link) in [
        (c"/proc/self/fd", c"/dev/fd"),
        (c"/proc/self/fd/0", c"/dev/stdin"),
        (c"/proc/self/fd/1", c"/dev/stdout"),
        (c"/proc/self/fd/2", c"/dev/stderr"),
        (c"pts/ptmx", c"/dev/ptmx"),
    ] {
        symlink(target, link).step("make the links in /dev")?;
    }
    mkdir(c"/dev/pts", Mode::from_raw_mode(0o755)).step("make /dev/pts")?;
    // Group 5 is `tty` everywhere; without a range of ids it cannot be named.
    let group = if terminal_group { ",gid=5" } else { "" };
    let options = CString::new(format!("newinstance,ptmxmode=0666,mode=0620,max={TERMINALS}{group}"));
    let options = options.map_err(io::Error::from).step("mount /dev/pts")?;
    mount(c"devpts", c"/dev/pts", c"devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options.as_c_str())
        .step("mount /dev/pts")?;
    mkdir(c"/dev/shm", Mode::from_raw_mode(0o1777)).step("make /dev/shm")?;
    let bytes = memory_bytes.map_or(SHARED_BYTES, |bytes| bytes / 2);
    tmpfs(c"/dev/shm", PRIVATE, 0o1777, bytes).step("mount /dev/shm")
}

fn mask_proc() -> Result<(), Failure> {
    for path in HIDDEN_FILES {
        cover(path, || open_tree(CWD, c"/dev/null", CLONE).map_err(io::Error::from))?;
    }
    for path in HIDDEN_DIRECTORIES {
        match mount(c"tmpfs", path, c"tmpfs", PRIVATE | MountFlags::RDONLY, c"size=0,mode=755") {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).step_with(|| format!("hide {}", path.to_string_lossy())),
        }
    }
    for path in READ_ONLY {
        cover(path, || {
            let tree = open_tree(CWD, path, CLONE)?;
            sys::set_mount_attributes(tree.as_fd(), false, sys::MOUNT_ATTR_RDONLY)?;
            Ok(tree)
        })?;
    }
    Ok(())
}

/// Mounts something over a path, if the path exists on this kernel. It is looked for first, because the kernel waits for all
/// processors when a mount is dropped that was mounted nowhere.
fn cover(path: &CStr, with: impl FnOnce() -> io::Result<OwnedFd>) -> Result<(), Failure> {
    if matches!(rustix::fs::lstat(path), Err(Errno::NOENT)) {
        return Ok(());
    }
    let result =
        with().and_then(|mount| Ok(move_mount(&mount, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?));
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.step_with(|| format!("cover {}", path.to_string_lossy())),
    }
}
