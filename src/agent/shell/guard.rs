//! The filter of system calls that the agent puts on itself, and so on all that it starts, whatever the runtime has put on
//! the sandbox. It is the agent's own and not each program's, because it takes the kernel 0.2 ms to take a filter in; the
//! agent never makes a call that names itself by its number.
//!
//! Programs have the agent's user, so the kernel lets them signal it, take away its processor time and lower its limits.
//! Then nobody could end or reach their sandbox any more. The filter refuses just that: calls that name the agent, and
//! those that name everything of its user. All else is the runtime's to allow or refuse, but for what takes memory of the
//! whole host that no runtime's limit counts: asynchronous I/O (the host has one small number of requests for everybody;
//! programs fall back to ordinary reads and writes), and netlink sockets that no program in a sandbox has a use for.
//! Programs need netlink's route protocol, which tells them their network interfaces; they know kernels without the others.
//!
//! A descriptor cannot be looked into by a filter. What a program can do with one of the agent is harmless: it can send
//! signals through the directory `/proc/1`, but the kernel drops all that the first process of a sandbox has no handler
//! for, and the agent has one for SIGCHLD only; for all else the kernel asks for the right to trace the agent.

use crate::seccomp::{
    ALLOW, AND, ARCHITECTURE, Answer, JUMP, JUMP_IF_EQUAL, KILL, LOAD, NUMBER, REFUSE, RETURN, TooManyRanges,
    by_number, step,
};
use seccompiler::{BpfProgram, sock_filter};
use std::io;

/// A condition on an argument.
#[derive(Clone, Copy)]
enum Test {
    /// The lower half of the argument is this. The kernel takes process ids from the lower half only.
    Is(u32, u32),
    /// A half of the argument is not 0: the lower one (0) or the upper one (1).
    IsSet(u32, u32),
}
use Test::{Is, IsSet};

/// Numbers of the calls that are looked at.
struct Numbers {
    kill: u32,
    tkill: u32,
    tgkill: u32,
    /// More than one where a call has a number of its own for programs with short pointers (x32).
    rt_sigqueueinfo: &'static [u32],
    rt_tgsigqueueinfo: &'static [u32],
    pidfd_open: u32,
    sched_setparam: u32,
    sched_setscheduler: u32,
    sched_setaffinity: u32,
    sched_setattr: u32,
    setpriority: u32,
    ioprio_set: u32,
    prlimit64: u32,
    migrate_pages: u32,
    move_pages: &'static [u32],
    io_setup: &'static [u32],
    socket: u32,
}

#[cfg(target_arch = "x86_64")]
const NATIVE: (u32, Numbers) = (0xc000_003e, numbers(&[129, 524], &[297, 536], &[279, 533], &[206, 543]));
#[cfg(target_arch = "aarch64")]
const NATIVE: (u32, Numbers) = (0xc000_00b7, numbers(&[138], &[240], &[239], &[0]));

/// Programs of 32 bits, where the kernel runs them.
#[cfg(target_arch = "x86_64")]
const OTHER: Option<(u32, Numbers)> = Some((
    0x4000_0003,
    Numbers {
        kill: 37,
        tkill: 238,
        tgkill: 270,
        rt_sigqueueinfo: &[178],
        rt_tgsigqueueinfo: &[335],
        pidfd_open: 434,
        sched_setparam: 154,
        sched_setscheduler: 156,
        sched_setaffinity: 241,
        sched_setattr: 351,
        setpriority: 97,
        ioprio_set: 289,
        prlimit64: 340,
        migrate_pages: 294,
        move_pages: &[317],
        io_setup: &[245],
        socket: 359,
    },
));
#[cfg(target_arch = "aarch64")]
const OTHER: Option<(u32, Numbers)> = None;

const fn numbers(
    rt_sigqueueinfo: &'static [u32],
    rt_tgsigqueueinfo: &'static [u32],
    move_pages: &'static [u32],
    io_setup: &'static [u32],
) -> Numbers {
    Numbers {
        kill: libc::SYS_kill as u32,
        tkill: libc::SYS_tkill as u32,
        tgkill: libc::SYS_tgkill as u32,
        rt_sigqueueinfo,
        rt_tgsigqueueinfo,
        pidfd_open: libc::SYS_pidfd_open as u32,
        sched_setparam: libc::SYS_sched_setparam as u32,
        sched_setscheduler: libc::SYS_sched_setscheduler as u32,
        sched_setaffinity: libc::SYS_sched_setaffinity as u32,
        sched_setattr: libc::SYS_sched_setattr as u32,
        setpriority: libc::SYS_setpriority as u32,
        ioprio_set: libc::SYS_ioprio_set as u32,
        prlimit64: libc::SYS_prlimit64 as u32,
        migrate_pages: libc::SYS_migrate_pages as u32,
        move_pages,
        io_setup,
        socket: libc::SYS_socket as u32,
    }
}

