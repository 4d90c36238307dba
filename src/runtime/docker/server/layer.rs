//! Layers as images: what a container has changed, committed by the daemon. They have names of this data directory's own, and a label
//! that says so.

use super::{Shared, end, labels};
use crate::runtime::{
    Layer, RuntimeError,
    common::is_safe_id,
    docker::{daemon::is_missing, work::failed},
};
use bollard::{
    errors::Error as ApiError,
    models::ContainerConfig,
    query_parameters::{
        CommitContainerOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What the names of all layers begin with.
const PREFIX: &str = "sandshell-layer-";

/// Whether an image is a layer, of this data directory or another one: nobody would ask for it by its name.
pub(super) fn is_layer(image: &str) -> bool {
    image.starts_with(PREFIX)
}

/// The repository that all layers of this data directory are in.
fn repository(shared: &Shared) -> String {
    format!("{PREFIX}{}", shared.home.instance())
}

/// The name of the image that a layer is.
pub(super) fn reference(shared: &Shared, layer: &str) -> String {
    format!("{}:{layer}", repository(shared))
}

/// Ends a sandbox and keeps what it has changed.
pub(super) async fn freeze(shared: &Shared, sandbox_id: &str, layer: &str) -> Result<(), RuntimeError> {
    if !is_safe_id(layer) {
        return Err(failed("check the layer's name", io::ErrorKind::InvalidInput));
    }
    let (daemon, docker) = (&shared.daemon, shared.daemon.docker());
    let container = end::find(shared, sandbox_id).await?.ok_or(RuntimeError::NotFound)?;
    let id = container.id.unwrap_or_default();
    let stopped = docker.stop_container(&id, Some(StopContainerOptionsBuilder::new().t(0).build())).await;
    let now =
        docker.inspect_container(&id, None).await.map_err(|error| daemon.explain("look at the container", error))?;
    if now.state.and_then(|state| state.running) != Some(false) {
        stopped.map_err(|error| daemon.explain("stop the container", error))?;
        return Err(failed("stop the container", io::ErrorKind::TimedOut));
    }
    let options = CommitContainerOptionsBuilder::new()
        .container(&id)
        .repo(&repository(shared))
        .tag(layer)
        .pause(false)
        .changes(&format!("LABEL {}={layer}", labels::LAYER))
        .build();
    let committed = docker.commit_container(options, ContainerConfig::default()).await;
    committed.map_err(|error| daemon.explain("commit the container", error))?;
    // The layer is there. What is left of the sandbox is the business of whoever owns it.
    if let Err(error) = end::remove(shared, sandbox_id).await {
        tracing::warn!(sandbox_id, %error, "a sandbox whose files were kept could not be removed");
    }
    Ok(())
}

/// Whether there is such a layer.
pub(super) async fn is_there(shared: &Shared, layer: &str) -> Result<bool, RuntimeError> {
    if !is_safe_id(layer) {
        return Ok(false);
    }
    match shared.daemon.docker().inspect_image(&reference(shared, layer)).await {
        Ok(_) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(shared.daemon.explain("look for the layer", error)),
    }
}

/// All layers. The daemon does not know when they were used.
pub(super) async fn list(shared: &Shared) -> Result<Vec<Layer>, RuntimeError> {
    let docker = shared.daemon.docker();
    let options = ListImagesOptionsBuilder::new().filters(&labels::filter(shared, &[labels::LAYER])).build();
    let images = docker.list_images(Some(options)).await;
    let images = images.map_err(|error| shared.daemon.explain("list images", error))?;
    let mut layers = Vec::new();
    for image in images {
        let Some(name) = image.labels.get(labels::LAYER) else { continue };
        // An image that somebody has made of a layer has its labels too.
        if !image.repo_tags.contains(&reference(shared, name)) {
            continue;
        }
        let made = Duration::from_secs(u64::try_from(image.created).unwrap_or_default());
        let used = UNIX_EPOCH.checked_add(made).unwrap_or_else(SystemTime::now);
        layers.push(Layer { name: name.clone(), bytes: size(shared, &image.id).await, used });
    }
    Ok(layers)
}

/// Bytes of what was committed, without those of the image below.
async fn size(shared: &Shared, image: &str) -> Option<u64> {
    let history = shared.daemon.docker().image_history(image).await.ok()?;
    history.first().and_then(|last| u64::try_from(last.size).ok())
}

/// Removes a layer, unless a container was made from it.
pub(super) async fn remove(shared: &Shared, layer: &str) -> Result<bool, RuntimeError> {
    if !is_safe_id(layer) {
        return Ok(true);
    }
    let options = RemoveImageOptionsBuilder::new().noprune(true).build();
    match shared.daemon.docker().remove_image(&reference(shared, layer), Some(options), None).await {
        Ok(_) => Ok(true),
        Err(error) if is_missing(&error) => Ok(true),
        Err(ApiError::DockerResponseServerError { status_code: 409, .. }) => Ok(false),
        Err(error) => Err(shared.daemon.explain("remove the layer", error)),
    }
}
