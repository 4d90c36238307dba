//! What a sandbox leaves in its directory, so that any later server can find and end it.

use crate::{
    proc::ProcessId,
    runtime::linux::{
        layout::{NEW_RECORD, RECORD},
        wire::Made,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A sandbox's record. Written before its first program starts, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its pid 1, as the host sees it.
    pub(super) process: ProcessId,
    /// What exists outside its directory.
    pub(super) made: Made,
    /// The skeleton that its root file system stands on.
    pub(super) skeleton: Option<String>,
    /// The directory that is its image. Earlier versions did not note it.
    #[serde(default)]
    pub(super) directory: Option<PathBuf>,
    /// The layer that lies over its image.
    #[serde(default)]
    pub(super) layer: Option<String>,
}

impl Record {
    /// Writes it into a sandbox's directory, as a whole or not at all. It is not flushed to the disk: after a power cut no
    /// process of the sandbox lives, which [`super::storage::sweep`] can tell without it.
    pub(super) fn write(&self, sandbox: &Path) -> io::Result<()> {
        let new = sandbox.join(NEW_RECORD);
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, sandbox.join(RECORD))
    }

    /// Reads it. `None` when there is none: then no program of the sandbox ever ran. One that is there and cannot be read
    /// is an error, because then it is not known what runs.
    pub(super) fn read(sandbox: &Path) -> io::Result<Option<Self>> {
        match fs::read(sandbox.join(RECORD)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_cannot_be_read_is_not_one_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Record::read(dir.path()).unwrap().is_none());
        let process = ProcessId { pid: 7, start_time: 8, boot_id: "boot".to_owned() };
        let record = Record { process, made: Made::default(), skeleton: None, directory: None, layer: None };
        record.write(dir.path()).unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), Some(record));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        for broken in ["", "{\"process\":"] {
            fs::write(dir.path().join(RECORD), broken).unwrap();
            assert!(Record::read(dir.path()).is_err());
        }
    }
}
