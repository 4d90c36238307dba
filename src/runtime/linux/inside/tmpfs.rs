//! A file system in memory.

use rustix::mount::{MountFlags, mount};
use std::{
    ffi::{CStr, CString},
    io,
};

/// Mounts an empty one, whose files may take so many bytes.
pub(super) fn tmpfs(path: &CStr, flags: MountFlags, mode: u32, bytes: u64) -> io::Result<()> {
    // Zero would mean without a limit.
    let options = CString::new(format!("mode={mode:o},size={}", bytes.max(4096)))?;
    Ok(mount(c"tmpfs", path, c"tmpfs", flags, options.as_c_str())?)
}
