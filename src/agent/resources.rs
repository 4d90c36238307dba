//! What a sandbox lacks when nothing can be started in it, told with what helps.

use crate::error::{Error, Reason};
use std::io;

/// Whether something cannot be started because a limit of the sandbox is reached.
pub(super) fn is_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE))
}

/// The error that says which limit it is, and what helps.
pub(super) fn out_of_resources(what: &str, error: &io::Error) -> Error {
    let limit = match error.raw_os_error() {
        Some(libc::EAGAIN) => "as many processes and threads run in the sandbox as may (max_processes)",
        Some(libc::ENOMEM) => "the sandbox's memory is full (memory_bytes)",
        Some(libc::EMFILE | libc::ENFILE) => "too many files are open in the sandbox",
        _ => "the sandbox is out of resources",
    };
    let message = format!("{what}: {limit}; end something in the sandbox, or give it more resources ({error})");
    Error::exhausted(Reason::SandboxOutOfResources, message)
}
