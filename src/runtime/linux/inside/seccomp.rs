//! The system calls that a sandbox may make: a list of what is allowed, like Docker's default, and less in places.
//!
//! Some calls seem not to exist, `clone3` among them: its flags are behind a pointer that no filter can read, and every
//! libc falls back to `clone`.

use super::syscalls::{ALLOWED, ALLOWED_HERE};
use crate::seccomp::{self, ALLOW, AND, ARCHITECTURE, Answer, JUMP_IF_EQUAL, KILL, LOAD, NUMBER, REFUSE, RETURN, step};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
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
const TIOCSTI: u32 = 0x5412;
/// The console's selection, which can do the same.
const TIOCLINUX: u32 = 0x541c;

/// The part of a request that says whose it is, and what that is for requests to btrfs. A volume of the pool is a subvolume, and who may
/// write there may make subvolumes and snapshots in it, which have no limit and nobody to remove them. It seems to know no requests.
const WHOSE: u32 = 0xff00;
const BTRFS: u32 = 0x9400;
/// Three of those became requests to any file system: to share the content of files.
const CLONES: [u32; 3] = [0x4004_9409, 0x4020_940d, 0xc018_9436];
/// Where a filter finds the request: the lower half of the second argument, which is all that the kernel reads.
const REQUEST: u32 = 24;

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

/// The number by which the kernel knows this architecture.
const HERE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

const NOT_PERMITTED: u32 = REFUSE | libc::EPERM as u32;
const ABSENT: u32 = REFUSE | libc::ENOSYS as u32;

/// What files may do with each other's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime::linux) enum Sharing {
    /// They may share it, which saves room and time.
    Allowed,
    /// They may not. The kernel looks at no limit when a file of one volume comes to share what is in another one: a small volume could
    /// be given what a large one holds, and keep it when the large one has been emptied for more.
    Refused,
}

/// The compiled filter, for any number of processes.
pub(in crate::runtime::linux) struct Filter(BpfProgram);

impl Filter {
    /// Compiles it; once for a zygote.
    pub(in crate::runtime::linux) fn compile(sharing: Sharing) -> io::Result<Self> {
        let failed = |error: &dyn std::fmt::Display| io::Error::other(format!("the system call filter: {error}"));
        let looked_at = looked_at(sharing).map_err(|error| failed(&error))?;
        build(looked_at, sharing).map_err(|error| failed(&error))
    }

    /// Binds the calling process and all that it starts. It needs "no new privileges".
    pub(super) fn apply(&self) -> io::Result<()> {
        seccomp::apply(&self.0)
    }
}

fn build(looked_at: Vec<(i64, BpfProgram)>, sharing: Sharing) -> Result<Filter, seccomp::TooManyRanges> {
    let mut answers = BTreeMap::new();
    let mut say = |number: i64, answer: Answer| drop(answers.insert(number as u32, answer));
    UNKNOWN.for_each(|number| say(number, Answer::Return(ABSENT)));
    ALLOWED.iter().chain(ALLOWED_HERE).for_each(|number| say(*number, Answer::Return(ALLOW)));
    looked_at.into_iter().for_each(|(number, program)| say(number, Answer::Look(program)));
    HIDDEN.into_iter().for_each(|number| say(number, Answer::Return(ABSENT)));
    if sharing == Sharing::Refused {
        // It shares where it can. Whoever uses it falls back to reading and writing.
        say(libc::SYS_copy_file_range, Answer::Return(ABSENT));
    }
    let mut program = vec![
        step(LOAD, ARCHITECTURE),
        sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: HERE },
        step(RETURN, KILL),
        step(LOAD, NUMBER),
    ];
    program.extend(seccomp::by_number(answers, NOT_PERMITTED)?);
    Ok(Filter(program))
}

/// The calls that are allowed by their arguments, each with its program.
fn looked_at(sharing: Sharing) -> Result<Vec<(i64, BpfProgram)>, BackendError> {
    let new_namespaces = when(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?;
    // The limits of others can be read, not set: the agent has the same user as the shells, and without descriptors it
    // would be of no use.
    let own = when(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 0)?;
    let read = when(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    let personality = |persona| when(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, persona);
    // Sockets to the hypervisor lead out of every namespace; the kernel's crypto sockets only add attack surface.
    let family =
        |family: libc::c_int| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family as u64);
    let rules = [
        (libc::SYS_clone, vec![new_namespaces]),
        (libc::SYS_prlimit64, vec![own, read]),
        (libc::SYS_personality, PERSONALITIES.into_iter().map(personality).collect::<Result<_, _>>()?),
        (libc::SYS_socket, vec![SeccompRule::new(vec![family(libc::AF_VSOCK)?, family(libc::AF_ALG)?])?]),
    ];
    let programs = rules.into_iter().map(|(number, rules)| Ok((number, alone(number, rules)?)));
    programs.chain([Ok((libc::SYS_ioctl, requests(sharing)))]).collect()
}

/// The program that looks at the requests of `ioctl`.
fn requests(sharing: Sharing) -> BpfProgram {
    let clones = match sharing {
        Sharing::Allowed => ALLOW,
        Sharing::Refused => REFUSE | libc::EOPNOTSUPP as u32,
    };
    let answer =
        |request, answer| [sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: request }, step(RETURN, answer)];
    let mut program = vec![step(LOAD, REQUEST)];
    program.extend([TIOCSTI, TIOCLINUX].into_iter().flat_map(|request| answer(request, NOT_PERMITTED)));
    program.extend(CLONES.into_iter().flat_map(|request| answer(request, clones)));
    program.push(step(AND, WHOSE));
    program.extend(answer(BTRFS, REFUSE | libc::ENOTTY as u32));
    program.push(step(RETURN, ALLOW));
    program
}

