//! What of deleted sandboxes and volumes is still there, seen by somebody who is not the server. Nothing is changed, and no file system is
//! mounted that is not in use.

use super::{
    btrfs::{self, Subvolume},
    choice, count, file, loops,
    place::{GONE, Root, names_in, open_directory},
};
use crate::runtime::{
    Pending,
    linux::{
        failure::{Failure, Step},
        layout::Layout,
        pool_place::{At, Place},
    },
};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

/// Looks at a data directory.
pub(in crate::runtime::linux) fn pending(layout: &Layout) -> Result<Pending, Failure> {
    let trash = layout.trash();
    let names = match names_in(&trash) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.step_with(|| format!("list {}", trash.display()))?,
    };
    let mut pending = Pending {
        directories: names.len() as u64,
        since: names.iter().filter_map(|name| thrown(&trash, name)).min(),
        ..Pending::default()
    };
    match place(layout) {
        Ok(Some(place)) => {
            if let Err(error) = place.open().and_then(|root| look_into(&place, &root, &mut pending)) {
                pending.unknown = Some(error.to_string());
            }
        }
        Ok(None) => {
            (pending.subvolumes, pending.clearing, pending.subvolume_bytes) = (Some(0), Some(0), Some(0));
        }
        Err(error) => pending.unknown = Some(error.to_string()),
    }
    Ok(pending)
}

/// Where there are subvolumes. `None` if there can be none.
fn place(layout: &Layout) -> io::Result<Option<Place>> {
    if let Some(file) = file::look(&layout.pool_file())? {
        let Some(device) = loops::find(&file)? else {
            return Err(io::Error::other("no server and no sandbox uses the pool now; the next server looks into it"));
        };
        return Ok(Some(Place { at: At::Device(device.path), group: btrfs::FIRST_OF_MANY }));
    }
    let group = choice::noted_group(layout)?;
    Ok(group.map(|group| Place { at: At::Directory(layout.pool_mount()), group }))
}

fn look_into(place: &Place, root: &Root, pending: &mut Pending) -> io::Result<()> {
    let counts = choice::counts(&root.root)?;
    let (mut waiting, mut clearing, mut bytes) = (0, 0, 0);
    let mut add = |id: u64| {
        // Its group may go with it at any moment.
        bytes += count(&counts.join(format!("0_{id}/referenced"))).unwrap_or_default();
    };
    let gone = root.path().join(GONE);
    for name in root.gone()? {
        let id = match open_directory(&gone.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => btrfs::subvolume_of(other?)?,
        };
        waiting += 1;
        pending.since = [pending.since, thrown(&gone, &name)].into_iter().flatten().min();
        add(id);
    }
    for id in btrfs::members(&root.root, place.group)? {
        if btrfs::look_for_subvolume(&root.root, id)? == Subvolume::Removed {
            clearing += 1;
            add(id);
        }
    }
    (pending.subvolumes, pending.clearing, pending.subvolume_bytes) = (Some(waiting), Some(clearing), Some(bytes));
    Ok(())
}

/// When something was thrown away: its name says it. Of what an older server has thrown away, its last change does.
fn thrown(directory: &Path, name: &str) -> Option<SystemTime> {
    let named = uuid::Uuid::parse_str(name).ok().and_then(|name| name.get_timestamp());
    if let Some(time) = named {
        let (seconds, nanoseconds) = time.to_unix();
        return SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
    }
    let changed = fs::symlink_metadata(directory.join(name)).ok()?.ctime();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(changed).ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_in_directories_is_counted_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("data"));
        let none = Pending { subvolumes: Some(0), clearing: Some(0), subvolume_bytes: Some(0), ..Pending::default() };
        assert_eq!(pending(&layout).unwrap(), none);
        assert!(!layout.root().exists());
        fs::create_dir_all(layout.trash()).unwrap();
        let before = SystemTime::now();
        for number in 0..3 {
            let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + number);
            let time = uuid::Timestamp::from_unix(uuid::NoContext, 1_000_000 + number, 0);
            let name = uuid::Uuid::new_v7(time).simple().to_string();
            assert_eq!(thrown(&layout.trash(), &name), Some(old));
            fs::create_dir(layout.trash().join(name)).unwrap();
        }
        fs::create_dir(layout.trash().join(uuid::Uuid::new_v4().simple().to_string())).unwrap();
        let found = pending(&layout).unwrap();
        assert_eq!((found.directories, found.subvolumes), (4, Some(0)));
        assert_eq!(found.since, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)));
        let late = layout.trash().join("older");
        fs::create_dir(&late).unwrap();
        assert!(thrown(&layout.trash(), "older").unwrap() + Duration::from_secs(2) > before);
        // A pool that nobody uses is not looked into: it would have to be mounted.
        fs::write(layout.pool_file(), "").unwrap();
        let found = pending(&layout).unwrap();
        assert!(found.subvolumes.is_none() && found.unknown.unwrap().contains("no server"), "{:?}", found.directories);
    }
}
