//! What earlier processes have left in the data directory, and what of it nobody uses: a server that starts removes it, and so
//! does a zygote that ends.

use super::{delete, layer, list::entries, pool::Root, volume};
use crate::runtime::linux::{
    cgroup::Cgroups,
    failure::{Failure, Step},
    layout::Layout,
    record::Record,
};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

/// What the records of a data directory name.
#[derive(Default)]
pub(in crate::runtime::linux) struct Used {
    slots: HashSet<PathBuf>,
    skeletons: HashSet<PathBuf>,
    pub(in crate::runtime::linux) cgroups: HashSet<PathBuf>,
}

/// Reads all records. `None` when one cannot be read, so that anything may be in use.
pub(in crate::runtime::linux) fn used(layout: &Layout) -> Result<Option<Used>, Failure> {
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

/// The cgroups that are there for sandboxes.
pub(in crate::runtime::linux) fn cgroups_of(cgroups: &Cgroups) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for hierarchy in cgroups.hierarchies.iter().filter(|hierarchy| hierarchy.parent.exists()) {
        found.extend(entries(&hierarchy.parent)?.into_iter().filter(|path| path.is_dir()));
    }
    Ok(found)
}

/// Removes slots, in the given way, and skeletons that no sandbox uses, but for the skeleton that the next ones will use. Only
/// right while nobody makes sandboxes.
pub(in crate::runtime::linux) fn sweep(
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
