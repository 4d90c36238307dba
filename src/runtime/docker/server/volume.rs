//! The volume of the agent's own files: in memory, and mounted twice in the sandbox's container.
//!
//! Programs see one mount of it, which is read-only. The agent opens the other one as it starts, and then the server removes the
//! directory that this one is on ([`super::handover`]). With that the kernel takes the mount away, and only the agent still
//! has a way to it.

use super::{Shared, labels};
use crate::runtime::{RuntimeError, docker::daemon::is_missing};
use bollard::{
    errors::Error as ApiError,
    models::{Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig},
    query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder},
};

/// Bytes for them: commands of 4 MiB in many sessions.
pub(super) const PRIVATE_BYTES: u64 = 64 << 20;

/// One mount of a sandbox's volume. The daemon makes it with the container.
pub(super) fn mounted(shared: &Shared, sandbox_id: &str, target: &str, read_only: bool) -> Mount {
    // The image's user may be anybody, and with mapped users the volume's root is nobody inside.
    let options = format!("size={PRIVATE_BYTES},mode=1777,nosuid,nodev,noexec");
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", &options)];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Mount {
        target: Some(target.to_owned()),
        source: Some(shared.home.name(sandbox_id)),
        typ: Some(MountType::VOLUME),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(labels::of(shared, labels::SANDBOX, sandbox_id)),
            driver_config: Some(MountVolumeOptionsDriverConfig {
                name: Some("local".to_owned()),
                options: Some(options.map(owned).into()),
            }),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Removes a sandbox's volume, whose container is gone. Where the daemon is elsewhere there is none.
pub(super) async fn remove(shared: &Shared, sandbox_id: &str) -> Result<(), RuntimeError> {
    if !shared.daemon.is_local() {
        return Ok(());
    }
    let name = shared.home.name(sandbox_id);
    let options = RemoveVolumeOptionsBuilder::new().force(true).build();
    match shared.daemon.docker().remove_volume(&name, Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        // An old daemon (20.10, say) that was restarted below running containers counts the uses of such a volume wrongly, and
        // holds on to its name until it is restarted once more. The memory is free; the name is removed later (`sandboxes`).
        Err(ApiError::DockerResponseServerError { message, .. }) => {
            tracing::warn!(sandbox_id, volume = name, message, "the volume's name stays until Docker is restarted");
            Ok(())
        }
        Err(error) => Err(shared.daemon.explain("remove the agent's files", error)),
    }
}

/// Sandboxes that have a volume.
pub(super) async fn sandboxes(shared: &Shared) -> Result<Vec<String>, RuntimeError> {
    let options = ListVolumesOptionsBuilder::new().filters(&labels::filter(shared, &[])).build();
    let answer = shared.daemon.docker().list_volumes(Some(options)).await;
    let volumes = answer.map_err(|error| shared.daemon.explain("list volumes", error))?.volumes.unwrap_or_default();
    let of = |volume: bollard::models::Volume| {
        let id = labels::id(shared, &volume.labels, labels::SANDBOX)?;
        (volume.name == shared.home.name(id)).then(|| id.to_owned())
    };
    Ok(volumes.into_iter().filter_map(of).collect())
}
