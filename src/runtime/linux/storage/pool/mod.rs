//! The pool: a place on btrfs in which each sandbox has a subvolume of its own, with a limit that the kernel keeps. It is a directory of
//! the data directory, where that lies on btrfs with quotas, and else a file system of its own in a sparse file:
//!
//! ```text
//! DATA/pool.img ── loop device ── btrfs ─┬─ 17/     a sandbox's layers
//!           or DATA/pool/ ───────────────┼─ 42/     another one's
//!                                        └─ gone/   those of sandboxes that have ended, on their way out
//! ```
//!
//! The file system of its own is mounted in no place that others see. The server has a descriptor of it, and each starter mounts it once more
//! in its own mount namespace, where the overlays keep it. So it goes, with its loop device, when neither a server nor a sandbox uses it any
//! more, however these ended; and a new server finds the device of a pool that sandboxes still use.

mod btrfs;
mod choice;
mod file;
mod ioctl;
mod loops;
mod pending;
mod place;
mod room;

pub(in crate::runtime::linux) use choice::{note, noted, which};
pub(in crate::runtime::linux) use pending::pending;
pub(in crate::runtime::linux) use place::Root;

use crate::{
    runtime::{
        Storage,
        linux::{
            failure::{Failure, Step},
            layout::Layout,
            pool_place::{At, Place},
        },
    },
    sync::lock,
};
use btrfs::Subvolume;
use choice::Way;
use place::open_directory;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

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

/// The least that the files of all sandboxes may be given: in less there is never room for one.
pub(in crate::runtime::linux) const LEAST: u64 = 128 << 20;

/// The pool of a data directory, as the server has it.
pub(in crate::runtime::linux) struct Pool {
    root: Root,
    /// Where starters find it.
    place: Place,
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

/// What came of opening a pool: none if it cannot be had, what the operator should know, and where sandboxes' files are now.
pub(in crate::runtime::linux) struct Opened {
    pub(in crate::runtime::linux) pool: Option<Pool>,
    pub(in crate::runtime::linux) warnings: Vec<String>,
    pub(in crate::runtime::linux) storage: Storage,
}

/// Opens the pool of a data directory, which is made if there is none. It never keeps the server from starting.
pub(in crate::runtime::linux) fn open(layout: &Layout, size: Size, is_privileged: bool) -> Opened {
    let without_by = |storage: Storage| {
        let remedy = storage.remedy.as_ref().map_or_else(String::new, |remedy| format!("; {remedy}"));
        let warning = format!("disk_bytes cannot be limited, nor the size of volumes: {}{remedy}", storage.why);
        Opened { pool: None, warnings: vec![warning], storage }
    };
    let without = |reason: &str| without_by(Storage::none(layout.root(), reason));
    match size {
        Size::None => return without("the server was started without a pool (--max-pool-bytes 0)"),
        _ if !is_privileged => return without(WITHOUT_ROOT),
        Size::Disk | Size::Bytes(_) => {}
    }
    let mut warnings = Vec::new();
    match Pool::open(layout, size, &mut warnings) {
        Ok((Some(pool), storage)) => Opened { pool: Some(pool), warnings, storage },
        Ok((None, storage)) => without_by(storage),
        Err(failure) => {
            let mut opened = without(&failure.to_string());
            opened.warnings.splice(0..0, warnings);
            opened
        }
    }
}

/// Why an ordinary user has none.
const WITHOUT_ROOT: &str = "it takes root: only root can limit subvolumes and mount file systems";

impl Pool {
    fn open(layout: &Layout, size: Size, warnings: &mut Vec<String>) -> Result<(Option<Self>, Storage), Failure> {
        let choice = which(layout)?;
        match choice.way {
            Way::File => Ok((Some(Self::in_file(layout, size, warnings)?), choice.storage)),
            Way::Directory => Ok((Some(Self::in_directory(layout, size)?), choice.storage)),
            Way::None => Ok((None, choice.storage)),
        }
    }

    /// In a directory of the data directory's own file system.
    fn in_directory(layout: &Layout, size: Size) -> Result<Self, Failure> {
        let failed = "make room for the sandboxes' files in the file system of the data directory";
        let at = At::Directory(layout.pool_mount());
        let root = Place { at: at.clone(), group: 0 }.open().step(failed)?;
        let counts = choice::counts(&root.root).step(failed)?;
        let group = choice::group(layout, &counts).step(failed)?;
        Self::ready(layout, root, Place { at, group }, size).step(failed)
    }

    /// In a file system of its own.
    fn in_file(layout: &Layout, size: Size, warnings: &mut Vec<String>) -> Result<Self, Failure> {
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
        let place = Place { at: At::Device(device.path), group: btrfs::FIRST_OF_MANY };
        let root = place.open().map_err(|error| {
            let is_damage = file::is_damage(&error);
            (Failure::new("mount the pool of the sandboxes' files", &error), is_damage)
        })?;
        // Without it everything works, in less room.
        if let Err(error) = btrfs::fill_device(&root.root) {
            tracing::warn!(%error, "the pool of the sandboxes' files cannot grow");
        }
        let failed = "limit the pool of the sandboxes' files";
        btrfs::enable_quota(&root.root).step(failed).map_err(host)?;
        Self::ready(layout, root, place, size).step(failed).map_err(host)
    }

    /// Gets a place ready whose file system has quotas.
    fn ready(layout: &Layout, root: Root, place: Place, size: Size) -> io::Result<Self> {
        let counts = choice::counts(&root.root)?;
        btrfs::make_group(&root.root, place.group)?;
        root.make_gone()?;
        // Large trees are counted too when they are removed: else nothing is counted any more after that, and so no limit kept, until all is
        // counted anew. Older kernels always do.
        let _ = fs::write(counts.join("drop_subtree_threshold"), "8");
        fs::metadata(&counts)?;
        let pool = Self {
            root,
            place,
            counts,
            disk: layout.root().to_owned(),
            size,
            removed: Mutex::default(),
            is_tight: AtomicBool::default(),
        };
        pool.remember_removed()?;
        Ok(pool)
    }

    /// Where starters find it.
    pub(in crate::runtime::linux) fn place(&self) -> &Place {
        &self.place
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
        btrfs::make_subvolume(&self.root.root, name, self.place.group)?;
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

    /// Sets a subvolume's limit. The request is made on the root: for one that is made on the subvolume itself the kernel wants room there,
    /// which one that is beyond its limit has not.
    pub(in crate::runtime::linux) fn limit(&self, name: &str, bytes: Option<u64>) -> io::Result<()> {
        let id = btrfs::subvolume_of(open_directory(&self.root.path().join(name))?)?;
        btrfs::limit_group(&self.root.root, id, bytes)
    }

    /// What its sandboxes take together.
    fn used_by_all(&self) -> io::Result<u64> {
        let (level, number) = btrfs::level_and_number(self.place.group);
        count(&self.counts.join(format!("{level}_{number}/referenced")))
    }

    /// Groups of subvolumes that are gone already.
    fn remember_removed(&self) -> io::Result<()> {
        for id in btrfs::members(&self.root.root, self.place.group)? {
            if btrfs::look_for_subvolume(&self.root.root, id)? != Subvolume::There {
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
            !matches!(btrfs::look_for_subvolume(&self.root.root, *id), Ok(Subvolume::Gone))
                || btrfs::remove_group(&self.root.root, *id).is_err()
        };
        let left: Vec<u64> = removed.into_iter().filter(is_left).collect();
        lock(&self.removed).extend(left);
    }
}

fn count(path: &Path) -> io::Result<u64> {
    fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
}

/// Limits a subvolume in which there is hardly anything yet.
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
