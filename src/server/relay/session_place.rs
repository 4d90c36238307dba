//! The place that a call takes among the sessions that its tenant may have.

use crate::{
    error::Error,
    rpc::transport::ONLY_KNOWN,
    sandbox::{Reached, Sandboxes, SessionPlace},
    tenant::Caller,
};
use tonic::{Code, Request, Status, metadata::MetadataValue};

/// What a call that may open a session has among those that its tenant may have.
pub(in crate::server) enum Place {
    /// It opens none.
    NotNeeded,
    /// A place, for as long as the call lasts.
    Taken { _place: SessionPlace },
    /// None, and what its caller is told unless it repeats an earlier call.
    Full(Error),
}

impl Place {
    /// A place for one more session. When there is none, a call that may be the repetition of an earlier one, or use what one has
    /// left, goes on without: only its agent knows.
    pub(in crate::server) async fn one_more(
        sandboxes: &Sandboxes,
        caller: &Caller,
        reached: &Reached,
        may_be_known: bool,
    ) -> Result<Self, Status> {
        match sandboxes.session_place(caller, reached).await {
            Ok(place) => Ok(Self::Taken { _place: place }),
            Err(full) if may_be_known => Ok(Self::Full(full)),
            Err(full) => Err(full.into()),
        }
    }

    /// A message to the agent, which is told whether it may open something.
    pub(in crate::server) fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Self::Full(_) = self {
            request.metadata_mut().insert(ONLY_KNOWN, MetadataValue::from_static("1"));
        }
        request
    }

    /// What the agent has answered, as it is for the caller.
    pub(in crate::server) fn judge<T>(self, answer: Result<T, Status>) -> Result<T, Status> {
        match (self, answer) {
            (Self::Full(full), Err(status)) if status.code() == Code::ResourceExhausted => Err(full.into()),
            (_, answer) => answer,
        }
    }
}
