//! Showing host files inside a sandbox as if its own ids owned them, without changing one file.

use crate::runtime::linux::{
    storage::slots::{COMMON, IDS, root_id},
    sys,
};
use rustix::{
    fs::CWD,
    mount::{OpenTreeFlags, open_tree},
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

/// Which ids a sandbox has.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime::linux) enum Ids {
    /// A slot's range, root and every usual user, and the ids above that all sandboxes have in common.
    Range(u32),
    /// The same range as another slot's files show it on disk: for a layer that was made in the first one and is seen in the second.
    Moved(u32, u32),
    /// Only root, which is this user of the host.
    Own(u32, u32),
    /// One user and one group of the host, which are root in a slot's sandbox: for a directory of the host.
    Owner {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The slot.
        slot: u32,
    },
}

impl Ids {
    /// Writes the maps of a process's new user namespace.
    pub(in crate::runtime::linux) fn write(self, pid: rustix::process::Pid) -> io::Result<()> {
        let path = |file: &'static str| format!("/proc/{}/{file}", pid.as_raw_pid());
        match self {
            Self::Range(slot) => write_ranges(&path, [0, IDS], root_id(slot)),
            Self::Moved(from, to) => write_ranges(&path, [root_id(from), COMMON.0], root_id(to)),
            Self::Owner { uid, gid, slot } => {
                fs::write(path("uid_map"), format!("{uid} {} 1", root_id(slot)))?;
                fs::write(path("gid_map"), format!("{gid} {} 1", root_id(slot)))
            }
            Self::Own(uid, gid) => {
                // Only who cannot drop groups may map a group of their own.
                fs::write(path("setgroups"), "deny")?;
                fs::write(path("uid_map"), format!("0 {uid} 1"))?;
                fs::write(path("gid_map"), format!("0 {gid} 1"))
            }
        }
    }
}

/// Maps a slot's own ids and those that all have in common, which are called by numbers from these on.
fn write_ranges(path: &dyn Fn(&'static str) -> String, from: [u32; 2], own: u32) -> io::Result<()> {
    let (first, count) = COMMON;
    let own = format!("{} {own} {IDS}\n", from[0]);
    let all = format!("{own}{} {first} {count}\n", from[1]);
    for file in ["uid_map", "gid_map"] {
        match fs::write(path(file), &all) {
            // The server runs where it has not all ids itself.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => fs::write(path(file), &own)?,
            other => other?,
        }
    }
    Ok(())
}

/// A user namespace with these ids, for [`clone_mapped`]. It lives as long as the descriptor or a mount uses it.
pub(in crate::runtime::linux) fn user_namespace(ids: Ids) -> io::Result<OwnedFd> {
    // A namespace needs a first process: one that only waits to be killed.
    let Some(child) = sys::clone_into(libc::CLONE_NEWUSER)? else {
        loop {
            let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 60, tv_nsec: 0 });
        }
    };
    let namespace = ids.write(child.pid).and_then(|()| File::open(format!("/proc/{}/ns/user", child.pid.as_raw_pid())));
    pidfd_send_signal(&child.pidfd, Signal::KILL)?;
    waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)?;
    Ok(namespace?.into())
}

/// A copy of a directory's mount that is mounted nowhere yet.
pub(super) fn detached(directory: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, directory, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

/// A detached copy of the mount of a directory, whose files the ids of the user namespace own.
pub(super) fn clone_mapped(directory: &Path, user_namespace: &OwnedFd) -> io::Result<OwnedFd> {
    let mount = detached(directory)?;
    sys::map_ids(mount.as_fd(), user_namespace.as_fd())?;
    Ok(mount)
}
