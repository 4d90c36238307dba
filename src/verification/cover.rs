//! What of a workspace is the sample's and not the agent's: paths that it protects, and files that it brings itself.

use super::{Carried, Failure, FailureReason};
use crate::archive::Patterns;
use std::{collections::HashSet, fs, io, os::unix::ffi::OsStrExt, path::Path};

/// Files that a sample may bring.
const MOST_FILES: usize = 100_000;

/// Paths relative to the workspace.
#[derive(Debug)]
pub(super) struct Cover {
    protected: Patterns,
    /// Files that the sample brings.
    brought: HashSet<Vec<u8>>,
    /// Directories in which something of the sample's is.
    above: HashSet<Vec<u8>>,
}

impl Cover {
    /// With the patterns of a sample; `there` are the paths of its own that they name, and `brought` the files that it brings.
    pub(super) fn new(
        patterns: &[String],
        there: impl IntoIterator<Item = Vec<u8>>,
        brought: HashSet<Vec<u8>>,
    ) -> Result<Self, String> {
        let protected = Patterns::new(patterns.iter().map(String::as_str))?;
        let mut above = HashSet::new();
        for path in there.into_iter().chain(brought.iter().cloned()) {
            for parent in ancestors(&path) {
                above.insert(parent.to_vec());
            }
        }
        Ok(Self { protected, brought, above })
    }

    #[cfg(test)]
    pub(super) fn of(patterns: &[&str], there: &[&str], brought: &[&str]) -> Self {
        let own = |paths: &[&str]| paths.iter().map(|path| path.as_bytes().to_vec()).collect::<HashSet<_>>();
        let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Self::new(&patterns, own(there), own(brought)).unwrap()
    }

    /// Whether what is at a path is the sample's.
    pub(super) fn covers(&self, path: &[u8], is_directory: bool) -> bool {
        let is_brought = self.brought.contains(path) || ancestors(path).any(|above| self.brought.contains(above));
        // The nearest pattern counts, as in a `.gitignore`: what lies in a directory that is protected is protected.
        let protected = self.protected.says(path, is_directory);
        is_brought
            || protected
                .unwrap_or_else(|| ancestors(path).find_map(|above| self.protected.says(above, true)).unwrap_or(false))
    }

    /// Whether something of the sample's is below a path.
    pub(super) fn is_above(&self, path: &[u8]) -> bool {
        self.above.contains(path)
    }
}

/// The directories that a path is in, the nearest first.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

/// The files below a directory of the operator's, by paths relative to it.
pub(super) fn files_of(directory: &Path) -> Carried<HashSet<Vec<u8>>> {
    let mut found = HashSet::new();
    let walked = walk(directory, directory, &mut found);
    walked.map_err(|error| {
        let message = format!("the sample's files for verification cannot be read: {error}");
        Failure::new(FailureReason::SampleChanged, message)
    })?;
    Ok(found)
}

fn walk(top: &Path, directory: &Path, found: &mut HashSet<Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(top, &entry.path(), found)?;
        } else if let Ok(path) = entry.path().strip_prefix(top) {
            found.insert(path.as_os_str().as_bytes().to_vec());
        }
        if found.len() > MOST_FILES {
            return Err(io::Error::other(format!("there are more than {MOST_FILES}")));
        }
    }
    Ok(())
}