/// Flag in the number of a call of an x32 program.
#[cfg(target_arch = "x86_64")]
const SHORT_POINTERS: u32 = 0x4000_0000;
#[cfg(not(target_arch = "x86_64"))]
const SHORT_POINTERS: u32 = 0;

/// Binds the agent and all that it starts from now on. It must have one thread only.
pub(crate) fn bind_this_process() -> io::Result<()> {
    let agent = rustix::process::getpid().as_raw_nonzero().get() as u32;
    let group = rustix::process::getpgrp().as_raw_nonzero().get() as u32;
    crate::seccomp::apply(&build(agent, group).map_err(io::Error::other)?)
}

/// What is refused: a call's number, the error, and the tests that must all hold.
fn refused(numbers: &Numbers, agent: u32, group: u32) -> Vec<(u32, libc::c_int, Vec<Vec<Test>>)> {
    let n = numbers;
    let about_the_agent = naming(n, agent, group).into_iter().map(|(number, tests)| (number, libc::EPERM, tests));
    // The route protocol is number 0.
    let netlink = vec![vec![Is(0, libc::AF_NETLINK as u32), IsSet(2, 0)]];
    let uncounted = n.io_setup.iter().map(|number| (*number, libc::ENOSYS, vec![vec![]]));
    about_the_agent.chain(uncounted).chain([(n.socket, libc::EPROTONOSUPPORT, netlink)]).collect()
}

/// Calls that name the agent.
fn naming(numbers: &Numbers, agent: u32, group: u32) -> Vec<(u32, Vec<Vec<Test>>)> {
    let n = numbers;
    // Signal 0 only asks whether there is such a process.
    let mut kill = vec![vec![Is(0, agent), IsSet(1, 0)]];
    if group != 1 {
        // -1 does not mean the group 1, but everybody except for the first process.
        kill.push(vec![Is(0, group.wrapping_neg())]);
    }
    // `which` is a process, a group, or all of a user's processes, counted from 0 or from 1.
    let share = |first: u32| {
        vec![vec![Is(0, first), Is(1, agent)], vec![Is(0, first + 1), Is(1, group)], vec![Is(0, first + 2)]]
    };
    let named = || vec![vec![Is(0, agent)]];
    let either = || vec![vec![Is(0, agent)], vec![Is(1, agent)]];
    let mut calls = vec![
        (n.kill, kill),
        (n.tkill, named()),
        (n.tgkill, either()),
        (n.pidfd_open, named()),
        (n.sched_setparam, named()),
        (n.sched_setscheduler, named()),
        (n.sched_setaffinity, named()),
        (n.sched_setattr, named()),
        (n.setpriority, share(0)),
        (n.ioprio_set, share(1)),
        // With new limits; to ask for the present ones is harmless.
        (n.prlimit64, vec![vec![Is(0, agent), IsSet(2, 0)], vec![Is(0, agent), IsSet(2, 1)]]),
        (n.migrate_pages, named()),
    ];
    calls.extend(n.rt_sigqueueinfo.iter().map(|number| (*number, named())));
    calls.extend(n.rt_tgsigqueueinfo.iter().map(|number| (*number, either())));
    calls.extend(n.move_pages.iter().map(|number| (*number, named())));
    calls
}

/// `seccompiler` makes filters for one architecture that end a program of any other, and images may have both.
fn build(agent: u32, group: u32) -> Result<BpfProgram, TooManyRanges> {
    let mut program = vec![step(LOAD, ARCHITECTURE)];
    for (architecture, numbers) in [Some(NATIVE), OTHER].into_iter().flatten() {
        let answers = refused(&numbers, agent, group).into_iter().map(|(number, error, alternatives)| {
            let mut call: BpfProgram = alternatives.iter().flat_map(|tests| alternative(tests, error)).collect();
            call.push(step(RETURN, ALLOW));
            (number, Answer::Look(call))
        });
        let mut calls = vec![step(LOAD, NUMBER), step(AND, !SHORT_POINTERS)];
        calls.extend(by_number(answers.collect(), ALLOW)?);
        // Over a jump without a condition, whose way may be longer than that of one with.
        program.push(sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: architecture });
        program.push(step(JUMP, calls.len() as u32));
        program.extend(calls);
    }
    // What the kernel runs besides is not known here.
    program.push(step(RETURN, KILL));
    Ok(program)
}

