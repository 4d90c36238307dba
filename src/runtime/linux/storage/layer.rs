//! Layers: what a sandbox has made, kept when it ends. The directory of its own layers becomes one more lower directory of other
//! sandboxes. Files keep the owners that they have on disk, those of the slot in which they were made; a mount shows them to each
//! sandbox as its own.

use super::{list::entries, pool::Root, trash};
use crate::{
    proc,
    runtime::{
        Layer,
        linux::{
            failure::{Failure, Step},
            layout::Layout,
        },
    },
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// What is known of a layer, in its directory. Its time is that of the layer's last use.
pub(in crate::runtime::linux) const NOTE: &str = "layer.json";
/// The files, in its directory: as the directory of a slot.
pub(in crate::runtime::linux) const FILES: &str = "files";
/// What the names of layers begin with in the pool.
pub(in crate::runtime::linux) const SUBVOLUME: &str = "frozen-";
/// That all of it is on the disk, so that it is as good after a power cut.
pub(in crate::runtime::linux) const FLUSHED: &str = "flushed";

/// What is known of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runtime::linux) struct Note {
    /// The slot whose ids own its files. None: they belong to the server's user.
    pub(in crate::runtime::linux) slot: Option<u32>,
    /// The boot of the host that it was made in.
    pub(in crate::runtime::linux) boot_id: String,
    /// Bytes that it occupies.
    pub(in crate::runtime::linux) bytes: Option<u64>,
    /// The subvolume of the pool in which its files are.
    #[serde(default)]
    pub(in crate::runtime::linux) subvolume: Option<String>,
}

/// Where the files of a layer are, and whose ids own them.
pub(in crate::runtime::linux) struct Place {
    pub(in crate::runtime::linux) files: PathBuf,
    /// The slot that they were made in, with root.
    pub(in crate::runtime::linux) slot: Option<u32>,
}

impl Place {
    pub(in crate::runtime::linux) fn of(layout: &Layout, name: &str) -> io::Result<Self> {
        let directory = layout.layer(name);
        let note = read(&directory)?;
        let files = note.subvolume.map_or_else(|| directory.join(FILES), |subvolume| layout.in_pool(&subvolume));
        Ok(Self { files, slot: note.slot })
    }
}

/// Whether a subvolume of the pool is a layer's.
pub(in crate::runtime::linux) fn is_subvolume(name: &str) -> bool {
    name.starts_with(SUBVOLUME)
}

pub(in crate::runtime::linux) fn read(directory: &Path) -> io::Result<Note> {
    Ok(serde_json::from_slice(&fs::read(directory.join(NOTE))?)?)
}

/// Notes that a sandbox is made from it.
pub(in crate::runtime::linux) fn note_use(directory: &Path) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    Ok(rustix::fs::utimensat(CWD, directory.join(NOTE), &times, AtFlags::empty())?)
}

/// All layers.
pub(in crate::runtime::linux) fn list(layout: &Layout) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    for path in entries(&layout.frozen())? {
        let Some(name) = path.file_name().and_then(OsStr::to_str).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let looked = read(&path).and_then(|note| Ok((note, fs::metadata(path.join(NOTE))?.modified()?)));
        match looked {
            Ok((note, used)) => layers.push(Layer { name: name.to_owned(), bytes: note.bytes, used }),
            Err(error) => tracing::warn!(path = %path.display(), %error, "a layer cannot be read"),
        }
    }
    Ok(layers)
}

/// Removes what is left of layers that were being made or removed, those that a power cut may have damaged, and those whose pool
/// was replaced. Only right while nobody makes sandboxes.
pub(in crate::runtime::linux) fn sweep(layout: &Layout, pool: Option<&Root>) -> Result<(), Failure> {
    let boot = proc::boot_id().step("read the boot id")?;
    // By their names, because a zygote does not see the pool where the server does.
    let there = pool.map(|pool| pool.subvolumes().step("list the pool of the sandboxes' files")).transpose()?;
    let mut kept = HashSet::new();
    for path in entries(&layout.frozen())? {
        let is_half = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        let is_sound = match read(&path) {
            Ok(note) => {
                let is_lost = |name| there.as_ref().is_some_and(|there| !there.contains(name));
                let has_files = !note.subvolume.as_ref().is_some_and(is_lost);
                let is_sound = has_files && (note.boot_id == boot || path.join(FLUSHED).exists());
                kept.extend(note.subvolume.filter(|_| is_sound && !is_half));
                is_sound
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => false,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => {
                // What it has in the pool is not known either.
                tracing::warn!(path = %path.display(), %error, "a layer cannot be read; what is there of layers stays where it is");
                return Ok(());
            }
        };
        if is_half || !is_sound {
            trash::throw(layout, &path).step_with(|| format!("remove {}", path.display()))?;
        }
    }
    let Some(pool) = pool else { return Ok(()) };
    for name in there.iter().flatten().filter(|name| is_subvolume(name) && !kept.contains(*name)) {
        pool.throw(name).step_with(|| format!("remove the subvolume {name}"))?;
    }
    Ok(())
}
