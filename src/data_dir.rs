//! The server's directory: private, and used by one server at a time.

use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A directory that this process alone uses, for as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Closing it frees the lock. Closed on exec, so that no child keeps it.
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error("data directory {}: {source}; choose another with --data-dir", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server has it.
    #[error("data directory {} is used by another server; stop that one or choose another with --data-dir", .0.display())]
    InUse(PathBuf),
}

impl DataDir {
    /// Makes the directory if need be, closes it to others and takes its lock.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let fail = |source| DataDirError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
        let path = path.canonicalize().map_err(fail)?;
        // It holds the sockets of agents: who can open one owns that sandbox.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(fail)?;
        // Not "lock": that one is the linux runtime's, whose zygote and starters hold it longer than the server lives.
        let lock = File::create(path.join("server.lock")).map_err(fail)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse(path)),
            Err(errno) => Err(fail(errno.into())),
        }
    }

    /// The name of the server that uses this directory, now and later: the host's, and something that no other has.
    pub fn server_id(&self) -> Result<String, DataDirError> {
        let path = self.path.join("server-id");
        match fs::read_to_string(&path) {
            Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(DataDirError::Io { path, source }),
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = format!("{host}-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        // Renamed into place: a half-written name would be another server's after a kill.
        let new = self.path.join("server-id.new");
        let written = fs::write(&new, &id).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| DataDirError::Io { path, source })?;
        Ok(id)
    }

    /// Its canonical path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_private_and_for_one_server_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(first.path()).unwrap().permissions().mode() & 0o777, 0o700);
        let second = DataDir::open(&path).unwrap_err();
        assert!(second.to_string().contains("used by another server"), "{second}");
        drop(first);
        DataDir::open(&path).unwrap();
    }
}
