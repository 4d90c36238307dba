//! What a sandbox sees as its root file system. The server prepares what all sandboxes have of the host; a starter mounts it, or, without
//! root, a sandbox's first process.

mod etc;
mod fingerprint;
pub(super) mod idmap;
pub(super) mod layer;
pub(super) mod skeleton;
pub(super) mod tree;
pub(super) mod volumes;