/// Refuses when all tests hold, else goes on after it.
fn alternative(tests: &[Test], error: libc::c_int) -> BpfProgram {
    let mut steps = BpfProgram::new();
    for (at, test) in tests.iter().enumerate() {
        // Two steps for each further test, and the last one that refuses.
        let out = (2 * (tests.len() - at - 1) + 1) as u8;
        let (offset, jt, jf, k) = match *test {
            Is(argument, value) => (16 + 8 * argument, 0, out, value),
            IsSet(argument, half) => (16 + 8 * argument + 4 * half, out, 0, 0),
        };
        steps.push(step(LOAD, offset));
        steps.push(sock_filter { code: JUMP_IF_EQUAL, jt, jf, k });
    }
    steps.push(step(RETURN, REFUSE | error as u32));
    steps
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn decide(program: &BpfProgram, architecture: u32, number: u32, [a, b, c]: [u64; 3]) -> u32 {
        crate::seccomp::decide(program, architecture, number, [a, b, c, 0, 0, 0])
    }

    #[test]
    fn what_names_the_agent_is_refused_and_nothing_else() {
        const NEW: u64 = 0x7fff_0000_0000;
        let any = 5;
        for (agent, group) in [(1, 1), (70, 69)] {
            let program = build(agent, group).unwrap();
            let (a, g) = (u64::from(agent), u64::from(group));
            for (architecture, n) in [Some(NATIVE), OTHER].into_iter().flatten() {
                const DENY: u32 = REFUSE | libc::EPERM as u32;
                let refuses = |number, arguments| match decide(&program, architecture, number, arguments) {
                    DENY => true,
                    ALLOW => false,
                    other => panic!("{other:#x}"),
                };
                assert!(refuses(n.kill, [a, 9, 0]) && refuses(n.kill, [a | 7 << 32, 9, 0]));
                assert!(!refuses(n.kill, [a, 0, 0]) && !refuses(n.kill, [any, 9, 0]) && !refuses(n.kill, [0, 9, 0]));
                let all = u64::from(u32::MAX);
                assert!(!refuses(n.kill, [all, 9, 0]), "all but the first process");
                assert_eq!(refuses(n.kill, [u64::from(group.wrapping_neg()), 9, 0]), group != 1);
                for number in [n.tkill, n.pidfd_open, n.sched_setparam, n.sched_setscheduler, n.sched_setaffinity] {
                    assert!(refuses(number, [a, 0, 0]) && !refuses(number, [0, a, a]) && !refuses(number, [any, 0, 0]));
                }
                for number in
                    [n.rt_sigqueueinfo, n.move_pages].concat().into_iter().chain([n.sched_setattr, n.migrate_pages])
                {
                    assert!(refuses(number, [a, 0, 0]) && !refuses(number, [any, a, a]));
                }
                for number in n.rt_tgsigqueueinfo.iter().chain([&n.tgkill]) {
                    assert!(
                        refuses(*number, [a, any, 9])
                            && refuses(*number, [any, a, 9])
                            && !refuses(*number, [any, any, a])
                    );
                }
                assert!(refuses(n.prlimit64, [a, 7, NEW]) && refuses(n.prlimit64, [a, 7, 16]));
                assert!(!refuses(n.prlimit64, [a, 7, 0]) && !refuses(n.prlimit64, [0, 7, NEW]));
                for (number, first) in [(n.setpriority, 0), (n.ioprio_set, 1)] {
                    assert!(refuses(number, [first, a, 0]) && refuses(number, [first + 1, g, 0]));
                    assert!(refuses(number, [first + 2, 0, 0]) && refuses(number, [first + 2, 1000, 0]));
                    assert!(
                        !refuses(number, [first, 0, 0])
                            && !refuses(number, [first + 1, 0, 0])
                            && !refuses(number, [first, any, 0])
                    );
                }
                assert!(!refuses(3, [a, a, a]) && !refuses(5, [a, a, a]));
                for number in n.io_setup {
                    assert_eq!(decide(&program, architecture, *number, [1, 1, 1]), REFUSE | libc::ENOSYS as u32);
                }
                let netlink = |protocol| decide(&program, architecture, n.socket, [16, 3, protocol]);
                assert_eq!(netlink(0), ALLOW);
                assert_eq!(netlink(9), REFUSE | libc::EPROTONOSUPPORT as u32);
                assert!(!refuses(n.socket, [2, 1, 6]));
            }
            #[cfg(target_arch = "x86_64")]
            assert_eq!(decide(&program, NATIVE.0, NATIVE.1.kill | SHORT_POINTERS, [a, 9, 0]), REFUSE | 1);
            assert_eq!(decide(&program, 0x1234, 0, [0; 3]), KILL);
        }
    }
}
