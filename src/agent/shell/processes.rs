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

/// A copy of its parent that is older than this, in ticks of 10 ms, is a subshell and not about to execute something.
const YOUNG_TICKS: u64 = 50;

/// A program that is busy and older than this is past its start.
const STARTING_TICKS: u64 = 10;

/// Flag of a process that is on its way out.
const EXITING: u64 = 4;

/// One process.
struct Process {
    parent: i32,
    group: i32,
    /// When it began, in ticks since the machine did.
    began: u64,
    /// Whether it has ended, or is about to, and takes no signal any more.
    ended: bool,
    /// Whether it waits for nothing but the disk.
    busy: bool,
    image: Option<Image>,
}

/// What a process executes: where the kernel has put its program and its stack, which is random for each execution. A
/// copy of a process shares it until it executes something itself, be it the same program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image(u64, u64);

impl Process {
    fn age(&self) -> u64 {
        Moment::now().0.saturating_sub(self.began)
    }
}

/// All processes, as they are at one time.
pub(crate) struct Processes(HashMap<i32, Process>);

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
    Processes::now().members(group).filter(|pid| *pid != but).collect()
}

impl Processes {
    /// Looks at them.
    pub(crate) fn now() -> Self {
        Self(all())
    }

    /// Members of a process group that can take a signal.
    pub(crate) fn members(&self, group: i32) -> impl Iterator<Item = i32> + '_ {
        self.0.iter().filter(move |(_, process)| process.group == group && !process.ended).map(|(pid, _)| *pid)
    }

    /// Whether a process group has several parts that a shell has started.
    pub(crate) fn is_pipeline(&self, group: i32, shell: i32) -> bool {
        self.0.values().filter(|process| process.group == group && process.parent == shell).count() > 1
    }

    /// Members of a process group that are young copies of their parents: programs just before they begin, and subshells.
    pub(crate) fn copies(&self, group: i32) -> Vec<(i32, Image)> {
        self.members(group).filter_map(|pid| Some((pid, self.copied(pid)?))).collect()
    }

    /// Members of a process group that have come since an earlier look, and execute what a member did then.
    pub(crate) fn new_copies(&self, group: i32, earlier: &Self) -> Vec<(i32, Image)> {
        let known: Vec<Image> = earlier.members(group).filter_map(|pid| earlier.0.get(&pid)?.image).collect();
        let new = self.members(group).filter(|pid| !earlier.0.contains_key(pid));
        new.filter_map(|pid| Some((pid, self.0.get(&pid)?.image.filter(|image| known.contains(image))?))).collect()
    }

    /// Members of a process group and children of a shell, and what they execute. `None` when one of them seems to be just
    /// starting.
    pub(crate) fn settled(&self, group: i32, shell: i32) -> Option<Vec<(i32, Option<Image>)>> {
        let concerned = |process: &Process| (process.group == group || process.parent == shell) && !process.ended;
        let mut settled = Vec::new();
        for (pid, process) in self.0.iter().filter(|(_, process)| concerned(process)) {
            if process.busy && process.age() <= STARTING_TICKS && *pid != shell {
                return None;
            }
            settled.push((*pid, process.image));
        }
        settled.sort_unstable_by_key(|(pid, _)| *pid);
        Some(settled)
    }

    fn copied(&self, pid: i32) -> Option<Image> {
        let process = self.0.get(&pid)?;
        let image = process.image.filter(|_| process.age() <= YOUNG_TICKS)?;
        (self.0.get(&process.parent)?.image == Some(image)).then_some(image)
    }
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

/// What a process executes; `Some(None)` while it is between two images, and when it may not be looked into.
pub(crate) fn image(pid: i32) -> Option<Option<Image>> {
    process(pid).filter(|process| !process.ended).map(|process| process.image)
}

/// Whether a process has a handler for a signal, or has the signal still before it.
pub(crate) fn minds(pid: i32, signal: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
    };
    (set("SigCgt:") | set("SigPnd:") | set("ShdPnd:")) >> (signal - 1) & 1 == 1
}

/// Whether a process is blocked reading from a terminal: what it wants next is typed by somebody.
pub(crate) fn reads_terminal(pid: i32) -> bool {
    reads(pid).is_some_and(|file| file.as_os_str() == "/dev/tty" || file.starts_with("/dev/pts"))
}

/// What a process has open as its standard output.
pub(super) fn output(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/fd/1")).ok()
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
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    // Numbered as in proc(5).
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // The first thread may be gone before others.
    let state = *fields.first()?;
    let ended = (matches!(state, "Z" | "X") || number(9)? & EXITING != 0) && number(20)? <= 1;
    // Zeroes, or ones, when it is not ours to know.
    let image = Image(number(26)?, number(28)?);
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        began: number(22)?,
        ended,
        busy: matches!(state, "R" | "D"),
        image: (image.0 > 1 && image.1 > 1).then_some(image),
    })
}
