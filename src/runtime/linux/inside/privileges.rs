//! What a sandbox's processes may not do, whoever they are inside: capabilities, limits, no new privileges.

use crate::runtime::linux::{
    failure::{Failure, Step},
    sys,
};
use rustix::{
    process::{Resource, Rlimit, Uid, getrlimit, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs, set_thread_res_uid,
    },
};
use std::io;

/// What root may do inside: Docker's choice without raw sockets, device nodes and the audit log. It only ever counts
/// within the sandbox's own user namespace.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETFCAP);

/// The most open files of the agent at first. Its programs get fewer (`agent/shell/limits.rs`).
const OPEN_FILES: u64 = 65_536;

/// Gives up all other capabilities. They are really gone with the next program, whose capabilities the kernel
/// computes from the bounding set; the inheritable and ambient sets of a new user namespace are empty.
pub(super) fn drop_capabilities() -> Result<(), Failure> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that the kernel does not know: there are no more.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).step("give up capabilities"),
        }
    }
    set_no_new_privs(true).step("refuse new privileges")
}

/// Makes another user the effective one of this thread, which belongs to root. It keeps all capabilities, and root's
/// access to files.
///
/// The kernel charges everything that a user namespace uses (inotify instances, message queues, pending signals, …) also
/// to the user who made the namespace. Made by root, all sandboxes would share one account with the host's own root, and
/// any of them could use it up.
pub(in crate::runtime::linux) fn act_as(user: u32) -> io::Result<()> {
    let CapabilitySets { permitted, inheritable, .. } = capabilities(None)?;
    set_thread_res_uid(Uid::ROOT, Uid::from_raw(user), Uid::ROOT)?;
    // Leaving root takes the effective capabilities away, and some kernels let nobody make a user namespace without.
    set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable })?;
    sys::access_files_as(Uid::ROOT);
    Ok(())
}

/// Undoes [`act_as`]. The kernel gives the effective capabilities back.
pub(in crate::runtime::linux) fn act_as_root() -> io::Result<()> {
    Ok(set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?)
}

/// Sets limits that a process inherits.
pub(super) fn set_limits() -> Result<(), Failure> {
    // Zero would not keep the kernel from running the host's crash handler outside; one byte does.
    setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) }).step("switch off core files")?;
    let hard = getrlimit(Resource::Nofile).maximum;
    let soft = Some(hard.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES)));
    setrlimit(Resource::Nofile, Rlimit { current: soft, maximum: hard }).step("set the limit of open files")
}
