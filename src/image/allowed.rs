//! Which images clients may ask for, and what a name means.

use super::{Image, NamedImage, references};
use crate::error::{Error, Kind, Reason, Result};
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

/// What the operator allows as images.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Root file systems must lie in one of these. Canonical paths.
    pub roots: Vec<PathBuf>,
    /// Images of registries that may be named, `*` for any part of a name; all if there is none.
    pub references: Vec<String>,
    /// What the operator has given names, which clients use as image.
    pub named: BTreeMap<String, NamedImage>,
}

impl Allowed {
    /// What the operator has given this name.
    pub(super) fn named(&self, name: &str) -> Option<Image> {
        self.named.get(name).map(|named| named.image.clone())
    }

    /// The names that the operator has given, as part of an error; empty if there are none.
    fn names_there_are(&self) -> String {
        if self.named.is_empty() {
            return String::new();
        }
        let names: Vec<_> = self.named.keys().map(String::as_str).collect();
        format!("; this server has named {}", names.join(", "))
    }

    /// The image of this host that a client means by a name. Looks at the file system.
    pub(super) fn file(&self, name: &str) -> Result<Image> {
        if name.is_empty() || name == "host" {
            return Ok(Image::Host);
        }
        let path = Path::new(name);
        if !path.is_absolute() {
            let mut hint = "; images are \"host\" and absolute paths of root file system directories".to_owned();
            if references::is_wellformed(name) {
                hint += ", and this runtime has no images of registries: those are for --runtime docker";
            }
            hint += &self.names_there_are();
            return Err(Error::NotFound { kind: Kind::Image, id: name.to_owned(), hint: Some(hint) });
        }
        // Whether something exists is told only of what the operator allows.
        let found = path.canonicalize().ok();
        let climbs = found.is_none() && path.components().any(|part| part == Component::ParentDir);
        if climbs || !self.allows(found.as_deref().unwrap_or(path)) {
            let message = format!(
                "image {name:?} is not in a directory that the operator allows; start the server with --image-root DIR"
            );
            return Err(Error::WrongState { reason: Reason::NotAllowed, message });
        }
        match found {
            Some(directory) if directory.is_dir() => Ok(Image::Directory(directory)),
            _ => Err(Error::NotFound {
                kind: Kind::Image,
                id: name.to_owned(),
                hint: Some("; a root file system is a directory".to_owned()),
            }),
        }
    }

    /// The image of a registry that a client means by a name.
    pub(crate) fn reference(&self, name: &str) -> Result<Image> {
        if name.is_empty() {
            return Err(Error::invalid(
                "image",
                "is required on this server: the name of an image, as debian:bookworm",
            ));
        }
        if !references::is_wellformed(name) {
            let hint = "; images are names as debian:bookworm or registry.example.com/team/image@sha256:…".to_owned()
                + &self.names_there_are();
            return Err(Error::NotFound { kind: Kind::Image, id: name.to_owned(), hint: Some(hint) });
        }
        if !self.references.is_empty() && !self.references.iter().any(|pattern| references::fits(pattern, name)) {
            let message = format!(
                "image {name:?} is not one that the operator allows: {}; start the server with --allow-image NAME",
                self.references.join(", ")
            );
            return Err(Error::WrongState { reason: Reason::NotAllowed, message });
        }
        Ok(Image::Reference(name.to_owned()))
    }

    fn allows(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_confined_to_the_roots_whatever_the_path_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("allowed/one")).unwrap();
        std::fs::create_dir(root.join("secret")).unwrap();
        std::os::unix::fs::symlink(root.join("secret"), root.join("allowed/link")).unwrap();
        let allowed = Allowed { roots: vec![root.join("allowed")], ..Allowed::default() };
        let image = |path: &str| allowed.file(root.join(path).to_str().unwrap());

        assert_eq!(image("allowed/one").unwrap(), Image::Directory(root.join("allowed/one")));
        assert!(matches!(image("allowed/two"), Err(Error::NotFound { kind: Kind::Image, .. })));
        for outside in ["secret", "allowed/../secret", "allowed/link", "nothing", "allowed/../nothing"] {
            let error = image(outside).unwrap_err();
            assert!(matches!(error, Error::WrongState { reason: Reason::NotAllowed, .. }), "{outside}: {error}");
        }
        assert_eq!(allowed.file("").unwrap(), Image::Host);
        assert!(matches!(allowed.file("ubuntu:24.04"), Err(Error::NotFound { .. })));
    }
}
