//! What `/proc` says about processes.

use super::sys;
use crate::sync::lock;
use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::Mutex,
};

/// Holders that live: the only processes that should be children of the agent.
static HOLDERS: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

/// One process.
struct Process {
    parent: i32,
    group: i32,
}

/// A holder was started.
pub(super) fn holder_started(pid: i32) {
    lock(&HOLDERS).get_or_insert_default().insert(pid);
}

/// Reaps every child that has ended. The agent is the init of its sandbox: whatever has lost its parent is its child.
pub(crate) fn reap() {
    while let Ok(Some((pid, _))) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
        lock(&HOLDERS).get_or_insert_default().remove(&pid.as_raw_nonzero().get());
    }
}

/// All processes below `ancestor`, which is not among them.
pub(super) fn descendants(ancestor: i32) -> Vec<i32> {
    let processes = all();
    let below = |mut pid: i32| {
        while let Some(process) = processes.get(&pid) {
            if process.parent == ancestor {
                return true;
            }
            pid = process.parent;
        }
        false
    };
    processes.keys().copied().filter(|pid| below(*pid)).collect()
}

/// Members of a process group but for one process.
pub(crate) fn group_members(group: i32, but: i32) -> Vec<i32> {
    all().into_iter().filter(|(pid, process)| process.group == group && *pid != but).map(|(pid, _)| pid).collect()
}

/// Kills the agent's children that are no holders: they were left by a holder that somebody killed, and belong to no
/// session any more.
pub(super) fn kill_strays() {
    let agent = rustix::process::getpid().as_raw_nonzero().get();
    if agent != 1 {
        // Not the init of a sandbox: nothing is ever left to it.
        return;
    }
    let holders = lock(&HOLDERS).clone().unwrap_or_default();
    for (pid, process) in all() {
        if process.parent == agent && !holders.contains(&pid) {
            sys::kill(pid, libc::SIGKILL);
        }
    }
}

/// The process group of a process that lives.
pub(crate) fn group_of(pid: i32) -> Option<i32> {
    process(pid).map(|process| process.group)
}

/// Whether two processes execute the same program.
pub(crate) fn same_program(pid: i32, other: i32) -> bool {
    let program = |pid| fs::read_link(format!("/proc/{pid}/exe")).ok();
    program(pid).is_some_and(|this| program(other) == Some(this))
}

/// Whether a process is blocked reading from a terminal: what it wants next is typed by somebody.
pub(crate) fn reads_terminal(pid: i32) -> bool {
    let Ok(call) = fs::read_to_string(format!("/proc/{pid}/syscall")) else { return false };
    let mut words = call.split(' ');
    let (Some(number), Some(descriptor)) = (words.next(), words.next()) else { return false };
    if number.parse() != Ok(libc::SYS_read) {
        return false;
    }
    let Some(fd) = descriptor.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok()) else {
        return false;
    };
    fs::read_link(format!("/proc/{pid}/fd/{fd}"))
        .is_ok_and(|target| target.as_os_str() == "/dev/tty" || target.starts_with("/dev/pts"))
}

fn all() -> HashMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, process(pid)?))
        })
        .collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too: the fields begin after the last one.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Process { parent, group })
}
