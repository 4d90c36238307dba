//! How a command is ended without ending its session: INT, TERM and KILL in turn, to what runs in the foreground.
//!
//! INT comes first and alone, so that a program that handles it ends in its own way, and shells abort the whole list
//! when it does not. Later steps tell the shell too, because a program ended by TERM or KILL would let the list go on.

use super::shell::{self, Moment, Shell};
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

    /// Takes the step. Returns the group that got INT, the shell's own if the shell did.
    pub(super) fn step(&mut self, shell: &Shell) -> Option<i32> {
        let now = Instant::now();
        let foreground = shell.foreground();
        let others = |signal| {
            for pid in shell::group_members(foreground, shell.pid) {
                shell::kill(pid, signal);
            }
        };
        let told = match self.stage {
            Stage::Interrupt => {
                shell::kill_group(foreground, libc::SIGINT);
                self.stage = Stage::Terminate;
                if shell.forgets_interrupts() && !shell::copies_of_their_parents(foreground).is_empty() {
                    // With a part of the pipeline in a subshell, zsh may go on with the list when the rest is interrupted.
                    shell::kill(shell.pid, libc::SIGINT);
                    Some(shell.pid)
                } else {
                    Some(foreground)
                }
            }
            Stage::Terminate => {
                shell::kill(shell.pid, libc::SIGINT);
                others(libc::SIGTERM);
                // What is stopped takes no other signal.
                others(libc::SIGCONT);
                self.stage = Stage::Kill;
                Some(shell.pid)
            }
            Stage::Kill | Stage::KillUntil(_) => {
                shell::kill(shell.pid, libc::SIGINT);
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
                if now >= until {
                    shell::kill(shell.pid, libc::SIGKILL);
                }
                self.stage = Stage::KillUntil(until);
                Some(shell.pid)
            }
        };
        self.next = now + if matches!(self.stage, Stage::KillUntil(_)) { AGAIN } else { self.grace };
        told
    }
}
