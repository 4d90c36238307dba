//! The pool: one btrfs file system in a sparse file of the data directory, in which each sandbox has a subvolume of its own, with a
//! limit that the kernel keeps.
//!
//! ```text
//! DATA/pool.img ── loop device ── btrfs ─┬─ 17/     a sandbox's layers
//!                                        ├─ 42/     another one's
//!                                        └─ gone/   those of sandboxes that have ended, on their way out
//! ```
//!
//! It is mounted in no place that others see. The server has a descriptor of it, and each starter mounts it once more in its own
//! mount namespace, where the overlays keep it. So it goes, with its loop device, when neither a server nor a sandbox uses it any
//! more, however these ended; and a new server finds the device of a pool that sandboxes still use.

mod btrfs;
mod file;
mod ioctl;
mod loops;
mod room;

use crate::{
    runtime::linux::{
        failure::{Failure, Step},
        layout::Layout,
    },
    sync::lock,
};
use rustix::{
    fs::{CWD, Mode, OFlags, mkdirat, openat},
    io::Errno,
};
use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long the last of its users may take to let go of a pool that is to be mounted again.
const RELEASE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);
/// The directory of subvolumes that were given up.
const GONE: &str = "gone";

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime::linux) enum Size {
    /// No pool.
    None,
    /// As much as the disk has, but for a reserve.
    Disk,
    /// So many bytes, if the disk has them.
    Bytes(u64),
}

/// The root of a pool's file system, which is mounted as long as this lives.
pub(in crate::runtime::linux) struct Root {
    root: OwnedFd,
    _mount: OwnedFd,
}

/// The pool of a data directory, as the server has it.
pub(in crate::runtime::linux) struct Pool {
    root: Root,
    /// The block device that starters mount.
    device: PathBuf,
    /// What the kernel counts, as files.
    counts: PathBuf,
    /// A directory on the host's disk, to see how full that is.
    disk: PathBuf,
    /// What its sandboxes may have together.
    size: Size,
    /// Subvolumes that were removed and whose group may have to be removed yet.
    removed: Mutex<Vec<u64>>,
    /// Whether little room is left, as of the last look.
    is_tight: AtomicBool,
}

/// A pool that keeps its eyes on the disk below it, until it is dropped.
pub(in crate::runtime::linux) struct Watched {
    pub(in crate::runtime::linux) pool: Arc<Pool>,
    _watch: room::Watch,
}

/// What came of opening a pool: none if it cannot be had, and what the operator should know.
pub(in crate::runtime::linux) struct Opened {
    pub(in crate::runtime::linux) pool: Option<Pool>,
    pub(in crate::runtime::linux) warnings: Vec<String>,
}

/// Mounts the pool of a data directory, which is made if there is none. It never keeps the server from starting.
pub(in crate::runtime::linux) fn open(layout: &Layout, size: Size, is_privileged: bool) -> Opened {
    let without = |reason: &str| format!("disk_bytes cannot be limited, nor the size of volumes: {reason}");
    match size {
        Size::None => {
            return Opened {
                pool: None,
                warnings: vec![without("the server was started without a pool (--max-pool-bytes 0)")],
            };
        }
        _ if !is_privileged => {
            return Opened { pool: None, warnings: vec![without("it takes a file system that only root can mount")] };
        }
        Size::Disk | Size::Bytes(_) => {}
    }
    let mut warnings = Vec::new();
    let pool = match Pool::open(layout, size, &mut warnings) {
        Ok(pool) => Some(pool),
        Err(failure) => {
            warnings.push(without(&failure.to_string()));
            None
        }
    };
    Opened { pool, warnings }
}

impl Pool {
    fn open(layout: &Layout, size: Size, warnings: &mut Vec<String>) -> Result<Self, Failure> {
        let path = layout.pool_file();
        let largest = file::largest(layout.root()).step("look at the disk of the data directory")?;
        let made = |warnings: &mut Vec<String>, why: String| -> Result<Self, Failure> {
            let aside = file::set_aside(&path).step_with(|| format!("set {} aside", path.display()))?;
            warnings.push(format!(
                "the pool of the sandboxes' files could not be used and was replaced by an empty one: {why}; it was kept as {}",
                aside.display()
            ));
            let file = file::make(&path, largest)?;
            Self::on(layout, &file, size).map_err(|(failure, _)| failure)
        };
        let Some(file) = file::open(&path).step_with(|| format!("open {}", path.display()))? else {
            let file = file::make(&path, largest)?;
            return Self::on(layout, &file, size).map_err(|(failure, _)| failure);
        };
        if let Some(damage) = file::damage(&file).step_with(|| format!("read {}", path.display()))? {
            return made(warnings, damage);
        }
        if file.metadata().step("look at the pool")?.len() < largest {
            file.set_len(largest).step("make the pool larger")?;
        }
        match Self::on(layout, &file, size) {
            Ok(pool) => Ok(pool),
            Err((failure, true)) => {
                drop(file);
                made(warnings, failure.to_string())
            }
            Err((failure, false)) => Err(failure),
        }
    }

