//! A sandbox's first process, from its start in new namespaces until it becomes the agent.
//!
//! It begins with all capabilities of its own user namespace and the host's mounts, uses them to build what the
//! sandbox sees, and gives up both before it executes the agent.

use super::{
    cgroup_view::View,
    mounts::{self, Devices},
    privileges,
    seccomp::Filter,
};
use crate::runtime::linux::{
    failure::{Failure, Step},
    rootfs::{tree::Tree, volumes},
    sys,
    wire::{Hello, Made, Order},
};
use rustix::{
    fs::{CWD, Mode, OFlags, open},
    mount::{
        MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount, open_tree,
        unmount,
    },
    process::{chdir, fchdir, pivot_root, umask},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use std::{
    ffi::CStr,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

/// The agent's listening socket.
const LISTEN_FD: RawFd = 3;
/// The agent's configuration.
const CONFIG_FD: RawFd = 4;
/// The writable side of `/run/sandshell`.
const PRIVATE_FD: RawFd = 5;
/// The kernel's count of kills for want of memory, if there is one.
const OOM_FD: RawFd = 6;
/// Descriptors are moved above the agent's before these are put in place, so that none is overwritten.
const FIRST_FREE: RawFd = 10;

/// The agent's whole environment until it makes its own.
const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One order and the host it is carried out on.
pub(in crate::runtime::linux) struct Plan<'a> {
    pub(in crate::runtime::linux) hello: &'a Hello,
    pub(in crate::runtime::linux) order: &'a Order,
    pub(in crate::runtime::linux) made: &'a Made,
}

impl Plan<'_> {
    pub(super) fn privileged(&self) -> bool {
        self.hello.privileged
    }
}

/// What the first process starts with.
pub(in crate::runtime::linux) struct First<'a> {
    pub(in crate::runtime::linux) plan: &'a Plan<'a>,
    pub(in crate::runtime::linux) tree: &'a Tree<'a>,
    pub(in crate::runtime::linux) filter: &'a Filter,
    pub(in crate::runtime::linux) program: BorrowedFd<'a>,
    pub(in crate::runtime::linux) listener: OwnedFd,
    pub(in crate::runtime::linux) config: BorrowedFd<'a>,
    pub(in crate::runtime::linux) log: OwnedFd,
    pub(in crate::runtime::linux) kill_count: Option<OwnedFd>,
    /// Says when ids and limits are set; ends without a byte when the sandbox is not to start.
    pub(in crate::runtime::linux) go: File,
    /// Takes a failure; closed by the kernel when the agent starts.
    pub(in crate::runtime::linux) failed: File,
}

