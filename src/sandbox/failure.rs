//! What an error of the runtime, met while a sandbox is made, is to a client.

use crate::{
    error::{Error, Kind, Reason},
    runtime::RuntimeError,
};
use std::io;

/// The error for whoever asked for a sandbox from this image.
pub(super) fn from_runtime(error: RuntimeError, image: &str) -> Error {
    match error {
        RuntimeError::Image(hint) => {
            Error::NotFound { kind: Kind::Image, id: image.to_owned(), hint: Some(format!("; {hint}")) }
        }
        RuntimeError::NotSupported { field, message } => {
            Error::WrongState { reason: Reason::NotSupportedByHost, message: format!("{field}: {message}") }
        }
        RuntimeError::Volume(message) => Error::WrongState { reason: Reason::VolumeUnusable, message },
        RuntimeError::Refused(message) => Error::WrongState { reason: Reason::NotSupportedByHost, message },
        RuntimeError::Unavailable(message) => Error::Unavailable { reason: Reason::RuntimeUnreachable, message },
        RuntimeError::Failed { source, step } if is_full(&source) => {
            tracing::error!(error = %source, step, "the disk of the sandboxes is full");
            Error::no_space("the server's sandboxes")
        }
        error @ (RuntimeError::NotFound | RuntimeError::Option(_) | RuntimeError::Failed { .. }) => {
            Error::internal("start a sandbox", error)
        }
    }
}

/// Whether a disk has no room left.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
