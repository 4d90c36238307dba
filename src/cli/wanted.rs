//! What of a directory is copied, in or out.

use prost_types::Timestamp;

/// What of a directory is copied.
#[derive(Debug, Default, Clone)]
pub(super) struct Wanted {
    /// As whom in the sandbox.
    pub(super) user: String,
    /// Patterns of what is left out.
    pub(super) exclude: Vec<String>,
    /// Whether what `.gitignore` files name comes too.
    pub(super) ignored: bool,
    /// Whether repositories come out too.
    pub(super) git: bool,
    /// Only what has changed since, by the sandbox's clock.
    pub(super) since: Option<Timestamp>,
}
