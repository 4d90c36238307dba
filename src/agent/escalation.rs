//! How a command is ended without ending its session: INT, TERM and KILL in turn, to what runs in the foreground.
//!
//! INT comes first and alone, so that a program that handles it ends in its own way, and shells abort the whole list
//! when it does not. Later steps tell the shell too, because a program ended by TERM or KILL would let the list go on.

use super::{
    shell::{self, Moment, Shell},
    signals::Signals,
};
use crate::api::v1::exited::Reason;
use std::time::Duration;
use tokio::time::Instant;

/// After KILL, how often whatever the list goes on with is killed too.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a shell may go on after KILL before it is killed itself.
const SHELL_GRACE: Duration = Duration::from_secs(2);

/// The steps of an end.
pub(super) struct Escalation {
    reason: Reason,
    grace: Duration,
    /// When the command began.
    since: Moment,
    stage: Stage,
    next: Instant,
}

#[derive(Clone, Copy)]
enum Stage {
    Interrupt,
    Terminate,
    Kill,
    KillUntil(Instant),
}

impl Escalation {
    /// The first step is due now.
    pub(super) fn new(reason: Reason, grace: Duration, since: Moment) -> Self {
        Self { reason, grace, since, stage: Stage::Interrupt, next: Instant::now() }
    }

    /// When the next step is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Why the command is ended.
    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    /// Takes the step.
    pub(super) fn step(&mut self, shell: &Shell, signals: &mut Signals) {
        let now = Instant::now();
        let foreground = shell.foreground();
        let others = |signal| {
            for pid in shell::group_members(foreground, shell.pid) {
                shell::kill(pid, signal);
            }
        };
        match self.stage {
            Stage::Interrupt => {
                signals.send(libc::SIGINT, true, shell);
                self.stage = Stage::Terminate;
            }
            Stage::Terminate => {
                signals.forget();
                signals.got(libc::SIGTERM, foreground, shell);
                signals.interrupt_shell(shell);
                others(libc::SIGTERM);
                // What is stopped takes no other signal.
                others(libc::SIGCONT);
                self.stage = Stage::Kill;
            }
            Stage::Kill | Stage::KillUntil(_) => {
                signals.got(libc::SIGKILL, foreground, shell);
                signals.interrupt_shell(shell);
                others(libc::SIGKILL);
                let until = match self.stage {
                    Stage::KillUntil(until) => until,
                    _ => now + SHELL_GRACE,
                };
                if now + SHELL_GRACE / 2 >= until {
                    // The shell waits for something that is not in the foreground: a part of a pipeline, in zsh.
                    for pid in shell::descendants_since(shell.pid, self.since) {
                        shell::kill(pid, libc::SIGKILL);
                    }
                }
                if now >= until && shell.is_inside_command() {
                    shell::kill(shell.pid, libc::SIGKILL);
                }
                self.stage = Stage::KillUntil(until);
            }
        }
        self.next = now + if matches!(self.stage, Stage::KillUntil(_)) { AGAIN } else { self.grace };
    }
}
