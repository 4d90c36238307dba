//! What is asked of a btrfs file system: to be mounted, subvolumes, and groups of them with a limit.

use super::ioctl::{
    self, DESTROY_SUBVOLUME, FILE_SYSTEM_INFORMATION, GROUP_CREATE, GROUP_LIMIT, Group, GroupLimit, INODE_LOOKUP,
    Information, Inherit, LIMIT_REFERENCED, Limit, Lookup, Name, NewSubvolume, Nothing, QUOTA_CONTROL, QUOTA_RESCAN,
    QUOTA_RESCAN_WAIT, Quota, RESIZE, Rescan, SYNC, Search, TREE_SEARCH, UNLIMITED,
};
use rustix::{
    fs::{Mode, OFlags, fstatfs, openat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
        fsmount, fsopen, mount,
    },
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

/// The level of groups that consist of groups of subvolumes, in the number of a group.
const LEVEL: u32 = 48;
/// The first group of that level.
pub(super) const FIRST_OF_MANY: u64 = 1 << LEVEL;
/// The root directory of a subvolume, as an object of its tree.
const ROOT_DIRECTORY: u64 = 256;
/// The tree of trees, and the type of its entries.
const TREES: u64 = 1;
const TREE: u32 = 132;
/// The tree of quotas, and the type of the entries that say which group belongs to which.
const QUOTAS: u64 = 8;
const RELATION: u32 = 246;
/// How many of these fit into one answer: each is a header of 32 bytes without content.
const RELATIONS: u32 = 120;
/// Where the entry of a subvolume says how often it is referred to. It is no more once it is removed.
const REFERENCES: std::ops::Range<usize> = 216..220;
/// What `statfs` says of a btrfs file system.
const MAGIC: u32 = 0x9123_683e;
/// Quotas are switched on.
const ENABLE: u64 = 1;

/// Mounts it nowhere: the descriptors, of the mount and of its root, are the only way to it, and keep it mounted. Files are changed in place and without
/// checksums, as on the host's own disk, and what is removed is given back to it.
pub(super) fn mounted(device: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let context = fsopen(c"btrfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", device)?;
    fsconfig_set_flag(context.as_fd(), "nodatacow")?;
    fsconfig_set_string(context.as_fd(), "discard", "async")?;
    fsconfig_create(context.as_fd())?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    // Requests cannot be made on the mount itself.
    let root = openat(&mount, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((mount, root))
}

/// Mounts it at a directory of this process's own mount namespace.
pub(super) fn mount_at(device: &Path, at: &Path) -> io::Result<()> {
    Ok(mount(device, at, c"btrfs", MountFlags::NODEV | MountFlags::NOATIME, c"nodatacow,discard=async")?)
}

/// Its name in `/sys/fs/btrfs`.
pub(super) fn name(mounted: impl AsFd) -> io::Result<String> {
    let mut information = Information::EMPTY;
    ioctl::call(mounted, &FILE_SYSTEM_INFORMATION, &mut information)?;
    Ok(uuid::Uuid::from_bytes(information.id).hyphenated().to_string())
}

/// Takes all the room that its device has.
pub(super) fn fill_device(mounted: impl AsFd) -> io::Result<()> {
    ioctl::call(mounted, &RESIZE, &mut Name::new("max")?).map(drop)
}

/// Switches quotas on, if they are not yet.
pub(super) fn enable_quota(mounted: impl AsFd) -> io::Result<()> {
    ioctl::call(&mounted, &QUOTA_CONTROL, &mut Quota { command: ENABLE, status: 0 })?;
    // What is there is counted; in a new file system there is next to nothing.
    ioctl::call(mounted, &QUOTA_RESCAN_WAIT, &mut { Nothing::NOTHING }).map(drop)
}

/// Has everything counted anew, in the background. One that is under way goes on.
pub(super) fn count_anew(mounted: impl AsFd) -> io::Result<()> {
    match ioctl::call(mounted, &QUOTA_RESCAN, &mut Rescan::default()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other.map(drop),
    }
}

/// Writes out what has changed, and begins to clear up what was removed, which else waits for half a minute.
pub(super) fn write_out(mounted: impl AsFd) -> io::Result<()> {
    ioctl::call(mounted, &SYNC, &mut { Nothing::NOTHING }).map(drop)
}

/// The level of a group, and its number there, which the kernel's names of groups consist of.
pub(super) fn level_and_number(group: u64) -> (u64, u64) {
    (group >> LEVEL, group & (FIRST_OF_MANY - 1))
}

/// Makes a group. One that is there is no error.
pub(super) fn make_group(mounted: impl AsFd, group: u64) -> io::Result<()> {
    match ioctl::call(mounted, &GROUP_CREATE, &mut Group { create: 1, group }) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// Removes a group. One that is gone is no error.
pub(super) fn remove_group(mounted: impl AsFd, group: u64) -> io::Result<()> {
    match ioctl::call(mounted, &GROUP_CREATE, &mut Group { create: 0, group }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// Limits what a group refers to; group 0 is that of the subvolume which the descriptor means.
pub(super) fn limit_group(mounted: impl AsFd, group: u64, bytes: Option<u64>) -> io::Result<()> {
    let limit = Limit { flags: LIMIT_REFERENCED, most_referenced: bytes.unwrap_or(UNLIMITED), ..Limit::default() };
    ioctl::call(mounted, &GROUP_LIMIT, &mut GroupLimit { group, limit }).map(drop)
}

/// Makes a subvolume that belongs to a group.
pub(super) fn make_subvolume(parent: impl AsFd, name: &str, group: u64) -> io::Result<()> {
    let inherit = Inherit::of(group);
    ioctl::call(parent, &ioctl::create_subvolume(), &mut NewSubvolume::new(name, &inherit)?).map(drop)
}

/// Removes a subvolume with all that is in it. The file system does the work later.
pub(super) fn destroy_subvolume(parent: impl AsFd, name: &str) -> io::Result<()> {
    ioctl::call(parent, &DESTROY_SUBVOLUME, &mut Name::new(name)?).map(drop)
}

/// The id of the subvolume that a directory belongs to, which is also that of its group.
pub(super) fn subvolume_of(directory: impl AsFd) -> io::Result<u64> {
    let mut lookup = Lookup::of(0, ROOT_DIRECTORY);
    ioctl::call(directory, &INODE_LOOKUP, &mut lookup)?;
    Ok(lookup.tree)
}

/// What has become of a subvolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subvolume {
    /// It is there.
    There,
    /// It was removed, and the file system has still to clear up.
    Removed,
    /// Nothing of it is left.
    Gone,
}

/// Looks for a subvolume.
pub(super) fn look_for_subvolume(mounted: impl AsFd, id: u64) -> io::Result<Subvolume> {
    let mut search = Search::for_items(TREES, id, TREE, 0, 1);
    ioctl::call(mounted, &TREE_SEARCH, &mut search)?;
    let Some((_, entry)) = search.found().next() else { return Ok(Subvolume::Gone) };
    let is_removed = entry.get(REFERENCES).is_some_and(|references| references == [0; 4]);
    Ok(if is_removed { Subvolume::Removed } else { Subvolume::There })
}

/// The subvolumes that belong to a group, and those that are gone and whose own group is not.
pub(super) fn members(mounted: impl AsFd, group: u64) -> io::Result<Vec<u64>> {
    let mut members = Vec::new();
    let mut from = 0;
    loop {
        let mut search = Search::for_items(QUOTAS, group, RELATION, from, RELATIONS);
        match ioctl::call(&mounted, &TREE_SEARCH, &mut search) {
            // There are no quotas.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(members),
            other => other?,
        };
        let before = members.len();
        // Each relation is there in both directions; those of groups of subvolumes are the other way round.
        members.extend(search.found().map(|(member, _)| member));
        match members.last() {
            Some(last) if members.len() > before => from = last + 1,
            _ => break,
        }
    }
    members.retain(|member| *member < FIRST_OF_MANY);
    Ok(members)
}

/// Whether a directory lies on a btrfs file system.
pub(super) fn is_there(directory: impl AsFd) -> io::Result<bool> {
    Ok(fstatfs(directory)?.f_type as u32 == MAGIC)
}
