//! One look at all that descends from a holder, which signals each process as soon as it is found.
//!
//! A look takes time, and while a program forks as fast as it can the agent gets a small share of the processors. So
//! nothing waits for the whole picture: whoever is found is signalled at once, and with it all of its process group, which
//! the kernel does in one step that no fork escapes. (A group never reaches beyond the session: it lies within what one
//! process has started after `setsid`, and the holder was the first to call that.)

use super::{
    processes::{self, Process},
    sys,
};
use crate::proc;
use std::{
    collections::{HashMap, HashSet},
    io,
};

/// Processes that are looked at before other tasks of the agent have their turn.
const AT_ONE_TIME: usize = 64;

/// Looks that signal what descends from a holder, and from nobody any more because somebody has killed its holder.
pub(super) struct Sweep {
    holder: Option<i32>,
    agent: i32,
    /// Process groups that are never signalled as a whole.
    spared: [Option<i32>; 2],
    /// Who was found by the last look.
    known: HashSet<i32>,
}

/// What a look has found.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Found {
    /// Processes that have not ended. Those that could not be looked at count.
    pub(super) alive: usize,
    /// Those of them that the look before has not found.
    pub(super) new: usize,
}

/// One look under way.
struct Look<'a> {
    sweep: &'a Sweep,
    signal: i32,
    ours: HashSet<i32>,
    groups: HashSet<i32>,
    found: Found,
}

impl Sweep {
    /// Of what descends from this holder, and of strays.
    pub(super) fn below(holder: Option<i32>) -> Self {
        let own_group = rustix::process::getpgrp().as_raw_nonzero().get();
        let agent = rustix::process::getpid().as_raw_nonzero().get();
        Self { holder, agent, spared: [holder, Some(own_group)], known: HashSet::new() }
    }

    /// Looks once, and signals all.
    pub(super) async fn signal(&mut self, signal: i32) -> io::Result<Found> {
        let mut look =
            Look { sweep: self, signal, ours: HashSet::new(), groups: HashSet::new(), found: Found::default() };
        let mut others: HashMap<i32, Vec<(i32, Process)>> = HashMap::new();
        for (at, pid) in proc::pids()?.enumerate() {
            if at % AT_ONE_TIME == AT_ONE_TIME - 1 {
                tokio::task::yield_now().await;
            }
            match processes::process(pid) {
                Ok(Some(process)) if look.concerns(pid, &process) => look.strike(pid, &process),
                Ok(Some(process)) => others.entry(process.parent).or_default().push((pid, process)),
                Ok(None) => {}
                Err(_) => look.found.alive += 1,
            }
        }
        // Numbers begin again from below: a child may have come before its parent. Each parent is taken out once.
        let mut open: Vec<i32> = look.ours.iter().copied().collect();
        while let Some(parent) = open.pop() {
            for (pid, process) in others.remove(&parent).unwrap_or_default() {
                look.strike(pid, &process);
                open.push(pid);
            }
        }
        let Look { ours, found, .. } = look;
        self.known = ours;
        Ok(found)
    }
}

impl Look<'_> {
    fn concerns(&self, pid: i32, process: &Process) -> bool {
        // The agent is the init of a sandbox: what has lost its holder is its child, and belongs to no session any more.
        let stray = self.sweep.agent == 1 && process.parent == 1 && !processes::is_own(pid);
        let other = pid == self.sweep.agent || Some(pid) == self.sweep.holder;
        !other && (Some(process.parent) == self.sweep.holder || stray || self.ours.contains(&process.parent))
    }

    fn strike(&mut self, pid: i32, process: &Process) {
        self.ours.insert(pid);
        if process.ended {
            return;
        }
        self.found.alive += 1;
        self.found.new += usize::from(!self.sweep.known.contains(&pid));
        if !self.sweep.spared.contains(&Some(process.group)) && self.groups.insert(process.group) {
            sys::kill_group(process.group, self.signal);
        }
        sys::kill(pid, self.signal);
    }
}
