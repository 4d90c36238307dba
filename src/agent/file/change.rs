//! Changes to directories: what is removed, renamed, made, and given other attributes.

use super::{
    super::users::User,
    copy::{self, Copying},
    error::{At, Result, is_full, is_in_use, no_name, of_archive},
    place::{make_parents, parent_and_name},
    work::Wanted,
};
use crate::{
    api::v1::{MakeDirectoryRequest, SetAttributesRequest},
    archive::{Patterns, Walk},
    error::Error,
};
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, StatxAttributes, StatxFlags, Timespec, Timestamps,
        UTIME_OMIT, Uid, chmodat, chownat, fstat, openat, renameat_with, statx, utimensat,
    },
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        },
    },
    path::Path,
};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Mode of a new directory.
const NEW_DIRECTORY: u32 = 0o755;

/// Removes what a path names.
pub(super) fn remove(path: &Path, recursive: bool, missing_ok: bool) -> Result<()> {
    let (parent, name) = parent_and_name(path).ok_or_else(|| no_name(path))?;
    // Without a slash behind it, by which a link would be where it leads to.
    let path = &parent.join(name);
    // Else it would be emptied before that is found out.
    if recursive && is_mount(path) {
        return Err(is_in_use(path));
    }
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() && recursive => fs::remove_dir_all(path),
        Ok(found) if found.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if missing_ok && error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.at(path),
    }
}

/// Whether a file system is mounted at a path.
fn is_mount(path: &Path) -> bool {
    // A kernel before 5.8 does not know. Then it is found out when the directory is removed.
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether two paths are the same entry of the same directory.
fn are_one_entry(one: (&Path, &OsStr), other: (&Path, &OsStr)) -> Result<bool> {
    let directory = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).at(path);
    Ok(one.1 == other.1 && directory(one.0)? == directory(other.0)?)
}

/// Renames what a path names. Between file systems it is copied, and removed where it was.
pub(super) fn rename(from: &Path, to: &Path, overwrite: bool, parents: bool, wanted: &Wanted) -> Result<()> {
    let old = parent_and_name(from).ok_or_else(|| no_name(from))?;
    let new = parent_and_name(to).ok_or_else(|| no_name(to))?;
    // Before anything is made for it.
    let found = fs::symlink_metadata(from).at(from)?;
    if parents {
        make_parents(to)?;
    }
    // Of two names of one file the kernel leaves both, which a client has not asked for.
    let is_other_name = |there: fs::Metadata| (there.dev(), there.ino()) == (found.dev(), found.ino());
    if overwrite && !found.is_dir() && found.nlink() > 1 && fs::symlink_metadata(to).is_ok_and(is_other_name) {
        return if are_one_entry(old, new)? { Ok(()) } else { fs::remove_file(from).at(from) };
    }
    let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, from, CWD, to, flags) {
        Ok(()) => Ok(()),
        Err(Errno::XDEV) => {
            let how = Copying { overwrite, recursive: true, keep_owner: true, follow: false };
            copy::copy(from, to, how, wanted)?;
            remove(from, true, false)
        }
        // The kernel says so of a directory that is moved into itself.
        Err(Errno::INVAL) => Err(Error::invalid("new_path", "is inside of what is moved")),
        Err(Errno::NOTEMPTY) => Err(is_full(to)),
        // Without `overwrite` it is the same answer, whatever is there.
        Err(Errno::EXIST) if overwrite => Err(is_full(to)),
        Err(error @ (Errno::EXIST | Errno::ISDIR | Errno::NOTDIR)) => Err(error).at(to),
        Err(Errno::BUSY) => Err(is_in_use(if is_mount(to) { to } else { from })),
        Err(error) if fs::symlink_metadata(from).is_ok() => Err(error).at_new(to),
        Err(error) => Err(error).at(from),
    }
}

/// Makes a directory.
pub(super) fn make_directory(path: &Path, request: &MakeDirectoryRequest) -> Result<()> {
    let mode = request.mode.unwrap_or(NEW_DIRECTORY);
    if request.parents {
        if fs::metadata(path).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        make_parents(path)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if request.parents && error.kind() == io::ErrorKind::AlreadyExists => {
            let is_there = fs::metadata(path).is_ok_and(|found| found.is_dir());
            if is_there { Ok(()) } else { Err(error).at(path) }
        }
        // The mask of this process does not count.
        made => made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode))).at_new(path),
    }
}

