//! Whether a database was changed, seen without asking it.

use std::{fs, os::unix::fs::MetadataExt, path::Path, path::PathBuf};

/// Changes when the database does. Two that are the same mean that it was most likely not changed in between; where
/// nothing can be seen they are always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<(u64, i64, i64)>);

impl Stamp {
    /// Of a database of which nothing can be seen.
    pub fn none() -> Self {
        Self(None)
    }
}

/// The file that each commit of SQLite is appended to.
#[derive(Debug, Clone)]
pub(super) struct Changes(PathBuf);

impl Changes {
    /// Those of the database in this file.
    pub(super) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self(path.into())
    }

    /// What it looks like now.
    pub(super) fn stamp(&self) -> Stamp {
        let seen = fs::metadata(&self.0).ok();
        Stamp(seen.map(|seen| (seen.size(), seen.mtime(), seen.mtime_nsec())))
    }
}
