//! Where subvolumes are: in a file system that nobody else has mounted, or in a directory of one that is mounted already. The rest of the
//! program sees no difference.

use super::btrfs;
use crate::runtime::linux::pool_place::{At, Place};
use rustix::{
    fs::{CWD, Mode, OFlags, mkdirat, openat},
    io::Errno,
};
use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long the last of its users may take to let go of a file system that is to be mounted again.
const RELEASE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);
/// The directory of subvolumes that were given up.
pub(super) const GONE: &str = "gone";

/// The directory of all subvolumes, which stays where it is as long as this lives.
pub(in crate::runtime::linux) struct Root {
    pub(super) root: OwnedFd,
    _mount: Option<OwnedFd>,
}

impl Place {
    /// Opens it, in any process.
    pub(in crate::runtime::linux) fn open(&self) -> io::Result<Root> {
        match &self.at {
            At::Device(device) => Root::mounted(device),
            At::Directory(directory) => Ok(Root { root: open_directory(directory)?, _mount: None }),
        }
    }

    /// For starters: has it appear at a directory of this process's own mount namespace, where it is not there already.
    pub(in crate::runtime::linux) fn mount_at(&self, at: &Path) -> io::Result<()> {
        match &self.at {
            At::Device(device) => btrfs::mount_at(device, at),
            At::Directory(directory) if directory == at => Ok(()),
            At::Directory(directory) => {
                let message = format!("{} was expected at {}", directory.display(), at.display());
                Err(io::Error::other(message))
            }
        }
    }

    /// For starters: makes a subvolume where it was mounted. Returns its id.
    pub(in crate::runtime::linux) fn make_subvolume(&self, mounted_at: &Path, name: &str) -> io::Result<u64> {
        btrfs::make_subvolume(open_directory(mounted_at)?, name, self.group)?;
        btrfs::subvolume_of(open_directory(&mounted_at.join(name))?)
    }
}

impl Root {
    /// Mounts the file system on a device, nowhere.
    fn mounted(device: &Path) -> io::Result<Self> {
        let began = Instant::now();
        loop {
            match btrfs::mounted(device) {
                // It is just being unmounted, because its last sandbox or server has ended.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && began.elapsed() < RELEASE => {
                    thread::sleep(AGAIN);
                }
                other => return other.map(|(mount, root)| Self { root, _mount: Some(mount) }),
            }
        }
    }

    /// A path that leads there in this process, as long as this lives.
    pub(in crate::runtime::linux) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }

    /// The names of its subvolumes, but for those that were given up.
    pub(in crate::runtime::linux) fn subvolumes(&self) -> io::Result<Vec<String>> {
        Ok(names_in(&self.path())?.into_iter().filter(|name| name != GONE).collect())
    }

    /// Gives up a subvolume, at once, whatever is in it. One that is not there is no error.
    pub(in crate::runtime::linux) fn throw(&self, name: &str) -> io::Result<()> {
        let gone = uuid::Uuid::now_v7().simple().to_string();
        match fs::rename(self.path().join(name), self.path().join(GONE).join(gone)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path().join(name).try_exists()? => Ok(()),
            other => other,
        }
    }

    /// Where they are until they are removed. In a directory of their own, because who removes a large one keeps others from making
    /// new ones beside it.
    pub(super) fn make_gone(&self) -> io::Result<()> {
        match mkdirat(&self.root, GONE, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Their names.
    pub(super) fn gone(&self) -> io::Result<Vec<String>> {
        names_in(&self.path().join(GONE))
    }

    /// Removes one of them with everything in it, which takes as long as it was large, and returns its id. `None` if it is not there.
    pub(super) fn clear(&self, gone: &str) -> io::Result<Option<u64>> {
        let parent = self.path().join(GONE);
        let opened = match open_directory(&parent.join(gone)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let id = btrfs::subvolume_of(&opened)?;
        drop(opened);
        match btrfs::destroy_subvolume(open_directory(&parent)?, gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(|()| Some(id)),
        }
    }

    /// Removes all of them.
    pub(in crate::runtime::linux) fn clear_all(&self) -> io::Result<()> {
        self.gone()?.iter().try_for_each(|gone| self.clear(gone).map(drop))
    }
}

pub(super) fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}
