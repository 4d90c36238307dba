//! Images: looked up, pulled if they are not there, and checked.

mod layers;
mod pull;

pub(super) use pull::Pulls;

use super::layer::is_layer;
use crate::{
    image::tagged,
    runtime::{
        HeldImage, RuntimeError, Tell,
        docker::daemon::{Daemon, is_missing},
    },
};
use bollard::{models::ImageInspect, query_parameters::ListImagesOptions};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// An image that is there.
pub(super) struct Found {
    /// Its digest, which means this very image and no other.
    pub(super) id: String,
    /// Where its processes start.
    pub(super) working_directory: String,
    /// Whom its processes run as; empty for root.
    pub(super) user: String,
}

/// Pulls an image that is not there.
pub(super) async fn fetch(
    daemon: &Daemon,
    pulls: &Arc<Pulls>,
    reference: &str,
    tell: &Tell,
) -> Result<(), RuntimeError> {
    match look(daemon, reference).await? {
        Some(_) => Ok(()),
        None => pulls.pull(&tagged(reference), &**tell).await,
    }
}

/// Finds an image that was fetched.
pub(super) async fn find(daemon: &Daemon, reference: &str) -> Result<Found, RuntimeError> {
    match look(daemon, reference).await? {
        Some(image) => check(image),
        None => Err(RuntimeError::Image("it was there, and somebody removed it at once".to_owned())),
    }
}

/// The images that the daemon has, under each of their names.
pub(super) async fn held(daemon: &Daemon) -> Result<Vec<HeldImage>, RuntimeError> {
    let images = daemon.docker().list_images(None::<ListImagesOptions>).await;
    let images = images.map_err(|error| daemon.explain("list the images", error))?;
    let named = images.into_iter().flat_map(|image| {
        let create_time = u64::try_from(image.created).ok().map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let size_bytes = u64::try_from(image.size).unwrap_or_default();
        let names = image.repo_tags.into_iter().filter(|name| !name.contains("<none>") && !is_layer(name));
        names.map(move |name| HeldImage { name, size_bytes, create_time })
    });
    Ok(named.collect())
}

async fn look(daemon: &Daemon, reference: &str) -> Result<Option<ImageInspect>, RuntimeError> {
    match daemon.docker().inspect_image(reference).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(daemon.explain("look for the image", error)),
    }
}

fn check(image: ImageInspect) -> Result<Found, RuntimeError> {
    let (os, architecture) = (image.os.unwrap_or_default(), image.architecture.unwrap_or_default());
    let ours = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    // An image that does not say is taken at its word: none.
    let fits = |is: &str, wanted: &str| is.is_empty() || is == wanted;
    if !fits(&os, "linux") || !fits(&architecture, ours) {
        let message = format!("is for {os}/{architecture}, and this server can only run images for linux/{ours}");
        return Err(RuntimeError::NotSupported { field: "image", message });
    }
    let config = image.config.unwrap_or_default();
    let working_directory = config.working_dir.filter(|directory| !directory.is_empty());
    Ok(Found {
        id: image.id.unwrap_or_default(),
        working_directory: working_directory.unwrap_or_else(|| "/".to_owned()),
        user: config.user.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(os: &str, architecture: &str) -> ImageInspect {
        ImageInspect { os: Some(os.into()), architecture: Some(architecture.into()), ..ImageInspect::default() }
    }

    #[test]
    fn an_image_of_another_platform_is_refused_by_name() {
        let Err(error) = check(image("linux", "s390x")) else { panic!("accepted") };
        assert!(error.to_string().contains("linux/s390x"), "{error}");
        assert!(check(image("windows", "amd64")).is_err());
        assert_eq!(check(image("", "")).map(|found| found.working_directory).unwrap(), "/");
    }
}
