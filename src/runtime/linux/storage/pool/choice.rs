//! Which place a data directory has for subvolumes, and why.

use super::{btrfs, place::open_directory};
use crate::runtime::{
    Storage, StorageKind,
    linux::{
        failure::{Failure, Step},
        layout::Layout,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// Where subvolumes are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In a directory of the data directory's own file system.
    Directory,
    /// In a file system in a file.
    File,
    /// Nowhere: they are in a place that cannot be used now.
    None,
}

/// What was decided.
pub(in crate::runtime::linux) struct Choice {
    pub(super) way: Way,
    /// The same for the operator.
    pub(in crate::runtime::linux) storage: Storage,
}

/// What is noted of a data directory that has its subvolumes in its own file system.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The quota group that all of them belong to.
    group: u64,
}

/// Decides, and changes nothing: once there are subvolumes in one place, it stays the place.
pub(in crate::runtime::linux) fn which(layout: &Layout) -> Result<Choice, Failure> {
    let look = || -> io::Result<Choice> {
        let has_file = layout.pool_file().try_exists()?;
        let was_here = layout.pool_note().try_exists()?;
        Ok(decide(layout, has_file, was_here, &FileSystem::of(layout.root())?))
    };
    look().step("look at the file system of the data directory")
}

fn decide(layout: &Layout, has_file: bool, was_here: bool, system: &FileSystem) -> Choice {
    let choice = |way, kind, place, why: &str, remedy: Option<String>| {
        let storage = Storage { kind, place, why: why.to_owned(), remedy };
        Choice { way, storage }
    };
    let root = layout.root().display();
    let in_file = |why: &str, remedy| choice(Way::File, StorageKind::Pool, layout.pool_file(), why, remedy);
    match system {
        _ if has_file => in_file("the data directory has its sandboxes' files there", None),
        FileSystem::Btrfs(Quotas::On) => {
            let why = "the data directory is on btrfs whose quotas are on";
            choice(Way::Directory, StorageKind::OwnBtrfs, layout.pool_mount(), why, None)
        }
        _ if was_here => {
            let why = "its sandboxes' files are subvolumes of its own file system, whose quotas are off";
            let remedy = format!("`btrfs quota enable {root}`, and start the server again");
            choice(Way::None, StorageKind::None, layout.root().to_owned(), why, Some(remedy))
        }
        FileSystem::Btrfs(Quotas::Off) => {
            let why = "the data directory is on btrfs whose quotas are off";
            let remedy = format!(
                "with `btrfs quota enable {root}` before its first start a server needs no file system of its own"
            );
            in_file(why, Some(remedy))
        }
        FileSystem::Btrfs(Quotas::Simple) => {
            in_file("the data directory is on btrfs with simple quotas, which count otherwise", None)
        }
        FileSystem::Other => {
            in_file("the data directory is not on btrfs, and its limits hold on any file system", None)
        }
    }
}

enum FileSystem {
    Btrfs(Quotas),
    Other,
}

enum Quotas {
    On,
    Simple,
    Off,
}

impl FileSystem {
    /// The one that a directory is on, or would be made on.
    fn of(directory: &Path) -> io::Result<Self> {
        let there = directory.ancestors().find(|directory| directory.is_dir()).unwrap_or(Path::new("/"));
        let opened = open_directory(&fs::canonicalize(there)?)?;
        if !btrfs::is_there(&opened)? {
            return Ok(Self::Other);
        }
        let counts = counts(&opened)?;
        if !counts.try_exists()? {
            return Ok(Self::Btrfs(Quotas::Off));
        }
        // Older kernels have one kind only, and no such file.
        let is_simple = fs::read_to_string(counts.join("mode")).is_ok_and(|mode| mode.trim() == "squota");
        Ok(Self::Btrfs(if is_simple { Quotas::Simple } else { Quotas::On }))
    }
}

/// What the kernel counts in a file system, as files; there while its quotas are on.
pub(super) fn counts(directory: impl AsFd) -> io::Result<PathBuf> {
    Ok(Path::new("/sys/fs/btrfs").join(btrfs::name(directory)?).join("qgroups"))
}

/// The group of a data directory's subvolumes in its own file system, which others use too. It is noted before it is made.
pub(super) fn group(layout: &Layout, counts: &Path) -> io::Result<u64> {
    if let Some(group) = noted_group(layout)? {
        return Ok(group);
    }
    let group = loop {
        let (number, _) = uuid::Uuid::new_v4().as_u64_pair();
        let group = btrfs::FIRST_OF_MANY + (number >> 32);
        let (level, number) = btrfs::level_and_number(group);
        if !counts.join(format!("{level}_{number}")).try_exists()? {
            break group;
        }
    };
    write(&layout.pool_note(), &serde_json::to_vec(&Note { group })?)?;
    Ok(group)
}

/// The group of a data directory that has its subvolumes in its own file system.
pub(super) fn noted_group(layout: &Layout) -> io::Result<Option<u64>> {
    match fs::read(layout.pool_note()) {
        Ok(text) => Ok(Some(serde_json::from_slice::<Note>(&text)?.group)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes where the files are, for who looks from outside.
pub(in crate::runtime::linux) fn note(layout: &Layout, storage: &Storage) -> io::Result<()> {
    write(&layout.storage_note(), &serde_json::to_vec(storage)?)
}

/// What the last server has noted.
pub(in crate::runtime::linux) fn noted(layout: &Layout) -> io::Result<Option<Storage>> {
    match fs::read(layout.storage_note()) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file that is there as a whole or not at all, whatever happens.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_has_files_stays_the_place() {
        let layout = Layout::new("/data".into());
        let way = |has_file, was_here, system: FileSystem| decide(&layout, has_file, was_here, &system).way;
        let (on, off, simple) = (Quotas::On, Quotas::Off, Quotas::Simple);
        assert_eq!(way(false, false, FileSystem::Btrfs(on)), Way::Directory);
        assert_eq!(way(true, false, FileSystem::Btrfs(Quotas::On)), Way::File);
        assert_eq!(way(false, false, FileSystem::Btrfs(off)), Way::File);
        assert_eq!(way(false, false, FileSystem::Btrfs(simple)), Way::File);
        assert_eq!(way(false, false, FileSystem::Other), Way::File);
        // Where its quotas are off now, or it was copied elsewhere, another place would hide what there is.
        assert_eq!(way(false, true, FileSystem::Btrfs(Quotas::Off)), Way::None);
        assert_eq!(way(false, true, FileSystem::Other), Way::None);
        assert_eq!(way(false, true, FileSystem::Btrfs(Quotas::On)), Way::Directory);
    }

    #[test]
    fn a_group_is_noted_once() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned());
        assert_eq!(noted_group(&layout).unwrap(), None);
        let group = group(&layout, dir.path()).unwrap();
        assert_eq!(btrfs::level_and_number(group).0, 1);
        assert_eq!(noted_group(&layout).unwrap(), Some(group));
        assert_eq!(super::group(&layout, dir.path()).unwrap(), group);
        fs::write(layout.pool_note(), "{").unwrap();
        assert!(noted_group(&layout).is_err());
    }
}
