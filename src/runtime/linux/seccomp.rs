//! The system calls that a sandbox may make: a list of what is allowed, like Docker's default, and less in places.
//!
//! Two filters are stacked, because one has a single answer for what it refuses. The second lets some calls seem not to
//! exist, `clone3` among them: its flags are behind a pointer that no filter can read, and every libc falls back to
//! `clone`.

use super::syscalls::{ALLOWED, ALLOWED_HERE};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::{collections::BTreeMap, io, ops::RangeInclusive};

/// All flags of `clone` that make namespaces. (`CLONE_NEWTIME` shares its bit with the exit signal there.)
const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32 as u64;

/// Puts characters into another program's terminal input.
const TIOCSTI: u64 = 0x5412;
/// The console's selection, which can do the same.
const TIOCLINUX: u64 = 0x541c;

/// Personalities that only change what `uname` and `mmap` say: Docker's list and "no address randomisation", for debuggers.
const PERSONALITIES: [u64; 6] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff, 0x4_0000];

/// System calls that came after the list, and will: they seem not to exist, so that a libc that tries a new one falls
/// back to what it did before.
const UNKNOWN: RangeInclusive<i64> = 457..=511;

/// Asynchronous I/O seems not to exist either. Whoever uses it falls back to ordinary reads and writes then.
const HIDDEN: [i64; 6] = [
    libc::SYS_clone3,
    libc::SYS_io_setup,
    libc::SYS_io_destroy,
    libc::SYS_io_submit,
    libc::SYS_io_cancel,
    libc::SYS_io_getevents,
];

/// The compiled filters, for any number of processes.
pub(super) struct Filters {
    allow: BpfProgram,
    hide: BpfProgram,
}

impl Filters {
    /// Compiles them; once for a zygote.
    pub(super) fn compile() -> io::Result<Self> {
        build().map_err(|error| io::Error::other(format!("the system call filter: {error}")))
    }

    /// Binds the calling process and all that it starts. It needs "no new privileges".
    pub(super) fn apply(&self) -> io::Result<()> {
        // Of two refusals the one of the filter that came last counts.
        for program in [&self.allow, &self.hide] {
            seccompiler::apply_filter(program).map_err(|error| match error {
                seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
                other => io::Error::other(other.to_string()),
            })?;
        }
        Ok(())
    }
}

fn build() -> Result<Filters, BackendError> {
    let architecture = || TargetArch::try_from(std::env::consts::ARCH);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|number| (*number, vec![])).collect();
    rules.insert(libc::SYS_clone, vec![when(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?]);
    // The kernel reads the lower half of the request only, and so do the rules.
    let not = |request| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request);
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![not(TIOCSTI)?, not(TIOCLINUX)?])?]);
    // The limits of others can be read, not set: the agent has the same user as the shells, and without descriptors it
    // would be of no use.
    let own = when(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 0)?;
    let read = when(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![own, read]);
    let personality = |persona| when(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, persona);
    rules.insert(libc::SYS_personality, PERSONALITIES.into_iter().map(personality).collect::<Result<_, _>>()?);
    // Sockets to the hypervisor lead out of every namespace; the kernel's crypto sockets only add attack surface.
    let family =
        |family: libc::c_int| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family as u64);
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![family(libc::AF_VSOCK)?, family(libc::AF_ALG)?])?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let allow = SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture()?)?.try_into()?;

    let unknown = UNKNOWN.filter(|number| !ALLOWED.contains(number));
    let hidden = unknown.chain(HIDDEN).map(|number| (number, vec![])).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let hide = SeccompFilter::new(hidden, SeccompAction::Allow, absent, architecture()?)?.try_into()?;
    Ok(Filters { allow, hide })
}

fn when(
    argument: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_fit_the_kernel() {
        let filters = Filters::compile().unwrap();
        assert!(filters.allow.len() < 4096 && !filters.hide.is_empty());
    }

    #[test]
    fn what_leads_out_of_a_sandbox_is_not_on_the_list() {
        for number in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_mount_setattr,
            libc::SYS_pivot_root,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_open_by_handle_at,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_clone3,
            libc::SYS_io_setup,
            libc::SYS_ioctl,
            libc::SYS_clone,
        ] {
            assert!(!ALLOWED.contains(&number) && !ALLOWED_HERE.contains(&number), "{number}");
        }
    }
}
