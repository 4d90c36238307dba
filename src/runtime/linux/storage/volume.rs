//! Volumes: directories that outlive sandboxes, subvolumes of the pool where there is one.
//!
//! On disk their files belong to ids that no sandbox ever has, and so to nobody. A mount shows them to each sandbox as its own
//! ([`crate::runtime::linux::rootfs::volumes`]), whichever slot that has.

use super::list::entries;
use crate::runtime::{
    common::is_safe_id,
    linux::{failure::Failure, layout::Layout},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// What is known of a volume, in its directory.
pub(in crate::runtime::linux) const NOTE: &str = "volume.json";
/// The files, in its directory, where there is no pool.
pub(in crate::runtime::linux) const FILES: &str = "files";
/// What the ids of volumes begin with, which are also the names of subvolumes.
pub(in crate::runtime::linux) const PREFIX: &str = "vol-";
/// What is known of a volume. Written before its files are made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::runtime::linux) struct Note {
    /// The slot whose ids own its files; none has it. `None`: they belong to the server's user.
    pub(in crate::runtime::linux) slot: Option<u32>,
    /// Whether they are in the pool.
    pub(in crate::runtime::linux) in_pool: bool,
}

/// Where the files of a volume are, and whose ids own them.
pub(in crate::runtime::linux) struct Place {
    pub(in crate::runtime::linux) files: PathBuf,
    /// With root.
    pub(in crate::runtime::linux) slot: Option<u32>,
}

/// Whether a subvolume of the pool is a volume's.
pub(in crate::runtime::linux) fn is_subvolume(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Finds a volume. `NotFound` if it was seen that it is not there.
pub(in crate::runtime::linux) fn find(layout: &Layout, id: &str) -> io::Result<Place> {
    let directory = layout.volume(id);
    let Note { slot, in_pool } = read(&directory)?;
    Ok(Place { files: if in_pool { layout.in_pool(id) } else { directory.join(FILES) }, slot })
}

pub(in crate::runtime::linux) fn read(directory: &Path) -> io::Result<Note> {
    Ok(serde_json::from_slice(&fs::read(directory.join(NOTE))?)?)
}

/// All of them.
pub(in crate::runtime::linux) fn list(layout: &Layout) -> Result<Vec<String>, Failure> {
    let paths = entries(&layout.volumes())?;
    let names = paths.iter().filter_map(|path| path.file_name().and_then(OsStr::to_str));
    Ok(names.filter(|name| is_safe_id(name)).map(str::to_owned).collect())
}
