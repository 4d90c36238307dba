//! Looks at a data directory from outside, whether a server uses it or not. They change nothing.

use crate::runtime::{
    Pending, RuntimeError, Storage,
    linux::{failure::Step, layout::Layout, storage::pool},
};
use std::path::Path;

/// Where the files of a data directory's sandboxes are, as its last server has said. `None` if there was none.
///
/// # Errors
/// If it cannot be looked at.
pub fn storage_of(data_dir: &Path) -> Result<Option<Storage>, RuntimeError> {
    let layout = Layout::new(data_dir.to_owned());
    Ok(pool::noted(&layout).step_with(|| format!("read what was noted in {}", data_dir.display()))?)
}

/// Where the first server of a data directory would have its sandboxes' files, with root.
///
/// # Errors
/// If it cannot be looked at.
pub fn storage_at_first(data_dir: &Path) -> Result<Storage, RuntimeError> {
    Ok(pool::which(&Layout::new(data_dir.to_owned()))?.storage)
}

/// What of a data directory's deleted sandboxes and volumes is still there.
///
/// # Errors
/// If it cannot be looked at.
pub fn pending_in(data_dir: &Path) -> Result<Pending, RuntimeError> {
    Ok(pool::pending(&Layout::new(data_dir.to_owned()))?)
}
