//! What a sandbox leaves in its directory, so that any later server can find and end it.

use super::{
    layout::RECORD,
    process::{self, ProcessId},
    wire::Made,
};
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// A sandbox's record. Written before its first program starts, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its pid 1, as the host sees it.
    pub(super) process: ProcessId,
    /// What exists outside its directory.
    pub(super) made: Made,
    /// The skeleton that its root file system stands on.
    pub(super) skeleton: Option<String>,
}

impl Record {
    /// Writes it into a sandbox's directory.
    pub(super) fn write(&self, sandbox: &Path) -> io::Result<()> {
        fs::write(sandbox.join(RECORD), serde_json::to_vec(self)?)
    }

    /// Reads it. `None` when there is none that can be read: then no program of the sandbox ever ran.
    pub(super) fn read(sandbox: &Path) -> io::Result<Option<Self>> {
        match fs::read(sandbox.join(RECORD)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether its pid 1 lives.
    pub(super) fn is_alive(&self) -> bool {
        process::is_alive(&self.process)
    }
}
