//! Looking whether an image's directory is there and allowed.
//!
//! Its file system may not answer: a network mount whose server is gone. A thread that looks there cannot be called back, so
//! only so many look below one root at a time, and nobody waits longer than [`LOOK_TIMEOUT`].

use super::{Sandboxes, policy::Policy};
use crate::{
    error::{Error, Reason, Result},
    runtime::{Image, ImageNames},
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

/// Who looks, by root; those that lie in none of them together.
pub(super) type Looks = Mutex<HashMap<Option<PathBuf>, Arc<Semaphore>>>;

impl Sandboxes {
    /// The image that a client means by a name.
    pub(super) async fn find_image(&self, name: &str) -> Result<Image> {
        if let Some(image) = self.policy().named(name) {
            return Ok(image);
        }
        if self.runtime().image_names() == ImageNames::References {
            return self.policy().reference(name);
        }
        if !name.starts_with('/') {
            return self.policy().file(name);
        }
        let root = self.policy().image_roots.iter().find(|root| Path::new(name).starts_with(root)).cloned();
        let path = name.to_owned();
        self.look_below(root, &format!("image {name:?}"), move |policy| policy.file(&path)).await
    }

    /// Looks below a root of images, on a thread of its own. `what` lies there, for the error of a file system that does not answer.
    pub(super) async fn look_below<T: Send + 'static>(
        &self,
        root: Option<PathBuf>,
        what: &str,
        look: impl FnOnce(&Policy) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let threads = {
            let mut looks = lock(self.looks());
            Arc::clone(looks.entry(root).or_insert_with(|| Arc::new(Semaphore::new(LOOKS_AT_ONCE))))
        };
        let this = self.clone();
        let looking = async move {
            let permit = threads.acquire_owned().await;
            // The thread keeps the permit: it is given back when the file system has answered, not when nobody waits any more.
            let looked = spawn_blocking(move || {
                let _permit = permit;
                look(this.policy())
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
