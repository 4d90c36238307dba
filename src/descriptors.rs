//! How many files this process may have open, and what its children may.
//!
//! A server needs a descriptor for each sandbox and each connection, which is more than the soft limit of 1024 that
//! most systems give. That limit is low for the sake of programs that use `select`, so it is raised for this process
//! only: a child that is somebody else's program starts with the limit that we were given.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{io, os::unix::process::CommandExt, process::Command, sync::OnceLock};

/// Where there is no hard limit, this many are enough.
const ENOUGH: u64 = 1 << 20;

/// The limit that this process was started with.
static GIVEN: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one, and returns how many files this process may then have open.
pub(crate) fn raise() -> io::Result<u64> {
    let given = *GIVEN.get_or_init(|| getrlimit(Resource::Nofile));
    let most = given.maximum.unwrap_or(ENOUGH);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: given.maximum })?;
    Ok(most)
}

/// Has a child start with the limit that this process was started with.
pub(crate) fn as_given(command: &mut Command) {
    let Some(given) = GIVEN.get().copied() else { return };
    // SAFETY: between fork and exec only one system call is made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || Ok(setrlimit(Resource::Nofile, given)?));
    }
}