impl First<'_> {
    /// Becomes the agent, or reports why it could not.
    pub(in crate::runtime::linux) fn run(mut self) -> ! {
        let failure = match self.prepare().and_then(|()| self.give_up_rights()) {
            Ok(()) if self.plan.order.rehearsal => sys::exit_now(0),
            Ok(()) => self.execute_agent(),
            Err(failure) => failure,
        };
        if let Ok(text) = serde_json::to_vec(&failure) {
            let _ = self.failed.write_all(&text);
        }
        sys::exit_now(1)
    }

    fn prepare(&mut self) -> Result<(), Failure> {
        if self.go.read_exact(&mut [0]).is_err() {
            // The starter has reported why.
            sys::exit_now(1);
        }
        rustix::process::setsid().step("start a session")?;
        umask(Mode::from_raw_mode(0o022));
        rustix::system::sethostname(b"sandbox").step("set the host name")?;
        if !self.plan.order.host_network {
            sys::loopback_up().step("bring up the loopback interface")?;
        }
        if !self.plan.privileged() {
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
                .step("make the mounts private")?;
            self.tree.own(self.plan.order.directory.as_deref())?;
            volumes::mount_all(self.tree.layout, &self.plan.order.volumes, None, &self.tree.root())?;
        }
        let null = open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).step("open /dev/null")?;
        let null = out_of_the_way(null).step("open /dev/null")?;
        let devices = Devices::take()?;
        let cgroups = View::take(&self.plan.hello.cgroups, &self.plan.made.cgroups)?;
        let resolver = self.plan.order.host_network.then(|| fs::read("/etc/resolv.conf").ok()).flatten();
        // Still as the server's user: to the sandbox's own, the data directory is closed.
        let old = enter(&self.tree.root())?;
        self.become_root()?;
        let processes = mounts::processes()?;
        // Nothing of the host is left from here on, so wherever the links of an image lead, they lead into the sandbox.
        leave(old)?;
        let (group, memory) = (self.plan.privileged(), self.plan.order.memory_bytes);
        let private = mounts::mount_all(&processes, devices, cgroups, group, memory)
            .map_err(|failure| self.blame_image(failure))?;
        let private = out_of_the_way(private).step("keep the agent's directory")?;
        if let Some(resolver) = resolver {
            mounts::set_resolver(&resolver);
        }
        privileges::set_limits()?;
        self.place_descriptors(&null, &private)
    }

    /// A path that cannot be made or mounted upon because of what is there is the image's fault.
    fn blame_image(&self, failure: Failure) -> Failure {
        match &self.plan.order.directory {
            Some(image) if matches!(failure.errno, libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EEXIST) => {
                let step = format!("use {} as an image: {}", image.display(), failure.step);
                Failure { step, image: true, ..failure }
            }
            _ => failure,
        }
    }

    fn become_root(&self) -> Result<(), Failure> {
        use rustix::process::{Gid, Uid};
        set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).step("become the group root")?;
        if self.plan.privileged() {
            set_thread_groups(&[]).step("leave the host's groups")?;
        }
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).step("become root")
    }

    fn place_descriptors(&self, null: &OwnedFd, private: &OwnedFd) -> Result<(), Failure> {
        let mut places: Vec<(BorrowedFd<'_>, RawFd)> = vec![
            (null.as_fd(), 0),
            (self.log.as_fd(), 1),
            (self.log.as_fd(), 2),
            (self.listener.as_fd(), LISTEN_FD),
            (self.config, CONFIG_FD),
            (private.as_fd(), PRIVATE_FD),
        ];
        places.extend(self.kill_count.as_ref().map(|file| (file.as_fd(), OOM_FD)));
        let place = || -> io::Result<()> {
            // The program and the failure pipe stay where they are: the starter keeps all its descriptors above.
            for (source, target) in &places {
                sys::place_descriptor(*source, *target)?;
            }
            let first_unused = LISTEN_FD + places.len() as RawFd - 3;
            sys::close_on_exec_from(first_unused)
        };
        place().step("hand over the agent's descriptors")
    }

    fn give_up_rights(&self) -> Result<(), Failure> {
        // However high its priority, the agent waits for its turn: woken in the midst of a program that prints a lot, it would
        // find little to read, and be woken again for the next few bytes. Until here somebody waits for the sandbox.
        let _ = sys::run_in_batches();
        sys::reset_signals();
        privileges::drop_capabilities()?;
        self.filter.apply().step("filter system calls")
    }

    /// Returns only on failure.
    fn execute_agent(&self) -> Failure {
        let mut arguments =
            vec![c"sandshell", c"agent", c"--listen-fd", c"3", c"--config-fd", c"4", c"--private-fd", c"5"];
        if self.kill_count.is_some() {
            arguments.extend([c"--oom-fd", c"6"]);
        }
        Failure::new("execute the agent", &sys::execute(self.program, &arguments, &[PATH]))
    }
}

/// Makes a directory the root of this process and of its mount namespace. The old root stays mounted over it until
/// [`leave`]: a `..` at the root would lead into it, so until then no path of the image may be followed.
fn enter(root: &Path) -> Result<OwnedFd, Failure> {
    let enter = || -> io::Result<OwnedFd> {
        let old = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // Mounts that came from a namespace with more privileges are locked, all together: a copy is this one's own.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let copy = open_tree(CWD, root, flags)?;
        move_mount(&copy, c"", CWD, root, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        chdir(root)?;
        pivot_root(c".", c".")?;
        Ok(old)
    };
    enter().step("change the root directory")
}

/// Lets go of everything that the host has mounted.
fn leave(old: OwnedFd) -> Result<(), Failure> {
    let leave = || -> io::Result<()> {
        fchdir(&old)?;
        unmount(c".", UnmountFlags::DETACH)?;
        Ok(chdir(c"/")?)
    };
    leave().step("detach the host's file systems")
}

/// Moves a descriptor out of the way of the agent's.
pub(in crate::runtime::linux) fn out_of_the_way(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&descriptor, FIRST_FREE)?)
}