    /// Mounts it. An error says whether it is the content of the file that is to blame.
    fn on(layout: &Layout, file: &fs::File, size: Size) -> Result<Self, (Failure, bool)> {
        let host = |failure| (failure, false);
        let device = loops::of(file).step("get a loop device").map_err(host)?;
        // The file may have become larger while sandboxes use it. Older kernels need to be told.
        let _ = ioctl::call(&device.file, &ioctl::LOOP_SET_CAPACITY, &mut { ioctl::Nothing::NOTHING });
        let root = Root::mounted(&device.path).map_err(|error| {
            let is_damage = file::is_damage(&error);
            (Failure::new("mount the pool of the sandboxes' files", &error), is_damage)
        })?;
        let ready = || -> io::Result<PathBuf> {
            // Without it everything works, in less room.
            if let Err(error) = btrfs::fill_device(&root.root) {
                tracing::warn!(%error, "the pool of the sandboxes' files cannot grow");
            }
            btrfs::enable_quota(&root.root)?;
            btrfs::make_group(&root.root, btrfs::ALL)?;
            root.make_gone()?;
            let counts = Path::new("/sys/fs/btrfs").join(btrfs::name(&root.root)?).join("qgroups");
            // Large trees are counted too when they are removed, so that the counts stay true. Older kernels always do.
            let _ = fs::write(counts.join("drop_subtree_threshold"), "8");
            fs::metadata(&counts)?;
            Ok(counts)
        };
        let counts = ready().step("limit the pool of the sandboxes' files").map_err(host)?;
        let disk = layout.root().to_owned();
        let pool = Self {
            root,
            device: device.path,
            counts,
            disk,
            size,
            removed: Mutex::default(),
            is_tight: AtomicBool::default(),
        };
        pool.remember_removed().step("look for what earlier servers have removed").map_err(host)?;
        Ok(pool)
    }

    /// The block device that starters mount.
    pub(in crate::runtime::linux) fn device(&self) -> &Path {
        &self.device
    }

    /// Its root.
    pub(in crate::runtime::linux) fn root(&self) -> &Root {
        &self.root
    }

    /// The names of subvolumes that were given up and are still there.
    pub(super) fn gone(&self) -> io::Result<Vec<String>> {
        self.root.gone()
    }

    /// Removes one of them, with everything in it.
    pub(in crate::runtime::linux) fn clear(&self, gone: &str) -> io::Result<()> {
        let removed = self.root.clear(gone)?;
        lock(&self.removed).extend(removed);
        Ok(())
    }

    /// Has the room of what was removed given back soon, if somebody may be waiting for it.
    pub(super) fn settle(&self) -> io::Result<()> {
        if self.is_tight.load(Ordering::Relaxed) { btrfs::write_out(&self.root.root) } else { Ok(()) }
    }

