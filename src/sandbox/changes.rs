//! How a sandbox's files differ from its image.

use super::Sandboxes;
use crate::{
    error::{Error, Kind, Reason, Result},
    runtime::{Changes, ChangesWanted, RuntimeError},
    tenant::Caller,
};

impl Sandboxes {
    /// A page of what a sandbox has added, modified and removed.
    pub async fn changes(&self, caller: &Caller, sandbox_id: &str, wanted: ChangesWanted) -> Result<Changes> {
        let reached = self.reach(caller, Kind::Sandbox, sandbox_id).await?;
        let changes = self.runtime().changes(sandbox_id, wanted).await;
        changes.map_err(|error| match error {
            RuntimeError::Unavailable(message) => Error::Unavailable { reason: Reason::RuntimeUnreachable, message },
            RuntimeError::NotSupported { message, .. } => {
                Error::WrongState { reason: Reason::NotSupportedByHost, message }
            }
            RuntimeError::NotFound if reached.is_stopping() => Error::not_found(Kind::Sandbox, sandbox_id),
            error => Error::internal("look for a sandbox's changes", error),
        })
    }
}
