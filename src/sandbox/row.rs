//! Between a sandbox and its row in the store.

use super::{
    Condition, EndReason, State,
    entry::{About, Details},
    life::Event,
};
use crate::{
    error::{Error, Result},
    store::{SandboxRow, SandboxState, VolumeUse},
    volume::Mounted,
};

/// The row of a sandbox that is about to be made.
pub(super) fn new(about: &About, status: &Condition, server: &str) -> Result<SandboxRow> {
    Ok(SandboxRow {
        id: about.id.clone(),
        tenant: about.tenant.clone(),
        server: server.to_owned(),
        state: SandboxState::Starting,
        create_time: about.create_time,
        settings: status.settings.clone(),
        memory_bytes: about.details.limits.memory_bytes.unwrap_or(0),
        details: details(about)?,
        end_time: None,
    })
}

/// A volume of a sandbox, as the store keeps it.
pub(super) fn volume_use(sandbox_id: &str, volume: &Mounted) -> VolumeUse {
    VolumeUse {
        sandbox_id: sandbox_id.to_owned(),
        volume_id: volume.volume_id.clone(),
        path: volume.path.clone(),
        read_only: volume.read_only,
    }
}

/// What a row keeps of a sandbox's details.
pub(super) fn details(about: &About) -> Result<String> {
    serde_json::to_string(&about.details).map_err(|error| Error::internal("write a sandbox's details", error))
}

/// The details of a row.
pub(super) fn details_of(row: &SandboxRow) -> Result<Details> {
    serde_json::from_str(&row.details).map_err(|error| Error::internal("read a sandbox's details", error))
}

/// The sandbox of a row.
pub(super) fn read(row: SandboxRow) -> Result<(About, Condition)> {
    let details = details_of(&row)?;
    let (state, end_reason) = match row.state {
        SandboxState::Starting => (State::Starting, None),
        SandboxState::Running | SandboxState::Failed => (State::Running, None),
        SandboxState::Stopping => (State::Stopping, Some(EndReason::Deleted)),
        SandboxState::Deleted => (State::Gone, Some(EndReason::Deleted)),
    };
    let about = About { id: row.id, tenant: row.tenant, create_time: row.create_time, details };
    let mut status = Condition { end_reason, ..Condition::new(state, row.settings) };
    if row.state == SandboxState::Failed {
        status.apply(&Event::AgentEnded(None));
    }
    Ok((about, status))
}
