//! Signals that came too early.
//!
//! When the shell itself is in the foreground it may just be about to start a program. A signal then hits the shell,
//! which ignores it or takes it only when the program is over, although it was meant for the program. And a program
//! that is not yet executed is a copy of the shell that starts it, has that shell's handlers, and forgets the signal.

use super::shell::{self, Shell};
use std::{path::PathBuf, time::Duration};
use tokio::time::Instant;

/// When to look for the program; twice that for each further look.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// No look waits longer.
const LAST_LOOK: Duration = Duration::from_millis(320);

/// A signal that the shell got, to be given to the program that it starts.
pub(super) struct FollowUp {
    signal: i32,
    /// Who got it.
    group: i32,
    /// Whether the shell may not yet have begun with the command when it got the signal, and may have ignored it.
    before_command: bool,
    /// Who got the signal while it was a copy of its parent, and of which program.
    copies: Vec<(i32, PathBuf)>,
    wait: Duration,
    at: Instant,
}

impl FollowUp {
    /// Of a signal that `group` gets now, `elapsed` after the command was given to the shell.
    pub(super) fn new(signal: i32, group: i32, shell: &Shell, elapsed: Duration) -> Self {
        let before_command = group == shell.pid && signal == libc::SIGINT && elapsed < FIRST_LOOK;
        let copies = shell::copies_of_their_parents(group);
        Self { signal, group, before_command, copies, wait: FIRST_LOOK, at: Instant::now() + FIRST_LOOK }
    }

    /// When to look.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Gives the signal to what is in the foreground now, if that has not had it; returns the next look while one may
    /// still be of use.
    pub(super) fn look(mut self, shell: &Shell) -> Option<Self> {
        let group = shell.foreground();
        for (pid, program) in std::mem::take(&mut self.copies) {
            match shell::program(pid) {
                Some(now) if now == program => self.copies.push((pid, program)),
                // It has become another program since, without the signal.
                Some(_) => shell::kill(pid, self.signal),
                None => {}
            }
        }
        if group != self.group && self.group == shell.pid || self.before_command {
            self = Self { wait: self.wait, ..Self::new(self.signal, group, shell, FIRST_LOOK) };
            shell::kill_group(group, self.signal);
        }
        let wait = self.wait * 2;
        let open = self.group == shell.pid || !self.copies.is_empty();
        (open && wait <= LAST_LOOK).then(|| Self { wait, at: Instant::now() + wait, ..self })
    }
}
