//! What a tenant may have in all, as the store keeps it and the domain asks for it.

/// What a tenant may have in all. `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Active sandboxes.
    pub sandboxes: Option<u64>,
    /// Sessions in all of them.
    pub sessions: Option<u64>,
    /// Memory limits of active sandboxes together, in bytes.
    pub memory_bytes: Option<u64>,
    /// Calls in a second, over a second.
    pub requests_per_second: Option<u64>,
    /// Volumes.
    pub volumes: Option<u64>,
}
