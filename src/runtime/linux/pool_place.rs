//! Where the subvolumes of the pool are, as processes tell each other.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the subvolumes are, for every process that uses them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) at: At,
    /// The quota group that all of them belong to.
    pub(super) group: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum At {
    /// The root of the file system on this block device.
    Device(PathBuf),
    /// A directory of the data directory's own file system.
    Directory(PathBuf),
}