/// What a request wants of attributes, with users and groups found.
struct Attributes {
    mode: Option<u32>,
    owner: Option<Uid>,
    group: Option<Gid>,
    times: Option<Timestamps>,
}

/// Changes the attributes of what a path names.
pub(super) fn set_attributes(path: &Path, request: &SetAttributesRequest, wanted: &Wanted) -> Result<()> {
    let attributes = Attributes::find(request)?;
    attributes.set(path, !request.no_follow)?;
    // A link is not followed into a directory, whose owner may be another.
    if request.recursive && fs::symlink_metadata(path).at(path)?.is_dir() {
        attributes.set_below(path, wanted)?;
    }
    Ok(())
}

impl Attributes {
    fn find(request: &SetAttributesRequest) -> Result<Self> {
        let owner = (!request.owner.is_empty())
            .then(|| User::find(&request.owner).map_err(|unknown| Error::invalid("owner", unknown.to_string())))
            .transpose()?;
        // As `user:group` it names both.
        let with_owner = owner.as_ref().filter(|_| request.owner.contains(':')).map(|user| Gid::from_raw(user.gid));
        if with_owner.is_some() && !request.group.is_empty() {
            return Err(Error::invalid("group", "is given in `owner` too, behind the colon; leave one of them out"));
        }
        let group = (!request.group.is_empty())
            .then(|| {
                let anybody = format!("0:{}", request.group);
                User::find(&anybody).map_err(|unknown| Error::invalid("group", unknown.to_string()))
            })
            .transpose()?;
        let time = |time: &Option<prost_types::Timestamp>| match time {
            Some(time) => Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() },
            None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        };
        let times =
            Timestamps { last_access: time(&request.access_time), last_modification: time(&request.modify_time) };
        Ok(Self {
            mode: request.mode,
            owner: owner.map(|user| Uid::from_raw(user.uid)),
            group: group.map(|user| Gid::from_raw(user.gid)).or(with_owner),
            times: (request.access_time.is_some() || request.modify_time.is_some()).then_some(times),
        })
    }

    fn set(&self, path: &Path, follow: bool) -> Result<()> {
        let follows = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let opened = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC | follows, Mode::empty()).at(path)?;
        if self.mode.is_some() && is_link(&opened).at(path)? {
            return Err(Error::invalid("mode", "a symbolic link has none of its own; leave `no_follow` out"));
        }
        self.set_opened(&opened).at(path)
    }

    /// Sets the attributes of what is open, whatever has its name by now.
    fn set_opened(&self, opened: &OwnedFd) -> Result<(), Errno> {
        // A new owner takes set-user-id away, so the mode comes after it, and the times last.
        if self.owner.is_some() || self.group.is_some() {
            chownat(opened, c"", self.owner, self.group, AtFlags::EMPTY_PATH)?;
        }
        // Both have no form for a descriptor that is open for its path alone.
        let itself = format!("/proc/self/fd/{}", opened.as_raw_fd());
        if let Some(mode) = self.mode {
            chmodat(CWD, &itself, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        if let Some(times) = &self.times {
            utimensat(CWD, &itself, times, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Sets the attributes of all that is in a directory. Its owner, who may be another, can put links there at any moment, so each step is
    /// from an open directory to one of its entries.
    fn set_below(&self, directory: &Path, wanted: &Wanted) -> Result<()> {
        let top = openat(CWD, directory, DIRECTORY, Mode::empty()).at(directory)?;
        let mut walk = Walk::new(top, Patterns::none(), false).map_err(of_archive)?;
        while let Some(found) = walk.next() {
            wanted.check()?;
            let found = found.map_err(of_archive)?;
            let path = || directory.join(OsStr::from_bytes(&found.path));
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match openat(found.directory, &found.name, flags, Mode::empty()) {
                // It is gone meanwhile.
                Err(Errno::NOENT) => continue,
                opened => opened.at(&path())?,
            };
            if !is_link(&opened).at(&path())? {
                self.set_opened(&opened).at(&path())?;
            }
        }
        Ok(())
    }
}

fn is_link(opened: &OwnedFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(fstat(opened)?.st_mode) == FileType::Symlink)
}
