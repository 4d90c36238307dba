//! Volumes that outlive sandboxes: named volumes of the daemon, with names of this data directory's own, and labels that say so.

use super::{Shared, labels};
use crate::runtime::{
    RuntimeError, VolumeMount, VolumeSource,
    common::is_safe_id,
    docker::{daemon::is_missing, work::failed},
};
use bollard::{
    errors::Error as ApiError,
    models::{
        Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType, MountVolumeOptions, Volume,
        VolumeCreateRequest,
    },
    query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder},
};
use std::{collections::HashMap, fs, io, path::PathBuf, time::Duration};
use tokio::{task::spawn_blocking, time::timeout};

/// How long a look at a directory of the host may take, and how many threads look at one time.
const LOOK: Duration = Duration::from_secs(10);
pub(super) const LOOKS: usize = 8;

fn name(shared: &Shared, volume_id: &str) -> String {
    shared.home.name(volume_id)
}

/// Makes one. A size is the driver's business, and the usual one can keep it on few file systems.
pub(super) async fn create(shared: &Shared, volume_id: &str, size_bytes: Option<u64>) -> Result<(), RuntimeError> {
    if !is_safe_id(volume_id) {
        return Err(failed("check the volume's id", io::ErrorKind::InvalidInput));
    }
    let request = VolumeCreateRequest {
        name: Some(name(shared, volume_id)),
        driver: Some("local".to_owned()),
        driver_opts: size_bytes.map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())])),
        labels: Some(labels::of(shared, labels::VOLUME, volume_id)),
        ..VolumeCreateRequest::default()
    };
    match shared.daemon.docker().create_volume(request).await {
        Ok(_) => Ok(()),
        Err(ApiError::DockerResponseServerError { message, .. }) if size_bytes.is_some() => {
            let message = format!("the Docker daemon cannot limit a volume here ({message}); leave it out");
            Err(RuntimeError::NotSupported { field: "size_bytes", message })
        }
        Err(error) => Err(shared.daemon.explain("make the volume", error)),
    }
}

/// Looks for one. A name alone proves nothing.
async fn find(shared: &Shared, volume_id: &str) -> Result<Option<Volume>, RuntimeError> {
    match shared.daemon.docker().inspect_volume(&name(shared, volume_id)).await {
        Ok(volume) => Ok(Some(volume).filter(|volume| of(shared, volume) == Some(volume_id))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(shared.daemon.explain("look for the volume", error)),
    }
}

/// The id of a volume that is ours.
fn of<'a>(shared: &Shared, volume: &'a Volume) -> Option<&'a str> {
    let id = labels::id(shared, &volume.labels, labels::VOLUME)?;
    (volume.name == name(shared, id)).then_some(id)
}

/// Removes one that no sandbox has.
pub(super) async fn remove(shared: &Shared, volume_id: &str) -> Result<(), RuntimeError> {
    if !is_safe_id(volume_id) || find(shared, volume_id).await?.is_none() {
        return Ok(());
    }
    let options = RemoveVolumeOptionsBuilder::new().build();
    match shared.daemon.docker().remove_volume(&name(shared, volume_id), Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(shared.daemon.explain("remove the volume", error)),
    }
}

/// All of them.
pub(super) async fn list(shared: &Shared) -> Result<Vec<String>, RuntimeError> {
    let options = ListVolumesOptionsBuilder::new().filters(&labels::filter(shared, &[labels::VOLUME])).build();
    let answer = shared.daemon.docker().list_volumes(Some(options)).await;
    let volumes = answer.map_err(|error| shared.daemon.explain("list volumes", error))?.volumes.unwrap_or_default();
    Ok(volumes.iter().filter_map(|volume| of(shared, volume)).map(str::to_owned).collect())
}

/// Fails if one is not there: the daemon would make an empty one in its place. And if a directory of the host is not the one any more that
/// was allowed, because a link has taken its place or that of one above it.
pub(super) async fn check(shared: &Shared, volumes: &[VolumeMount]) -> Result<(), RuntimeError> {
    for volume in volumes {
        let unusable = |why: &str| RuntimeError::Volume(format!("the volume for {} {why}", volume.path));
        match &volume.source {
            VolumeSource::Own(id) => {
                if find(shared, id).await?.is_none() {
                    return Err(unusable("is not there: the Docker daemon does not know it"));
                }
            }
            VolumeSource::HostDirectory { root, below } => {
                let (path, looks) = (place(root, below), shared.looks.clone());
                let looking = async move {
                    let permit = looks.acquire_owned().await;
                    // The thread keeps the permit: it is given back when the file system has answered.
                    let look = move || {
                        let _permit = permit;
                        fs::canonicalize(&path).is_ok_and(|found| found == path)
                    };
                    spawn_blocking(look).await.unwrap_or(false)
                };
                if !timeout(LOOK, looking).await.map_err(|_| unusable("does not answer"))? {
                    return Err(unusable("is not there: its directory was removed, or a link leads there"));
                }
            }
        }
    }
    Ok(())
}

/// One mount of a sandbox.
pub(super) fn mounted(shared: &Shared, volume: &VolumeMount) -> Mount {
    let common = Mount { target: Some(volume.path.clone()), read_only: Some(volume.read_only), ..Mount::default() };
    match &volume.source {
        VolumeSource::Own(id) => Mount {
            source: Some(name(shared, id)),
            typ: Some(MountType::VOLUME),
            // What the image has there is the image's.
            volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
            ..common
        },
        VolumeSource::HostDirectory { root, below } => Mount {
            source: Some(place(root, below).display().to_string()),
            typ: Some(MountType::BIND),
            bind_options: Some(MountBindOptions {
                propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
                ..MountBindOptions::default()
            }),
            ..common
        },
    }
}

fn place(root: &std::path::Path, below: &std::path::Path) -> PathBuf {
    // Joined with nothing, a path would end with a slash.
    if below.as_os_str().is_empty() { root.to_owned() } else { root.join(below) }
}
