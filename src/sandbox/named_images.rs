//! Images that the operator has given names, and what there is besides.

use super::{Sandboxes, policy::Policy, references};
use crate::{
    error::{Error, Reason, Result},
    runtime::{HeldImage, Image, ImageNames, RuntimeError},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::timeout;

/// How long the runtime may take to say which images it has.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Directories that are looked at below one root.
const MOST_DIRECTORIES: usize = 10_000;

/// An image that the operator has given a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// What it stands for.
    pub image: Image,
    /// What clients are told of it.
    pub description: String,
}

impl NamedImage {
    /// What `NAME=SOURCE` names, on a runtime that has such images. Looks at the file system.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn new(name: &str, source: &str, description: &str, names: ImageNames) -> std::result::Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return Err("the name of an image has 1 to 63 letters, digits and ._-".to_owned());
        }
        if name == "host" && source != "host" {
            return Err("the name host is taken: it stands for the host's own programs".to_owned());
        }
        let image = match names {
            ImageNames::References if references::is_wellformed(source) => Image::Reference(source.to_owned()),
            ImageNames::References => {
                return Err(format!("{source:?} is no name of an image in a registry, as debian:bookworm"));
            }
            ImageNames::Files if source == "host" => Image::Host,
            ImageNames::Files if source.starts_with('/') => {
                let found = Path::new(source).canonicalize().and_then(|path| path.read_dir().map(|_| path));
                Image::Directory(found.map_err(|error| format!("{source}: {error}"))?)
            }
            ImageNames::Files => {
                return Err(format!("{source:?} is neither host nor the path of a directory, which begins with /"));
            }
        };
        Ok(Self { image, description: description.to_owned() })
    }
}

/// An image that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// What clients call it.
    pub name: String,
    /// What the operator says of it.
    pub description: String,
    /// What it stands for.
    pub image: Image,
    /// Whether it is what a sandbox has whose request names none.
    pub is_default: bool,
    /// What the runtime knows of it.
    pub held: Option<HeldImage>,
}

impl Sandboxes {
    /// The images that are here and may be asked for, by name.
    pub async fn images(&self) -> Result<Vec<KnownImage>> {
        let mut known = BTreeMap::new();
        let mut add = |name: String, image: Image, description: &str, held: Option<HeldImage>| {
            let is_default = name == "host" && image == Image::Host;
            let description = description.to_owned();
            known.insert(name.clone(), KnownImage { name, description, image, is_default, held });
        };
        let policy = self.policy();
        let mut held = BTreeMap::new();
        match self.runtime().image_names() {
            ImageNames::Files => {
                let description = "The programs of the server's host, copy-on-write.";
                add("host".to_owned(), Image::Host, description, None);
                for root in &policy.image_roots {
                    let (at, what) = (root.clone(), format!("image root {}", root.display()));
                    for directory in self.look_below(Some(root.clone()), &what, move |_| Ok(below(&at))).await? {
                        if let Some(name) = directory.to_str().map(str::to_owned) {
                            add(name, Image::Directory(directory), "", None);
                        }
                    }
                }
            }
            ImageNames::References => {
                for image in self.held_images().await? {
                    held.insert(references::with_tag(&image.name), image.clone());
                    if policy.reference(&image.name).is_ok() {
                        add(image.name.clone(), Image::Reference(image.name.clone()), "", Some(image));
                    }
                }
            }
        }
        for (name, named) in &policy.named_images {
            let held = match &named.image {
                Image::Reference(reference) => held.get(&references::with_tag(reference)).cloned(),
                Image::Host | Image::Directory(_) => None,
            };
            add(name.clone(), named.image.clone(), &named.description, held);
        }
        Ok(known.into_values().collect())
    }

    /// What the runtime has. Whoever gives up leaves nothing behind that waits.
    async fn held_images(&self) -> Result<Vec<HeldImage>> {
        let held = timeout(LIST_TIMEOUT, self.runtime().images()).await;
        held.map_err(|_| {
            let message =
                format!("what has the images did not answer within {} s; try again later", LIST_TIMEOUT.as_secs());
            Error::Unavailable { reason: Reason::RuntimeUnreachable, message }
        })?
        .map_err(unreachable)
    }
}

impl Policy {
    /// What the operator has given this name.
    pub(super) fn named(&self, name: &str) -> Option<Image> {
        self.named_images.get(name).map(|named| named.image.clone())
    }

    /// The names that the operator has given, as part of an error; empty if there are none.
    pub(super) fn names_there_are(&self) -> String {
        if self.named_images.is_empty() {
            return String::new();
        }
        let names: Vec<_> = self.named_images.keys().map(String::as_str).collect();
        format!("; this server has named {}", names.join(", "))
    }
}

fn unreachable(error: RuntimeError) -> Error {
    match error {
        RuntimeError::Unavailable(message) => Error::Unavailable { reason: Reason::RuntimeUnreachable, message },
        other => Error::internal("list the images", other),
    }
}

/// The directories directly below one that may be root file systems. One that cannot be read has none.
fn below(root: &Path) -> Vec<PathBuf> {
    let entries = root.read_dir().into_iter().flatten().flatten().take(MOST_DIRECTORIES);
    let directories = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    directories.filter(|path| path.join("bin").exists() || path.join("usr").is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_what_the_runtime_has() {
        let new = |name: &str, source: &str, names| NamedImage::new(name, source, "", names).map(|named| named.image);
        assert_eq!(new("code-space", "host", ImageNames::Files), Ok(Image::Host));
        assert_eq!(new("tmp", "/tmp", ImageNames::Files).map(|image| matches!(image, Image::Directory(_))), Ok(true));
        assert_eq!(new("py", "python:3.12", ImageNames::References), Ok(Image::Reference("python:3.12".into())));
        for (name, source, names) in [
            ("", "host", ImageNames::Files),
            ("a/b", "host", ImageNames::Files),
            ("host", "/tmp", ImageNames::Files),
            ("x", "/no/such", ImageNames::Files),
            ("x", "python:3.12", ImageNames::Files),
            ("x", "/tmp", ImageNames::References),
        ] {
            assert!(new(name, source, names).is_err(), "{name}={source}");
        }
    }
}
