//! Work that may block, and the errors of what the runtime does by itself.

use crate::runtime::RuntimeError;
use std::io;

pub(super) fn failed(step: &str, source: impl Into<io::Error>) -> RuntimeError {
    RuntimeError::Failed { step: step.to_owned(), source: source.into() }
}

/// Runs file system work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    step: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, RuntimeError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|result| result).map_err(|error| failed(step, error))
}