/// The program that allows one call by these rules.
fn alone(number: i64, rules: Vec<SeccompRule>) -> Result<BpfProgram, BackendError> {
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new([(number, rules)].into(), refuse, SeccompAction::Allow, architecture)?.try_into()
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
    fn each_call_gets_its_answer() {
        let Filter(program) = Filter::compile(Sharing::Allowed).unwrap();
        let decide = |number: i64, arguments| seccomp::decide(&program, HERE, number as u32, arguments);
        for number in (0..600).chain([i64::from(u32::MAX), 0x4000_0000]) {
            let looked_at =
                [libc::SYS_clone, libc::SYS_ioctl, libc::SYS_prlimit64, libc::SYS_personality, libc::SYS_socket];
            if looked_at.contains(&number) {
                continue;
            }
            let expected = if HIDDEN.contains(&number) {
                ABSENT
            } else if ALLOWED.contains(&number) || ALLOWED_HERE.contains(&number) {
                ALLOW
            } else if UNKNOWN.contains(&number) {
                ABSENT
            } else {
                NOT_PERMITTED
            };
            assert_eq!(decide(number, [0; 6]), expected, "{number}");
        }
        for (number, arguments, allowed) in [
            (libc::SYS_clone, [0x0120_0011, 0, 0], true),
            (libc::SYS_clone, [libc::CLONE_NEWUSER as u64 | 17, 0, 0], false),
            (libc::SYS_ioctl, [0, 0x5401, 0], true),
            (libc::SYS_ioctl, [0, TIOCSTI.into(), 0], false),
            (libc::SYS_ioctl, [0, u64::from(TIOCSTI) | 1 << 32, 0], false),
            (libc::SYS_ioctl, [0, TIOCLINUX.into(), 0], false),
            (libc::SYS_prlimit64, [0, 7, 0x7fff_0000], true),
            (libc::SYS_prlimit64, [1, 7, 0x7fff_0000], false),
            (libc::SYS_prlimit64, [1, 7, 0], true),
            (libc::SYS_personality, [0x4_0000, 0, 0], true),
            (libc::SYS_personality, [0x40_0000, 0, 0], false),
            (libc::SYS_socket, [libc::AF_INET as u64, 1, 0], true),
            (libc::SYS_socket, [libc::AF_VSOCK as u64, 1, 0], false),
            (libc::SYS_socket, [libc::AF_ALG as u64, 1, 0], false),
        ] {
            let [a, b, c] = arguments;
            let answer = decide(number, [a, b, c, 0, 0, 0]);
            assert_eq!(answer, if allowed { ALLOW } else { NOT_PERMITTED }, "{number} {arguments:x?}");
        }
        assert_eq!(seccomp::decide(&program, 0x4000_0003, libc::SYS_read as u32, [0; 6]), KILL);
    }

    #[test]
    fn btrfs_seems_to_know_no_requests_and_files_share_where_they_may() {
        let ioctl = libc::SYS_ioctl as u32;
        for (sharing, clone, copy) in
            [(Sharing::Allowed, ALLOW, ALLOW), (Sharing::Refused, REFUSE | libc::EOPNOTSUPP as u32, ABSENT)]
        {
            let Filter(program) = Filter::compile(sharing).unwrap();
            let ask = |request: u64| seccomp::decide(&program, HERE, ioctl, [0, request, 0, 0, 0, 0]);
            // A subvolume, a snapshot, a subvolume with groups, a search, and one that no kernel knows yet.
            for request in [0x5000_940e, 0x5000_9401, 0x5000_9418, 0xd000_9411, 0x94ff] {
                assert_eq!(ask(request), REFUSE | libc::ENOTTY as u32, "{request:x}");
                assert_eq!(ask(request | 7 << 32), REFUSE | libc::ENOTTY as u32, "{request:x}");
            }
            for request in CLONES {
                assert_eq!(ask(request.into()), clone, "{request:x}");
            }
            // Flags of files, and a terminal's window.
            for request in [0x8008_6601, 0x5413] {
                assert_eq!(ask(request), ALLOW, "{request:x}");
            }
            assert_eq!(seccomp::decide(&program, HERE, libc::SYS_copy_file_range as u32, [0; 6]), copy);
        }
    }

    #[test]
    fn the_filter_is_short() {
        // A sandbox waits while the kernel translates it.
        let Filter(program) = Filter::compile(Sharing::Refused).unwrap();
        assert!(program.len() < 400, "{} steps", program.len());
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