    /// Bytes that a subvolume takes, and those that were written to files and have no place on the disk yet. `None` if there is no such.
    /// What the file system keeps free for its own changes counts against the limit for a moment; it would only confuse here.
    pub(in crate::runtime::linux) fn used(&self, subvolume: u64) -> io::Result<Option<u64>> {
        let group = self.counts.join(format!("0_{subvolume}"));
        let bytes = match count(&group.join("referenced")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Ok(Some(bytes + count(&group.join("rsv_data")).unwrap_or_default()))
    }

    /// Makes a subvolume for a volume.
    pub(in crate::runtime::linux) fn make_volume(&self, name: &str, bytes: Option<u64>) -> io::Result<()> {
        btrfs::make_subvolume(&self.root.root, name)?;
        self.limit(name, bytes)
    }

    /// Bytes that a volume takes. `None` if there is no such.
    pub(in crate::runtime::linux) fn used_by_volume(&self, name: &str) -> io::Result<Option<u64>> {
        match open_directory(&self.root.path().join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(opened) => self.used(btrfs::subvolume_of(opened)?),
        }
    }

    /// Sets a subvolume's limit.
    pub(in crate::runtime::linux) fn limit(&self, name: &str, bytes: Option<u64>) -> io::Result<()> {
        limit(&self.root.path().join(name), bytes)
    }

    /// What its sandboxes take together.
    fn used_by_all(&self) -> io::Result<u64> {
        count(&self.counts.join("1_0/referenced"))
    }

    /// Groups of subvolumes that are gone already.
    fn remember_removed(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.counts)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix("0_")?.parse().ok());
            if let Some(id) = id.filter(|id| *id >= FIRST_SUBVOLUME)
                && !btrfs::has_subvolume(&self.root.root, id)?
            {
                lock(&self.removed).push(id);
            }
        }
        Ok(())
    }

    /// Removes the groups of subvolumes that are gone, where the kernel has not done so (before Linux 6.11). A group that goes
    /// before its subvolume would leave that one's bytes in the count of all.
    fn remove_groups(&self) {
        let removed = std::mem::take(&mut *lock(&self.removed));
        let is_left = |id: &u64| {
            if !self.counts.join(format!("0_{id}")).exists() {
                return false;
            }
            !matches!(btrfs::has_subvolume(&self.root.root, *id), Ok(false))
                || btrfs::remove_group(&self.root.root, *id).is_err()
        };
        let left: Vec<u64> = removed.into_iter().filter(is_left).collect();
        lock(&self.removed).extend(left);
    }
}

/// The first id that a subvolume can have.
const FIRST_SUBVOLUME: u64 = 256;

impl Root {
    /// Mounts it, nowhere.
    pub(in crate::runtime::linux) fn mounted(device: &Path) -> io::Result<Self> {
        let began = Instant::now();
        loop {
            match btrfs::mounted(device) {
                // It is just being unmounted, because its last sandbox or server has ended.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && began.elapsed() < RELEASE => {
                    thread::sleep(AGAIN);
                }
                other => return other.map(|(mount, root)| Self { root, _mount: mount }),
            }
        }
    }

    /// A path that leads there in this process, as long as this lives.
    pub(in crate::runtime::linux) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }

    /// The names of its subvolumes, but for those that were given up.
    pub(super) fn subvolumes(&self) -> io::Result<Vec<String>> {
        Ok(names_in(&self.path())?.into_iter().filter(|name| name != GONE).collect())
    }

    /// Gives up a subvolume, at once, whatever is in it. One that is not there is no error.
    pub(in crate::runtime::linux) fn throw(&self, name: &str) -> io::Result<()> {
        let gone = uuid::Uuid::new_v4().simple().to_string();
        match fs::rename(self.path().join(name), self.path().join(GONE).join(gone)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path().join(name).try_exists()? => Ok(()),
            other => other,
        }
    }

    /// Where they are until they are removed. In a directory of their own, because who removes a large one keeps others from making
    /// new ones beside it.
    fn make_gone(&self) -> io::Result<()> {
        match mkdirat(&self.root, GONE, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Their names.
    fn gone(&self) -> io::Result<Vec<String>> {
        names_in(&self.path().join(GONE))
    }

    /// Removes one of them with everything in it, which takes as long as it was large, and returns its id. `None` if it is not there.
    fn clear(&self, gone: &str) -> io::Result<Option<u64>> {
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

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

fn count(path: &Path) -> io::Result<u64> {
    fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// For starters: mounts the pool in this process's own mount namespace.
pub(in crate::runtime::linux) fn mount_at(device: &Path, at: &Path) -> io::Result<()> {
    btrfs::mount_at(device, at)
}

/// For starters: makes a subvolume in a pool that is mounted. Returns its id.
pub(in crate::runtime::linux) fn make_subvolume(pool: &Path, name: &str) -> io::Result<u64> {
    btrfs::make_subvolume(open_directory(pool)?, name)?;
    btrfs::subvolume_of(open_directory(&pool.join(name))?)
}

/// Limits a subvolume.
pub(in crate::runtime::linux) fn limit(subvolume: &Path, bytes: Option<u64>) -> io::Result<()> {
    btrfs::limit_group(open_directory(subvolume)?, 0, bytes)
}

impl Watched {
    /// Begins to look after a pool.
    pub(in crate::runtime::linux) fn new(pool: Pool) -> io::Result<Self> {
        let pool = Arc::new(pool);
        Ok(Self { _watch: room::Watch::start(pool.clone())?, pool })
    }
}
