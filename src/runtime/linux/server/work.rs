//! Work that may block, and the errors of what the runtime does by itself.

use crate::runtime::{RuntimeError, linux::failure::Failure};
use std::io;

pub(super) fn no_references() -> RuntimeError {
    RuntimeError::Image("the linux runtime takes \"host\" and directories only".to_owned())
}

pub(super) fn failed(step: &str, source: io::Error) -> RuntimeError {
    RuntimeError::Failed { step: step.to_owned(), source }
}

pub(super) fn not_found_or(step: &str, error: io::Error) -> RuntimeError {
    if error.kind() == io::ErrorKind::NotFound { RuntimeError::NotFound } else { failed(step, error) }
}

/// Runs file system work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new("run blocking work", &io::Error::other(error))),
    }
}
