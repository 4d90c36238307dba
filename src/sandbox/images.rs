//! The images that there are: those that the operator has given names, and what the runtime has besides.

use super::Sandboxes;
use crate::{
    error::{Error, Reason, Result},
    image::{Image, ImageNames, with_tag},
    runtime::{HeldImage, RuntimeError},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;

/// How long the runtime may take to say which images it has.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

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
        let allowed = self.finder().allowed();
        let mut held = BTreeMap::new();
        match self.runtime().image_names() {
            ImageNames::Files => {
                let description = "The programs of the server's host, copy-on-write.";
                add("host".to_owned(), Image::Host, description, None);
                for root in &allowed.roots {
                    for directory in self.finder().directories(root).await? {
                        if let Some(name) = directory.to_str().map(str::to_owned) {
                            add(name, Image::Directory(directory), "", None);
                        }
                    }
                }
            }
            ImageNames::References => {
                for image in self.held_images().await? {
                    held.insert(with_tag(&image.name), image.clone());
                    if allowed.reference(&image.name).is_ok() {
                        add(image.name.clone(), Image::Reference(image.name.clone()), "", Some(image));
                    }
                }
            }
        }
        for (name, named) in &allowed.named {
            let held = match &named.image {
                Image::Reference(reference) => held.get(&with_tag(reference)).cloned(),
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

fn unreachable(error: RuntimeError) -> Error {
    match error {
        RuntimeError::Unavailable(message) => Error::Unavailable { reason: Reason::RuntimeUnreachable, message },
        other => Error::internal("list the images", other),
    }
}
