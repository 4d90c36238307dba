//! Where a runtime keeps the files of its sandboxes, and what of deleted ones is still there: for the operator.

use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Where the files of sandboxes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// What keeps their limits.
    pub kind: StorageKind,
    /// The directory or the file that they are in.
    pub place: PathBuf,
    /// Why it is this one: part of a sentence.
    pub why: String,
    /// What the operator could do to have more. `None`: nothing is missing.
    pub remedy: Option<String>,
}

/// What keeps the limits of sandboxes' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageKind {
    /// Quotas of the file system that the data directory is on.
    OwnBtrfs,
    /// Quotas of a file system in a file of the data directory.
    Pool,
    /// Nothing.
    None,
}

impl Storage {
    /// Directories that nothing limits.
    pub fn none(data_dir: &Path, why: impl Into<String>) -> Self {
        Self { kind: StorageKind::None, place: data_dir.to_owned(), why: why.into(), remedy: None }
    }
}

impl std::fmt::Display for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.place.display();
        match self.kind {
            StorageKind::OwnBtrfs => write!(f, "subvolumes in {place}, because {}", self.why)?,
            StorageKind::Pool => write!(f, "a btrfs file system in {place}, because {}", self.why)?,
            StorageKind::None => write!(f, "directories in {place}, not limited: {}", self.why)?,
        }
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

/// Files of deleted sandboxes and volumes that are still on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// Directories that wait to be deleted.
    pub directories: u64,
    /// Subvolumes that wait to be deleted. `None` where they could not be looked at.
    pub subvolumes: Option<u64>,
    /// Subvolumes that were deleted and whose room the file system is giving back.
    pub clearing: Option<u64>,
    /// Bytes of both kinds of subvolumes. What directories take would have to be counted file by file.
    pub subvolume_bytes: Option<u64>,
    /// When the first of what waits was thrown away.
    pub since: Option<SystemTime>,
    /// Why subvolumes could not be looked at.
    pub unknown: Option<String>,
}
