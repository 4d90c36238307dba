//! What is in a directory of ours.

use crate::runtime::linux::failure::{Failure, Step};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The paths in a directory.
pub(in crate::runtime::linux) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = || fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    read().step_with(|| format!("list {}", directory.display()))
}
