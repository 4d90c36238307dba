//! Directories of the host that clients may make volumes of.

use crate::error::{Error, Reason, Result};
use std::path::{Component, Path, PathBuf};

/// Directories that the operator allows, each with all below it. Canonical paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binds(pub Vec<PathBuf>);

impl Binds {
    /// The canonical path of a directory that a client names. Looks at the file system.
    pub(super) fn find(&self, path: &str) -> Result<PathBuf> {
        let named = Path::new(path);
        let found = named.canonicalize().ok();
        // Whether something exists is told only of what the operator allows.
        let climbs = found.is_none() && named.components().any(|part| part == Component::ParentDir);
        if climbs || self.split(found.as_deref().unwrap_or(named)).is_none() {
            return Err(not_allowed(path));
        }
        match found {
            Some(directory) if directory.is_dir() => Ok(directory),
            _ => Err(Error::invalid("host_directory", format!("{path:?} is no directory of the server's host"))),
        }
    }

    /// The directory that allows a canonical path, and the way from there. Looks at no file.
    pub(super) fn split(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        self.0.iter().find_map(|root| Some((root.clone(), path.strip_prefix(root).ok()?.to_owned())))
    }
}

pub(super) fn not_allowed(path: &str) -> Error {
    let message = format!(
        "host_directory: {path:?} is not in a directory that the operator allows; start the server with --allow-bind DIR"
    );
    Error::WrongState { reason: Reason::NotAllowed, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_really_lies_below_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("allowed/one/two")).unwrap();
        std::fs::create_dir(top.join("allowed-not")).unwrap();
        std::fs::write(top.join("allowed/file"), "").unwrap();
        std::os::unix::fs::symlink(top.join("allowed-not"), top.join("allowed/link")).unwrap();
        std::os::unix::fs::symlink(top.join("allowed/one"), top.join("back")).unwrap();
        let binds = Binds(vec![top.join("allowed")]);
        let find = |path: &str| binds.find(top.join(path).to_str().unwrap());
        assert_eq!(find("allowed").unwrap(), top.join("allowed"));
        assert_eq!(find("back/two").unwrap(), top.join("allowed/one/two"));
        assert_eq!(binds.split(&top.join("allowed/one")), Some((top.join("allowed"), PathBuf::from("one"))));
        for outside in ["", "allowed-not", "allowed/link", "allowed/../allowed-not", "none", "allowed/none/../../x"] {
            let error = find(outside).unwrap_err();
            assert!(matches!(error, Error::WrongState { reason: Reason::NotAllowed, .. }), "{outside}: {error}");
        }
        for wrong in ["allowed/file", "allowed/none"] {
            assert!(matches!(find(wrong), Err(Error::Invalid(_))), "{wrong}");
        }
        assert!(Binds::default().find("/").is_err());
    }
}
