//! Mounting volumes into a sandbox's root file system before anything runs in it: with root by the starter, else by the sandbox's first
//! process. Nothing of a volume or of an image is trusted: no link is followed on the way to a directory of the host, and none on the way
//! to where the volume is to be.

use super::idmap::{self, Ids};
use crate::runtime::{
    VolumeMount, VolumeSource,
    linux::{
        failure::{Failure, Step},
        layout::Layout,
        storage::{slots, volume},
        sys,
    },
};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, chmodat, chownat, fstat, mkdirat, openat, openat2},
    io::Errno,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const NO_LINKS: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Mounts the volumes of a sandbox whose root file system is at `root`. `slot` is its slot, with root.
pub(in crate::runtime::linux) fn mount_all(
    layout: &Layout,
    volumes: &[VolumeMount],
    slot: Option<u32>,
    root: &Path,
) -> Result<(), Failure> {
    if volumes.is_empty() {
        return Ok(());
    }
    let root = openat(CWD, root, DIRECTORY, Mode::empty()).step("open the sandbox's root directory")?;
    for volume in volumes {
        let mount = || -> Result<(), Failure> {
            let tree = tree(layout, volume, slot)?;
            let target = make_way(&root, &volume.path, slot.map(slots::root_id))?;
            let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&tree, c"", &target, c"", both).step("mount it")
        };
        mount().map_err(|failure| failure.about_volume(&volume.path))?;
    }
    Ok(())
}

/// A detached mount of a volume's files, with the owners that the sandbox is to see.
fn tree(layout: &Layout, mount: &VolumeMount, slot: Option<u32>) -> Result<OwnedFd, Failure> {
    let mut attributes = sys::MOUNT_ATTR_NODEV;
    if mount.read_only {
        attributes |= sys::MOUNT_ATTR_RDONLY;
    }
    let (directory, ids) = match &mount.source {
        VolumeSource::Own(id) => {
            let place = volume::find(layout, id).step("find its files")?;
            let directory = openat(CWD, &place.files, DIRECTORY, Mode::empty()).step("find its files")?;
            let ids = match (place.slot, slot) {
                (Some(from), Some(to)) => Some(Ids::Moved(from, to)),
                (None, None) => None,
                _ => {
                    let other = io::Error::other("a server with other rights than this one has made it");
                    return Err(other).step("use its files");
                }
            };
            (directory, ids)
        }
        VolumeSource::HostDirectory { root, below } => {
            attributes |= sys::MOUNT_ATTR_NOSUID;
            let directory = host_directory(root, below).step("open the directory of the host")?;
            let ids = slot.map(|slot| owner_only(&directory, mount.read_only, slot)).transpose()?;
            (directory, ids)
        }
    };
    // An ordinary user may not look below what is mounted in there, so that comes along.
    let deep = if slot.is_some() { OpenTreeFlags::empty() } else { OpenTreeFlags::AT_RECURSIVE };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&directory, c"", flags | deep).step("take its files")?;
    if let Some(ids) = ids {
        let user_namespace = idmap::user_namespace(ids).step("make a user namespace for it")?;
        sys::map_ids(tree.as_fd(), user_namespace.as_fd())
            .step("show its files with the sandbox's owners, which their file system must be able to")?;
    }
    sys::set_mount_attributes(tree.as_fd(), slot.is_none(), attributes).step("restrict it")?;
    Ok(tree)
}

fn host_directory(root: &Path, below: &Path) -> io::Result<OwnedFd> {
    let root = openat(CWD, root, DIRECTORY, Mode::empty())?;
    if below.as_os_str().is_empty() {
        return Ok(root);
    }
    Ok(openat2(&root, below, DIRECTORY, Mode::empty(), NO_LINKS)?)
}

/// The ids for a directory of the host: what root in the sandbox makes there belongs to the directory's owner. Nobody else has anything
/// in there. An owner that is root on the host is not given away: a program with the set-user-id bit could be left there.
fn owner_only(directory: &OwnedFd, read_only: bool, slot: u32) -> Result<Ids, Failure> {
    let stat = fstat(directory).step("look at the directory of the host")?;
    if !read_only && (stat.st_uid == 0 || stat.st_gid == 0) {
        let root =
            io::Error::other("it belongs to root or to the group root: give it to somebody else, or ask for read_only");
        return Err(root).step("let the sandbox write to a directory of the host");
    }
    Ok(Ids::Owner { uid: stat.st_uid, gid: stat.st_gid, slot })
}

/// Opens the directory that a volume is to be mounted on, and makes what is missing on the way. There may be no link, because an image
/// could have it lead to what the agent needs.
fn make_way(root: &OwnedFd, path: &str, owner: Option<u32>) -> Result<OwnedFd, Failure> {
    let mut here = rustix::io::fcntl_dupfd_cloexec(root, 0).step("open the sandbox's root directory")?;
    let mut so_far = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        so_far = format!("{so_far}/{name}");
        let enter = || openat2(&here, name, DIRECTORY, Mode::empty(), NO_LINKS);
        let entered = match enter() {
            Err(Errno::NOENT) => make_directory(&here, name, owner).and_then(|()| Ok(enter()?)),
            other => other.map_err(io::Error::from),
        };
        here = entered
            .map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::LOOP) => io::Error::other("a link is there; name the directory that it leads to"),
                Some(Errno::NOTDIR) => io::Error::other("there is something else than a directory"),
                _ => error,
            })
            .step_with(|| format!("make {so_far}"))?;
    }
    Ok(here)
}

fn make_directory(parent: &OwnedFd, name: &str, owner: Option<u32>) -> io::Result<()> {
    mkdirat(parent, name, Mode::RWXU)?;
    // Whatever the umask says.
    chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    if let Some(owner) = owner {
        let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
        chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
