//! Taking charge of a data directory: the lock, what is in it, and what earlier servers left behind.

use super::{
    cgroup::Cgroups,
    delete, end, layer,
    layout::{Layout, RECORD},
    pool::Root,
    process,
    record::Record,
    skeleton::mode,
    tree::MOUNT_POINTS,
    volume,
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
    for path in [
        layout.images(),
        layout.mounts(),
        layout.sandboxes(),
        layout.slots(),
        layout.trash(),
        layout.pool_mount(),
        layout.frozen(),
        layout.volumes(),
    ]
    .into_iter()
    .chain(points)
    {
        fs::create_dir_all(&path).step_with(|| format!("make {}", path.display()))?;
        mode(&path, 0o700).step_with(|| format!("make {}", path.display()))?;
    }
    forget_damage(&layout).step("look at the records of earlier boots")?;
    Ok((layout, lock))
}

/// A power cut may damage records, because they are not flushed. No process of an earlier boot lives, so after a boot a
/// damaged record says nothing that could be missed; without one, it would never be known that the sandbox is dead.
fn forget_damage(layout: &Layout) -> io::Result<()> {
    let boot = process::boot_id()?;
    let last = match fs::read_to_string(layout.boot()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    if last == boot {
        return Ok(());
    }
    // What has another length was itself damaged, or there was none: then it is not known that there was a boot.
    if last.len() == boot.len() {
        for entry in fs::read_dir(layout.sandboxes())? {
            let path = entry?.path();
            let damaged = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
            if Record::read(&path).is_err_and(|error| damaged(&error)) {
                tracing::warn!(path = %path.display(), "a record is damaged since before the host's last boot");
                fs::remove_file(path.join(RECORD))?;
            }
        }
    }
    let new = layout.boot().with_extension("new");
    let mut file = File::create(&new)?;
    io::Write::write_all(&mut file, boot.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, layout.boot())
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

/// What the records of a data directory name.
#[derive(Default)]
struct Used {
    slots: HashSet<PathBuf>,
    skeletons: HashSet<PathBuf>,
    cgroups: HashSet<PathBuf>,
}

/// Reads all records. `None` when one cannot be read, so that anything may be in use.
fn used(layout: &Layout) -> Result<Option<Used>, Failure> {
    let mut used = Used::default();
    for path in entries(&layout.sandboxes())? {
        match Record::read(&path) {
            Ok(Some(record)) => {
                used.slots.extend(record.made.slot.map(|slot| layout.slot(slot)));
                used.skeletons.extend(record.skeleton.map(|name| layout.skeleton(&name)));
                used.cgroups.extend(record.made.cgroups);
            }
            Ok(None) => {}
            Err(error) => {
                let path = path.display();
                tracing::error!(%error, "{path}: the record cannot be read; what earlier servers left stays where it is");
                return Ok(None);
            }
        }
    }
    Ok(Some(used))
}

/// Ends sandboxes that no record tells of, because somebody has removed their directories. Only right while nobody makes
/// sandboxes. They are found by their cgroups, which have this data directory's name.
pub(super) fn end_strays(layout: &Layout, cgroups: &Cgroups) -> Result<(), Failure> {
    let Some(used) = used(layout)? else { return Ok(()) };
    let strays: Vec<_> = cgroups_of(cgroups)?.into_iter().filter(|path| !used.cgroups.contains(path)).collect();
    if !strays.is_empty() {
        tracing::warn!(?strays, "what runs here is in no record and is ended");
        if !end::end_strays(&strays)? {
            tracing::error!(?strays, "some of it does not end");
        }
    }
    Ok(())
}

/// The cgroups that are there for sandboxes.
fn cgroups_of(cgroups: &Cgroups) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for hierarchy in cgroups.hierarchies.iter().filter(|hierarchy| hierarchy.parent.exists()) {
        found.extend(entries(&hierarchy.parent)?.into_iter().filter(|path| path.is_dir()));
    }
    Ok(found)
}

/// Removes slots, in the given way, and skeletons that no sandbox uses, but for the skeleton that the next ones will use. Only
/// right while nobody makes sandboxes.
pub(super) fn sweep(
    layout: &Layout,
    skeleton: &str,
    cgroups: &Cgroups,
    pool: Option<&Root>,
    remove: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), Failure> {
    let Some(mut used) = used(layout)? else { return Ok(()) };
    used.skeletons.insert(layout.skeleton(skeleton));
    // Where something still runs, its slot is in use, whether or not there is a record. A cgroup's name begins with it.
    let empty = |cgroup: &Path| fs::read(cgroup.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty());
    for cgroup in cgroups_of(cgroups)?.iter().filter(|cgroup| !empty(cgroup)) {
        let slot = cgroup.file_name().and_then(|name| name.to_str()?.split('-').next()?.parse().ok());
        used.slots.extend(slot.map(|slot| layout.slot(slot)));
    }
    for path in entries(&layout.images())?.into_iter().filter(|path| !used.skeletons.contains(path)) {
        delete::tree(&path).step_with(|| format!("remove {}", path.display()))?;
    }
    // First the subvolume, then the number that it is called by.
    let is_used = |slot: &Path| used.slots.contains(slot);
    for name in pool.map_or(Ok(Vec::new()), Root::subvolumes).step("list the pool of the sandboxes' files")? {
        if !layer::is_subvolume(&name) && !volume::is_subvolume(&name) && !is_used(&layout.slots().join(&name)) {
            pool.map_or(Ok(()), |pool| pool.throw(&name)).step_with(|| format!("remove the subvolume {name}"))?;
        }
    }
    for path in entries(&layout.slots())?.into_iter().filter(|path| !is_used(path)) {
        remove(&path).step_with(|| format!("remove {}", path.display()))?;
    }
    layer::sweep(layout, pool)
}

/// The paths in a directory.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = || fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    read().step_with(|| format!("list {}", directory.display()))
}
