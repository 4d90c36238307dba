//! What is kept of the output of commands that are over, over all sessions: the latest, up to a bound.

use super::command::Command;
use crate::sync::lock;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

/// Commands whose output is kept, however little it is.
const MOST_COMMANDS: usize = 4096;

/// Keeps the output of past commands within a bound.
pub(super) struct Retention {
    bound: usize,
    over: Mutex<Over>,
}

#[derive(Default)]
struct Over {
    /// The oldest first, with what each cost when it was over.
    commands: VecDeque<(Arc<Command>, usize)>,
    cost: usize,
}

impl Retention {
    /// Keeps up to `bound` bytes.
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, over: Mutex::default() }
    }

    /// Takes a command that is over, and lets go of the output of older ones.
    pub(super) fn command_is_over(&self, command: Arc<Command>) {
        let cost = command.log.cost();
        if cost == 0 {
            return;
        }
        let mut over = lock(&self.over);
        over.cost += cost;
        over.commands.push_back((command, cost));
        for _ in 0..over.commands.len() {
            if over.cost <= self.bound && over.commands.len() <= MOST_COMMANDS {
                return;
            }
            let Some((oldest, cost)) = over.commands.pop_front() else { return };
            if oldest.log.forget() {
                over.cost -= cost;
            } else {
                // Somebody is still owed it.
                over.commands.push_back((oldest, cost));
            }
        }
    }
}
