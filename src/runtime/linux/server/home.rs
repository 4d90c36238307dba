//! Taking charge of a data directory: the lock, what is in it, and what earlier servers left running.

use super::end;
use crate::{
    proc,
    runtime::linux::{
        cgroup::Cgroups,
        failure::{Failure, Step},
        layout::{Layout, RECORD},
        record::Record,
        rootfs::tree::MOUNT_POINTS,
        storage::sweep,
    },
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
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
        fs::set_permissions(&path, Permissions::from_mode(0o700)).step_with(|| format!("make {}", path.display()))?;
    }
    forget_damage(&layout).step("look at the records of earlier boots")?;
    Ok((layout, lock))
}

/// A power cut may damage records, because they are not flushed. No process of an earlier boot lives, so after a boot a
/// damaged record says nothing that could be missed; without one, it would never be known that the sandbox is dead.
fn forget_damage(layout: &Layout) -> io::Result<()> {
    let boot = proc::boot_id()?;
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

/// Ends sandboxes that no record tells of, because somebody has removed their directories. Only right while nobody makes
/// sandboxes. They are found by their cgroups, which have this data directory's name.
pub(super) fn end_strays(layout: &Layout, cgroups: &Cgroups) -> Result<(), Failure> {
    let Some(used) = sweep::used(layout)? else { return Ok(()) };
    let strays: Vec<_> = sweep::cgroups_of(cgroups)?.into_iter().filter(|path| !used.cgroups.contains(path)).collect();
    if !strays.is_empty() {
        tracing::warn!(?strays, "what runs here is in no record and is ended");
        if !end::end_strays(&strays)? {
            tracing::error!(?strays, "some of it does not end");
        }
    }
    Ok(())
}
