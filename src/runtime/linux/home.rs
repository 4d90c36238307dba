//! Taking charge of a data directory: the lock, what is in it, and what earlier servers left behind.

use super::{
    delete,
    layout::Layout,
    record::Record,
    skeleton::mode,
    tree::MOUNT_POINTS,
    wire::{Failure, Step},
};
use rustix::fs::{FlockOperation, flock};
use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long a new server waits for the starters of the one before, which may be finishing a sandbox.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// Makes the directories and takes the lock.
pub(super) fn open(data_dir: &Path) -> Result<(Layout, File), Failure> {
    fs::create_dir_all(data_dir).step_with(|| format!("make the data directory {}", data_dir.display()))?;
    let root = fs::canonicalize(data_dir).step("find the data directory")?;
    let layout = Layout::new(root);
    let lock = File::options().create(true).truncate(false).write(true).open(layout.lock()).step("open the lock")?;
    take(&lock, &layout)?;
    let points = MOUNT_POINTS.iter().map(|name| layout.mounts().join(name));
    for path in [layout.images(), layout.mounts(), layout.sandboxes(), layout.slots()].into_iter().chain(points) {
        fs::create_dir_all(&path).step_with(|| format!("make {}", path.display()))?;
        mode(&path, 0o700).step_with(|| format!("make {}", path.display()))?;
    }
    Ok((layout, lock))
}

fn take(lock: &File, layout: &Layout) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < TAKE_OVER => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("another server uses {}", layout.root().display());
                return Err(io::Error::other(message)).step("lock the data directory");
            }
            Err(error) => return Err(error).step("lock the data directory"),
        }
    }
}

/// The name of this data directory's cgroups. It stays the same, so that later servers find them.
pub(super) fn instance(layout: &Layout) -> Result<String, Failure> {
    if let Ok(name) = fs::read_to_string(layout.instance())
        && name.len() == 8
        && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(name);
    }
    let name = uuid::Uuid::new_v4().simple().to_string().split_off(24);
    fs::write(layout.instance(), &name).step("name the data directory")?;
    Ok(name)
}

/// Removes slots and skeletons that no sandbox uses, but for the skeleton that the next ones will use. Only right
/// while nobody makes sandboxes.
pub(super) fn sweep(layout: &Layout, skeleton: &str) -> Result<(), Failure> {
    let (mut slots, mut skeletons) = (HashSet::new(), HashSet::from([layout.skeleton(skeleton)]));
    for path in entries(&layout.sandboxes())? {
        if let Ok(Some(record)) = Record::read(&path) {
            slots.extend(record.made.slot.map(|slot| layout.slot(slot)));
            skeletons.extend(record.skeleton.map(|name| layout.skeleton(&name)));
        }
    }
    let unused = |path: &PathBuf| !slots.contains(path) && !skeletons.contains(path);
    for path in entries(&layout.slots())?.into_iter().chain(entries(&layout.images())?).filter(unused) {
        delete::tree(&path).step_with(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// The paths in a directory.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = || fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    read().step_with(|| format!("list {}", directory.display()))
}
