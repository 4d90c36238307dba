//! What `/proc` says about processes.
//!
//! The agent has one thread, and a sandbox may have thousands of processes. To ask for a process's group takes one short
//! system call; to read all that `/proc` says of it takes fifty times as long. So everything that looks often, while
//! commands run, reads no more than the few processes that it is about.

mod one;
mod turns;

use super::sys;
use crate::{
    proc::{Stat, children, group_of, pids},
    sync::lock,
};
use std::{
    collections::HashMap,
    io,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

pub(crate) use one::{Halt, halted, has_open, image, minds, reads_terminal, waits_for_terminal};
pub(super) use one::{Handling, handling, is_same_pipe, output, reads, tracer, waits_for_signals, writes_to};
pub(crate) use turns::Turns;

/// What the agent has started itself and that lives, holders for the most part: the only processes that should be its
/// children. Each has a number of its own, because process ids are used again.
static OWN: Mutex<Option<HashMap<i32, u64>>> = Mutex::new(None);

/// A copy of its parent that is older than this, in ticks of 10 ms, is a subshell and not about to execute something.
const YOUNG_TICKS: u64 = 50;

/// A program that is busy and older than this is past its start.
const STARTING_TICKS: u64 = 10;

/// Most processes of a group that are looked at one by one. A group that is larger is signalled as a whole, without
/// waiting until each of its members is ready for that.
const MOST_LOOKED_AT: usize = 256;

/// Flag of a process that is on its way out.
const EXITING: u64 = 4;

/// One process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) parent: i32,
    pub(super) group: i32,
    /// When it began, in ticks since the machine did.
    began: u64,
    /// Whether it has ended, or is about to, and takes no signal any more.
    pub(super) ended: bool,
    /// Whether it is stopped, by a signal or by a process that traces it.
    stopped: bool,
    /// Whether it waits for nothing but the disk.
    busy: bool,
    image: Option<Image>,
}

/// What a process executes: where the kernel has put its program and its stack, which is random for each execution. A
/// copy of a process shares it until it executes something itself, be it the same program.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image(u64, u64);

impl Process {
    /// Whether it waits for nothing but the disk.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    fn age(&self) -> u64 {
        Moment::now().0.saturating_sub(self.began)
    }
}

/// The agent has started a process of its own. Returns a number that no other has.
pub(crate) fn own_started(pid: i32) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Relaxed) + 1;
    lock(&OWN).get_or_insert_default().insert(pid, number);
    number
}

/// Whether this very holder lives.
pub(super) fn holder_lives(pid: i32, number: u64) -> bool {
    lock(&OWN).as_ref().and_then(|own| own.get(&pid)) == Some(&number)
}

/// Whether the agent has started this child itself.
pub(super) fn is_own(pid: i32) -> bool {
    lock(&OWN).as_ref().is_some_and(|own| own.contains_key(&pid))
}

/// Whether the agent has children that it has not started.
pub(super) fn has_strays() -> io::Result<bool> {
    let agent = rustix::process::getpid().as_raw_nonzero().get();
    if agent != 1 {
        // Not the init of a sandbox: nothing is ever left to it.
        return Ok(false);
    }
    let stray = |pid: i32| match process(pid) {
        Ok(Some(process)) => process.parent == agent && !process.ended && !is_own(pid),
        Ok(None) | Err(_) => false,
    };
    Ok(match children(agent)? {
        Some(children) => children.into_iter().any(stray),
        None => pids()?.any(stray),
    })
}

/// Reaps every child that has ended. The agent is the init of its sandbox: whatever has lost its parent is its child.
pub(crate) fn reap() {
    while let Ok(Some((pid, _))) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
        lock(&OWN).get_or_insert_default().remove(&pid.as_raw_nonzero().get());
    }
}

/// The members of a process group and the children of a shell, as they are at one time.
pub(crate) struct Processes {
    group: i32,
    shell: i32,
    /// A bounded number of them.
    found: HashMap<i32, Process>,
    /// What the parents of the young ones execute.
    parents: HashMap<i32, Option<Image>>,
}

impl Processes {
    /// Looks at them. What cannot be looked at is an error, and not an empty group.
    pub(crate) fn near(group: i32, shell: i32) -> io::Result<Self> {
        let children = children(shell)?;
        let mut near = Self { group, shell, found: HashMap::new(), parents: HashMap::new() };
        for pid in pids()? {
            let concerned = group_of(pid) == Some(group) || children.as_ref().is_none_or(|found| found.contains(&pid));
            let process = if concerned { process(pid)? } else { None };
            if let Some(process) = process.filter(|process| process.group == group || process.parent == shell) {
                near.found.insert(pid, process);
                if near.found.len() >= MOST_LOOKED_AT {
                    break;
                }
            }
        }
        for young in near.found.values().filter(|process| process.age() <= YOUNG_TICKS) {
            near.parents.entry(young.parent).or_insert_with(|| {
                let parent = near.found.get(&young.parent).copied();
                parent.or_else(|| process(young.parent).ok().flatten()).and_then(|parent| parent.image)
            });
        }
        Ok(near)
    }

