//! How a command is ended without ending its session: INT, TERM and KILL in turn, to what runs in the foreground.
//!
//! INT comes first and alone, so that a program that handles it ends in its own way, and shells abort the whole list
//! when it does not. Later steps tell the shell too, because a program ended by TERM or KILL would let the list go on.
//! In the end the shell itself is killed, and then its holder, so that every command that is to end comes to its end.

use super::{
    shell::{self, Halt, Holder, Moment, Shell},
    signals::Signals,
};
use crate::api::v1::exited::Reason;
use std::time::Duration;
use tokio::time::Instant;

/// After KILL, how often whatever the list goes on with is killed too.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a shell may go on after KILL before it is killed itself. One that is stopped does not go on: it has no time.
const SHELL_GRACE: Duration = Duration::from_secs(2);

/// How long the holder of a shell that was killed may take to say so.
const HOLDER_GRACE: Duration = Duration::from_millis(500);

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
    /// The shell was killed. Its holder has time until then to say so.
    ShellKilled(Instant),
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
    pub(super) fn step(&mut self, shell: &Shell, holder: &Holder, signals: &mut Signals) {
        let now = Instant::now();
        // A holder that somebody has stopped reports nothing.
        holder.wake();
        match self.stage {
            Stage::Interrupt => {
                signals.send(libc::SIGINT, true, shell);
                self.stage = Stage::Terminate;
            }
            Stage::Terminate => {
                let foreground = shell.foreground();
                signals.forget();
                signals.got(libc::SIGTERM, foreground, shell);
                signals.interrupt_shell(shell);
                signal_all_but_shell(foreground, libc::SIGTERM, shell);
                // What is stopped takes no other signal.
                signal_all_but_shell(foreground, libc::SIGCONT, shell);
                if shell::halted(shell.pid) == Some(Halt::Stopped) {
                    shell::kill(shell.pid, libc::SIGCONT);
                }
                self.stage = Stage::Kill;
            }
            Stage::Kill => self.kill(now, now + SHELL_GRACE, shell, signals),
            Stage::KillUntil(until) => self.kill(now, until, shell, signals),
            Stage::ShellKilled(until) => {
                if now >= until {
                    holder.abandon();
                }
            }
        }
        let pause = match self.stage {
            // Looking at all processes must not be most of what the agent's only thread does.
            Stage::KillUntil(_) | Stage::ShellKilled(_) => AGAIN.max(now.elapsed() * 4),
            _ => self.grace,
        };
        self.next = Instant::now() + pause;
    }

    fn kill(&mut self, now: Instant, until: Instant, shell: &Shell, signals: &mut Signals) {
        let foreground = shell.foreground();
        signals.got(libc::SIGKILL, foreground, shell);
        signals.interrupt_shell(shell);
        signal_all_but_shell(foreground, libc::SIGKILL, shell);
        if now + SHELL_GRACE / 2 >= until {
            // The shell waits for something that is not in the foreground: a part of a pipeline, in zsh.
            for pid in shell::descendants_since(shell.pid, self.since) {
                shell::kill(pid, libc::SIGKILL);
            }
        }
        // A shell that reads lines all this time, and says nothing of the command, never will.
        let late = now >= until && (shell.is_inside_command() || now >= until + SHELL_GRACE);
        if late || shell::halted(shell.pid).is_some() {
            shell::kill(shell.pid, libc::SIGKILL);
            self.stage = Stage::ShellKilled(now + HOLDER_GRACE);
        } else {
            self.stage = Stage::KillUntil(until);
        }
    }
}

/// Signals a process group, but not the shell, if that is in it.
fn signal_all_but_shell(group: i32, signal: i32, shell: &Shell) {
    if group != shell.pid {
        // In one step, which no fork escapes.
        return shell::kill_group(group, signal);
    }
    for pid in shell::group_members(group, shell.pid) {
        shell::kill(pid, signal);
    }
}
