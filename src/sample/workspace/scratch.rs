//! Directories that are gone when they are not needed any more.

use super::CodebaseError;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A directory of one's own, removed with the value.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(parent: &Path) -> Result<Self, CodebaseError> {
        let path = parent.join(uuid::Uuid::new_v4().simple().to_string());
        let made = fs::create_dir_all(parent).and_then(|()| fs::create_dir(&path));
        made.map_err(|source| CodebaseError::Io { step: "make a directory for the code base", source })?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a copy of a code base stays until the next start");
        }
    }
}

/// Removes what a server has left that was killed.
pub fn sweep(parent: &Path) -> io::Result<()> {
    match fs::remove_dir_all(parent) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
