//! Layers: the files that a sandbox has made, kept when it ends, so that other sandboxes can begin with them.

use std::time::SystemTime;

/// A layer that is there. It belongs to no sandbox, is never changed, and any number of sandboxes can be made from it, as long as
/// they have the image of the sandbox that it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name: characters that are safe in a file name.
    pub name: String,
    /// Bytes that it occupies. `None`: they could not be counted.
    pub bytes: Option<u64>,
    /// When a sandbox was made from it last, as far as the runtime knows, or when it was made.
    pub used: SystemTime,
}
