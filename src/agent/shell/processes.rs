//! What `/proc` says about processes.

use super::sys;
use crate::sync::lock;
use std::{
    collections::{HashMap, HashSet},
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Holders that live: the only processes that should be children of the agent.
static HOLDERS: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

/// One process.
struct Process {
    parent: i32,
    group: i32,
    /// When it began, in ticks since the machine did.
    began: u64,
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

/// Descendants that began at a time or later.
pub(crate) fn descendants_since(ancestor: i32, since: Moment) -> Vec<i32> {
    let began = |pid: &i32| process(*pid).is_some_and(|process| process.began >= since.0);
    descendants(ancestor).into_iter().filter(began).collect()
}

/// A time as the kernel notes it of processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(u64);

impl Moment {
    /// The present one.
    pub(crate) fn now() -> Self {
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ticks = rustix::param::clock_ticks_per_second();
        Self(up.tv_sec as u64 * ticks + up.tv_nsec as u64 * ticks / 1_000_000_000)
    }
}

/// The program that a process executes.
pub(crate) fn program(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Members of a process group that execute what their parent does: subshells, and programs just before they begin.
pub(crate) fn copies_of_their_parents(group: i32) -> Vec<(i32, PathBuf)> {
    let members = all().into_iter().filter(|(_, process)| process.group == group);
    let copies = members.filter_map(|(pid, process)| {
        let own = program(pid)?;
        (program(process.parent)? == own).then_some((pid, own))
    });
    copies.collect()
}

/// Whether a process is blocked reading from a terminal: what it wants next is typed by somebody.
pub(crate) fn reads_terminal(pid: i32) -> bool {
    reads(pid).is_some_and(|file| file.as_os_str() == "/dev/tty" || file.starts_with("/dev/pts"))
}

/// What a process is blocked reading from, if it is.
pub(super) fn reads(pid: i32) -> Option<PathBuf> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = call.split(' ');
    let (number, descriptor) = (words.next()?, words.next()?);
    if number.parse() != Ok(libc::SYS_read) {
        return None;
    }
    let fd = u32::from_str_radix(descriptor.strip_prefix("0x")?, 16).ok()?;
    fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()
}

/// Whether what `/proc` calls an open file is the other end of this pipe.
pub(super) fn is_same_pipe(file: &Path, pipe: &OwnedFd) -> bool {
    let inode = rustix::fs::fstat(pipe).map(|stat| stat.st_ino);
    inode.is_ok_and(|inode| file.as_os_str() == format!("pipe:[{inode}]").as_str())
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
    let began = fields.nth(16)?.parse().ok()?;
    Some(Process { parent, group, began })
}
