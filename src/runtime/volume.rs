//! Volumes, as runtimes know them: by id, or as a directory of the host. Whose they are and what they are called is the domain's.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A volume that a sandbox is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Where its files are.
    pub source: VolumeSource,
    /// Where the sandbox sees them: an absolute, normal path.
    pub path: String,
    /// Whether it can only read.
    pub read_only: bool,
}

/// Where the files of a volume are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// With the runtime, which has made the volume of this id.
    Own(String),
    /// In a directory of the host.
    HostDirectory {
        /// A directory that the operator allows. Trusted.
        root: PathBuf,
        /// The way to the one that is meant, relative to `root`; may be empty. Links on it must not be followed.
        below: PathBuf,
    },
}
