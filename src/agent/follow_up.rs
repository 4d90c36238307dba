//! Signals that came too early.
//!
//! When the shell itself is in the foreground it may just be about to start a program. A signal then hits the shell,
//! which ignores it or takes it only when the program is over, although it was meant for the program.

use super::shell::{self, Shell};
use std::time::Duration;
use tokio::time::Instant;

/// When to look for the program; twice that for each further look.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// No look waits longer.
const LAST_LOOK: Duration = Duration::from_millis(320);

/// A signal that the shell got, to be given to the program that it starts.
pub(super) struct FollowUp {
    signal: i32,
    /// Whether the shell may not yet have begun with the command when it got the signal, and may have ignored it.
    before_command: bool,
    wait: Duration,
    at: Instant,
}

impl FollowUp {
    /// Of a signal that the shell gets now, `elapsed` after the command was given to it.
    pub(super) fn new(signal: i32, elapsed: Duration) -> Self {
        let before_command = signal == libc::SIGINT && elapsed < FIRST_LOOK;
        Self { signal, before_command, wait: FIRST_LOOK, at: Instant::now() + FIRST_LOOK }
    }

    /// When to look.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Gives the signal to what is in the foreground now; returns the next look if that is still the shell.
    pub(super) fn look(self, shell: &Shell) -> Option<Self> {
        let group = shell.terminal.foreground()?;
        if group != shell.pid || self.before_command {
            shell::kill_group(group, self.signal);
        }
        let wait = self.wait * 2;
        (group == shell.pid && wait <= LAST_LOOK).then(|| Self {
            before_command: false,
            wait,
            at: Instant::now() + wait,
            ..self
        })
    }
}
