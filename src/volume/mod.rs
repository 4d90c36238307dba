//! Volumes: named data that outlives sandboxes and is mounted into them.
//!
//! ```text
//! CreateVolume ─▶ row "creating" ─▶ runtime: make its files ─▶ row "ready" ─▶ answer
//! DeleteVolume ─▶ row "deleting", unless a sandbox has it ─▶ runtime: remove its files ─▶ row gone ─▶ answer
//! ```
//!
//! The row comes first and goes last, so a server that is killed at any instant leaves a row that says what is to be done: what is
//! "creating" was told to nobody and is removed, and a deletion is finished. Files of which no row tells are never removed: the row may be in
//! another database.
//!
//! Which sandboxes have a volume is decided where a sandbox's row is inserted, in the same transaction ([`crate::store`]).

mod binds;
mod mounting;
mod volumes;

pub use binds::Binds;
pub use volumes::Volumes;

use crate::{
    error::{Error, Reason},
    runtime::RuntimeError,
    store::{VolumeRow, VolumeUse},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io};

/// What the ids of volumes begin with, and names must not.
pub const ID_PREFIX: &str = "vol-";

/// What a client asks for.
#[derive(Debug, Clone, Serialize)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// The caller's own pairs.
    pub labels: BTreeMap<String, String>,
    /// Bytes that its files may take. `None` is the default.
    pub size_bytes: Option<u64>,
    /// Whether any number of sandboxes may have it for writing.
    pub shared: bool,
    /// The directory of the host that it is to be; empty for files of its own.
    pub host_directory: String,
    /// The caller's own id of this request; empty if it has none.
    #[serde(skip)]
    pub request_id: String,
}

/// A volume as it is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What is kept of it.
    pub row: VolumeRow,
    /// Bytes that its files take, where somebody counts them.
    pub used_bytes: Option<u64>,
    /// Who has it.
    pub uses: Vec<VolumeUse>,
}

/// A page of volumes.
#[derive(Debug)]
pub struct Listing {
    /// Oldest first.
    pub volumes: Vec<Volume>,
    /// Whether there are more.
    pub more: bool,
    /// How many there are in all.
    pub total: u64,
}

/// A volume that a new sandbox is to have.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeWanted {
    /// Its name or its id.
    pub volume: String,
    /// Where it is to be.
    pub path: String,
    /// Whether the sandbox can only read it.
    pub read_only: bool,
}

/// A volume that a sandbox has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// Its id.
    pub volume_id: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub path: String,
    /// Whether the sandbox can only read it.
    pub read_only: bool,
}

/// The error for a volume that others have in a way that excludes what was asked for.
pub fn in_use(name: &str, users: &[VolumeUse], what_to_do: &str) -> Error {
    const SHOWN: usize = 5;
    let user = |user: &VolumeUse| {
        format!("\"{}\"{}", user.sandbox_id, if user.read_only { " for reading" } else { " for writing" })
    };
    let mut said = users.iter().take(SHOWN).map(user).collect::<Vec<_>>().join(", ");
    if users.len() > SHOWN {
        said += &format!(" and {} more", users.len() - SHOWN);
    }
    let message = format!("volume \"{name}\" is in use by sandbox {said}; {what_to_do}");
    Error::WrongState { reason: Reason::VolumeInUse, message }
}

/// What a runtime's error about a volume is to a client.
fn from_runtime(doing: &str, error: RuntimeError) -> Error {
    match error {
        RuntimeError::NotSupported { field, message } => {
            Error::WrongState { reason: Reason::NotSupportedByHost, message: format!("{field}: {message}") }
        }
        RuntimeError::Volume(message) => Error::WrongState { reason: Reason::VolumeUnusable, message },
        RuntimeError::Refused(message) => Error::WrongState { reason: Reason::NotSupportedByHost, message },
        RuntimeError::Unavailable(message) => Error::Unavailable { reason: Reason::RuntimeUnreachable, message },
        RuntimeError::Failed { source, step }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            tracing::error!(error = %source, step, "the disk of the volumes is full");
            Error::no_space("the server's volumes")
        }
        error => Error::internal(doing, error),
    }
}
