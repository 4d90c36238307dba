//! Which volumes a new sandbox is to have: by names that clients give, and as the runtime knows them.

use super::{Mounted, VolumeWanted, Volumes, binds::not_allowed};
use crate::{
    error::{Error, Kind, Reason, Result},
    runtime::{VolumeMount, VolumeSource},
    store::{VolumeRow, VolumeState},
    tenant::Caller,
};
use std::path::Path;

/// What all volumes of a sandbox may take where they are passed on to what makes it.
const MOST_BYTES: usize = 32 << 10;

impl Volumes {
    /// Finds the volumes that a sandbox asks for. Whether it can have them is decided when its row is inserted.
    pub async fn find_wanted(
        &self,
        caller: &Caller,
        wanted: &[VolumeWanted],
    ) -> Result<(Vec<Mounted>, Vec<VolumeMount>)> {
        let (mut mounted, mut mounts) = (Vec::<Mounted>::new(), Vec::new());
        for (number, wanted) in wanted.iter().enumerate() {
            let row = self.store().volume(caller.tenant(), &wanted.volume).await?;
            let row = row.filter(|row| row.state == VolumeState::Ready).ok_or_else(|| Error::NotFound {
                kind: Kind::Volume,
                id: wanted.volume.clone(),
                hint: Some(format!("; volumes[{number}].volume names it")),
            })?;
            if let Some(first) = mounted.iter().position(|mounted| mounted.volume_id == row.id) {
                let description = format!("is the volume of volumes[{first}] too; a sandbox has each volume once");
                return Err(Error::invalid(format!("volumes[{number}].volume"), description));
            }
            let source = self.source(&row)?;
            mounted.push(Mounted {
                volume_id: row.id,
                name: row.name,
                path: wanted.path.clone(),
                read_only: wanted.read_only,
            });
            mounts.push(VolumeMount { source, path: wanted.path.clone(), read_only: wanted.read_only });
        }
        let bytes = serde_json::to_vec(&mounts).map_err(|error| Error::internal("write the volumes", error))?.len();
        if bytes > MOST_BYTES {
            return Err(Error::invalid(
                "volumes",
                format!("their paths are too long: {bytes} bytes; may be {MOST_BYTES}"),
            ));
        }
        Ok((mounted, mounts))
    }

    /// Where the files of a volume are, if that is here.
    fn source(&self, row: &VolumeRow) -> Result<VolumeSource> {
        self.check_here(row)?;
        if row.host_directory.is_empty() {
            return Ok(VolumeSource::Own(row.id.clone()));
        }
        // The operator may have changed their mind.
        let (root, below) =
            self.binds().split(Path::new(&row.host_directory)).ok_or_else(|| not_allowed(&row.host_directory))?;
        Ok(VolumeSource::HostDirectory { root, below })
    }

    /// Fails if the files of a volume are somewhere else.
    pub(super) fn check_here(&self, row: &VolumeRow) -> Result<()> {
        let (reason, message) = if row.server != self.server() {
            (Reason::OnOtherServer, format!("volume \"{}\" is on another server: {}", row.name, row.server))
        } else if row.runtime != self.runtime().name() && row.host_directory.is_empty() {
            let message =
                format!("volume \"{}\" was made by the {} runtime, which has its files", row.name, row.runtime);
            (Reason::OnOtherRuntime, message)
        } else {
            return Ok(());
        };
        Err(Error::WrongState { reason, message })
    }
}
