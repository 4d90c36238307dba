//! How a command is ended without ending its session: INT, TERM and KILL in turn, to what runs in the foreground.
//!
//! INT comes first, so that a program that handles it ends in its own way. With each step the shell is told to abandon the
//! command, because how a program ended may let the list go on. In the end the shell itself is killed, wherever it is, and
//! then its holder, so that every command that is to end comes to its end.

use super::signals::Signals;
use crate::{
    agent::shell::{self, Holder, Moment, Shell, Turns},
    api::v1::exited::Reason,
};
use std::time::Duration;
use tokio::time::Instant;

/// After KILL, how often whatever the list goes on with is killed too.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a shell may go on after KILL before it is killed itself. One that is stopped again does not go on: it has no time.
const SHELL_GRACE: Duration = Duration::from_secs(1);

/// How much longer one may go on that did not get the processor time to end in, because others had it.
const STARVED_GRACE: Duration = Duration::from_secs(4);

/// How long the holder of a shell that was killed may take to say so.
const HOLDER_GRACE: Duration = Duration::from_millis(500);

/// The steps of an end.
pub(super) struct Escalation {
    reason: Reason,
    grace: Duration,
    /// When the command began.
    since: Moment,
    stage: Stage,
    /// What the shell had got of the processors when KILL was due.
    turns: Option<Turns>,
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
        Self { reason, grace, since, stage: Stage::Interrupt, turns: None, next: Instant::now() }
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
                shell.resume_between_commands();
                signals.send(libc::SIGINT, true, shell);
                self.stage = Stage::Terminate;
            }
            Stage::Terminate => {
                let foreground = shell.foreground();
                signals.forget();
                signals.got(libc::SIGTERM, foreground, shell);
                signals.abandon(false, shell);
                shell::signal_group_but(foreground, libc::SIGTERM, shell.pid);
                // What is stopped takes no other signal.
                shell::signal_group_but(foreground, libc::SIGCONT, shell.pid);
                shell.resume();
                self.stage = Stage::Kill;
            }
            Stage::Kill => {
                // A shell goes on when the process that traces it is gone.
                let tracer = shell.tracer();
                tracer.into_iter().for_each(|tracer| shell::kill(tracer, libc::SIGKILL));
                self.turns = Turns::of(shell.pid);
                self.kill(now, now + SHELL_GRACE, true, shell, signals);
            }
            Stage::KillUntil(until) => self.kill(now, until, false, shell, signals),
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

    /// Kills what runs, and the shell when its time is over or when it cannot go on. The first time that is not known yet: what
    /// has stopped it or traced it is gone only now.
    fn kill(&mut self, now: Instant, until: Instant, first: bool, shell: &Shell, signals: &mut Signals) {
        let foreground = shell.foreground();
        signals.got(libc::SIGKILL, foreground, shell);
        let late = now + SHELL_GRACE / 2 >= until;
        signals.abandon(late, shell);
        shell::signal_group_but(foreground, libc::SIGKILL, shell.pid);
        if late {
            // The shell waits for something that is not in the foreground: a part of a pipeline, in zsh.
            for pid in shell::descendants_since(shell.pid, self.since) {
                shell::kill(pid, libc::SIGKILL);
            }
        }
        if first {
            shell.resume();
        }
        if now >= until && !self.is_starved(now, until, shell) || !first && shell::halted(shell.pid).is_some() {
            shell::kill(shell.pid, libc::SIGKILL);
            self.stage = Stage::ShellKilled(now + HOLDER_GRACE);
        } else {
            self.stage = Stage::KillUntil(until);
        }
    }

    /// Whether the shell did not have the time that it was given, so that it may have more.
    fn is_starved(&self, now: Instant, until: Instant, shell: &Shell) -> bool {
        let time = now + SHELL_GRACE - until;
        now < until + STARVED_GRACE && self.turns.is_some_and(|turns| turns.were_too_few_since(shell.pid, time))
    }
}
