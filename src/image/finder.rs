//! Looking whether an image's directory is there and allowed.
//!
//! Its file system may not answer: a network mount whose server is gone. A thread that looks there cannot be called back, so
//! only so many look below one root at a time, and nobody waits longer than [`LOOK_TIMEOUT`].

use super::{Allowed, Image, ImageNames};
use crate::{
    error::{Error, Reason, Result},
    sync::lock,
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// How long a look may take, the wait for a thread included.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Threads that look below one root of images at a time. Below another root nobody waits for them.
const LOOKS_AT_ONCE: usize = 8;

/// Directories that are looked at below one root.
const MOST_DIRECTORIES: usize = 10_000;

/// Finds the images that clients name, and those below roots of images.
pub struct Finder {
    allowed: Arc<Allowed>,
    /// Who looks, by root; those that lie in none of them together.
    looks: Mutex<HashMap<Option<PathBuf>, Arc<Semaphore>>>,
}

impl Finder {
    /// Finds what is allowed.
    pub fn new(allowed: Allowed) -> Self {
        Self { allowed: Arc::new(allowed), looks: Mutex::default() }
    }

    /// What is allowed.
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// The image that a client means by a name, on a runtime that has such images.
    pub async fn find(&self, name: &str, names: ImageNames) -> Result<Image> {
        if let Some(image) = self.allowed.named(name) {
            return Ok(image);
        }
        if names == ImageNames::References {
            return self.allowed.reference(name);
        }
        if !name.starts_with('/') {
            return self.allowed.file(name);
        }
        let root = self.allowed.roots.iter().find(|root| Path::new(name).starts_with(root)).cloned();
        let path = name.to_owned();
        self.look_below(root, &format!("image {name:?}"), move |allowed| allowed.file(&path)).await
    }

    /// The directories directly below a root of images that may be root file systems.
    pub async fn directories(&self, root: &Path) -> Result<Vec<PathBuf>> {
        let (at, what) = (root.to_owned(), format!("image root {}", root.display()));
        self.look_below(Some(root.to_owned()), &what, move |_| Ok(below(&at))).await
    }

    /// Looks below a root of images, on a thread of its own. `what` lies there, for the error of a file system that does not answer.
    async fn look_below<T: Send + 'static>(
        &self,
        root: Option<PathBuf>,
        what: &str,
        look: impl FnOnce(&Allowed) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let threads = {
            let mut looks = lock(&self.looks);
            Arc::clone(looks.entry(root).or_insert_with(|| Arc::new(Semaphore::new(LOOKS_AT_ONCE))))
        };
        let allowed = self.allowed.clone();
        let looking = async move {
            let permit = threads.acquire_owned().await;
            // The thread keeps the permit: it is given back when the file system has answered, not when nobody waits any more.
            let looked = spawn_blocking(move || {
                let _permit = permit;
                look(&allowed)
            });
            looked.await.map_err(|error| Error::internal("look for an image", error))?
        };
        timeout(LOOK_TIMEOUT, looking).await.unwrap_or_else(|_| {
            let message = format!(
                "the file system of {what} did not answer within {} s; try again later",
                LOOK_TIMEOUT.as_secs()
            );
            Err(Error::Unavailable { reason: Reason::RuntimeUnreachable, message })
        })
    }
}

/// The directories directly below one that may be root file systems. One that cannot be read has none.
fn below(root: &Path) -> Vec<PathBuf> {
    let entries = root.read_dir().into_iter().flatten().flatten().take(MOST_DIRECTORIES);
    let directories = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    directories.filter(|path| path.join("bin").exists() || path.join("usr").is_dir()).collect()
}