    /// Members of the group that can take a signal.
    pub(crate) fn members(&self) -> impl Iterator<Item = i32> + '_ {
        self.found.iter().filter(|(_, process)| process.group == self.group && !process.ended).map(|(pid, _)| *pid)
    }

    /// Whether the group has several parts that the shell has started.
    pub(crate) fn is_pipeline(&self) -> bool {
        self.found.values().filter(|process| process.group == self.group && process.parent == self.shell).count() > 1
    }

    /// Members of the group that are young copies of their parents: programs just before they begin, and subshells.
    pub(crate) fn copies(&self) -> Vec<(i32, Image)> {
        self.members().filter_map(|pid| Some((pid, self.copied(pid)?))).collect()
    }

    /// Members of the group that have come since an earlier look, and execute what a member did then.
    pub(crate) fn new_copies(&self, earlier: &Self) -> Vec<(i32, Image)> {
        let known: Vec<Image> = earlier.members().filter_map(|pid| earlier.found.get(&pid)?.image).collect();
        let new = self.members().filter(|pid| !earlier.found.contains_key(pid));
        new.filter_map(|pid| Some((pid, self.found.get(&pid)?.image.filter(|image| known.contains(image))?))).collect()
    }

    /// All of them, and what they execute. `None` when one of them seems to be just starting.
    pub(crate) fn settled(&self) -> Option<Vec<(i32, Option<Image>)>> {
        let mut settled = Vec::new();
        for (pid, process) in self.found.iter().filter(|(_, process)| !process.ended) {
            if process.busy && process.age() <= STARTING_TICKS && *pid != self.shell {
                return None;
            }
            settled.push((*pid, process.image));
        }
        settled.sort_unstable_by_key(|(pid, _)| *pid);
        Some(settled)
    }

    fn copied(&self, pid: i32) -> Option<Image> {
        let process = self.found.get(&pid)?;
        let image = process.image.filter(|_| process.age() <= YOUNG_TICKS)?;
        (*self.parents.get(&process.parent)? == Some(image)).then_some(image)
    }
}

/// Members of a process group but for one process, those included that have ended and were not waited for yet.
pub(crate) fn group_members(group: i32, but: i32) -> Vec<i32> {
    let all = pids().into_iter().flatten();
    all.filter(|pid| *pid != but && group_of(*pid) == Some(group)).collect()
}

/// Signals a process group, but not one process, if that is in it.
pub(crate) fn signal_group_but(group: i32, signal: i32, but: i32) {
    if group != but {
        // In one step, which no fork escapes.
        return sys::kill_group(group, signal);
    }
    for pid in group_members(group, but) {
        sys::kill(pid, signal);
    }
}

/// Whether a process group has a member that can take a signal. One that cannot be looked at counts.
pub(crate) fn group_has_members(group: i32) -> bool {
    let takes_signals = |pid| process(pid).map_or(true, |process| process.is_some_and(|process| !process.ended));
    sys::group_lives(group)
        && pids().map_or(true, |mut all| all.any(|pid| group_of(pid) == Some(group) && takes_signals(pid)))
}

/// Whether a process is the one that its group is named after.
pub(crate) fn leads_its_group(pid: i32) -> bool {
    group_of(pid) == Some(pid)
}

/// Descendants that began at a time or later.
pub(crate) fn descendants_since(ancestor: i32, since: Moment) -> Vec<i32> {
    let mut by_parent: HashMap<i32, Vec<(i32, Process)>> = HashMap::new();
    for pid in pids().into_iter().flatten() {
        if let Ok(Some(process)) = process(pid) {
            by_parent.entry(process.parent).or_default().push((pid, process));
        }
    }
    // Each parent is taken out once, so this ends also when numbers that were used again make a circle.
    let (mut open, mut found) = (vec![ancestor], Vec::new());
    while let Some(parent) = open.pop() {
        for (pid, process) in by_parent.remove(&parent).unwrap_or_default() {
            open.push(pid);
            if process.began >= since.0 {
                found.push(pid);
            }
        }
    }
    found
}

/// A time as the kernel notes it of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub(super) u64);

impl Moment {
    /// The present one.
    pub(crate) fn now() -> Self {
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ticks = rustix::param::clock_ticks_per_second();
        Self(up.tv_sec as u64 * ticks + up.tv_nsec as u64 * ticks / 1_000_000_000)
    }
}

/// What there is to know of a process; `None` when there is none of this number.
pub(super) fn process(pid: i32) -> io::Result<Option<Process>> {
    let Some(stat) = Stat::of(pid)? else { return Ok(None) };
    seen(&stat).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn seen(stat: &Stat) -> Option<Process> {
    // The first thread may be gone before others.
    let ended = (matches!(stat.state, 'Z' | 'X') || stat.number(9)? & EXITING != 0) && stat.number(20)? <= 1;
    // Zeroes, or ones, when it is not ours to know.
    let image = Image(stat.number(26)?, stat.number(28)?);
    Some(Process {
        parent: stat.id(4)?,
        group: stat.id(5)?,
        began: stat.start_time()?,
        ended,
        stopped: matches!(stat.state, 'T' | 't'),
        busy: matches!(stat.state, 'R' | 'D'),
        image: (image.0 > 1 && image.1 > 1).then_some(image),
    })
}
