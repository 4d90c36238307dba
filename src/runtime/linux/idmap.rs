//! Showing host files inside a sandbox as if its own ids owned them, without changing one file.

use super::{
    slots::{COMMON, IDS, root_id},
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
pub(super) enum Ids {
    /// A slot's range, root and every usual user, and the ids above that all sandboxes have in common.
    Range(u32),
    /// Only root, which is this user of the host.
    Own(u32, u32),
}

impl Ids {
    /// Writes the maps of a process's new user namespace.
    pub(super) fn write(self, pid: rustix::process::Pid) -> io::Result<()> {
        let path = |file| format!("/proc/{}/{file}", pid.as_raw_pid());
        match self {
            Self::Range(slot) => {
                let own = format!("0 {} {IDS}\n", root_id(slot));
                let (first, count) = COMMON;
                let all = format!("{own}{IDS} {first} {count}\n");
                for file in ["uid_map", "gid_map"] {
                    match fs::write(path(file), &all) {
                        // The server runs where it has not all ids itself.
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => fs::write(path(file), &own)?,
                        other => other?,
                    }
                }
                Ok(())
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

/// A user namespace with a slot's ids, for [`clone_mapped`]. It lives as long as the descriptor or a mount uses it.
pub(super) fn user_namespace(slot: u32) -> io::Result<OwnedFd> {
    // A namespace needs a first process: one that only waits to be killed.
    let Some(child) = sys::clone_into(libc::CLONE_NEWUSER)? else {
        loop {
            let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 60, tv_nsec: 0 });
        }
    };
    let namespace = Ids::Range(slot)
        .write(child.pid)
        .and_then(|()| File::open(format!("/proc/{}/ns/user", child.pid.as_raw_pid())));
    pidfd_send_signal(&child.pidfd, Signal::KILL)?;
    waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)?;
    Ok(namespace?.into())
}

/// A detached copy of the mount of a directory, whose files the ids of the user namespace own.
pub(super) fn clone_mapped(directory: &Path, user_namespace: &OwnedFd) -> io::Result<OwnedFd> {
    let mount = open_tree(CWD, directory, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    sys::map_ids(mount.as_fd(), user_namespace.as_fd())?;
    Ok(mount)
}
