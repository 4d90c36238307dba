//! The ends of commands: how one has ended, also if it could not be given to its shell; and what a shell gets back that takes
//! the place of one that a command has ended.

use super::driver::{Driver, Turn, wait_for_stop};
use crate::{
    agent::{
        command::{
            Command,
            running::{Running, Verdict},
        },
        shell::Before,
    },
    api::v1::{Exited, OnShellExit, exited::Reason, session::State},
};
use std::sync::Arc;
use tokio::sync::watch;

impl Driver {
    /// A command that could not be given to the shell ends with a message, as one that cannot be executed.
    pub(in crate::agent) fn not_started(&mut self, command: &Arc<Command>, error: &dyn std::fmt::Display) -> Turn {
        command.complain(format!("sandshell: cannot run the command: {error}\n"));
        // A shell that takes no lines has ended. Its holder may have been kept from saying so.
        self.holder.wake();
        let mut exited = self.session.known().never_ran(Reason::Exited);
        exited.exit_code = 126;
        self.session.update(|known| {
            known.state = State::Idle;
            known.running = None;
        });
        command.set_over(exited);
        Turn::Next
    }

    /// A command that the shell has not even begun to read, because it ended first, is no success.
    pub(in crate::agent) fn note_unread(&self, running: &Running, verdict: &mut Verdict) {
        if verdict.reason.is_none() && self.shell.has_read_nothing() {
            verdict.status = 126;
            running.complain("sandshell: the session's shell ended before it could run the command\n");
        }
    }

    /// Starts another shell in the place of one that has ended between two commands. False when the session ends with it.
    pub(in crate::agent) async fn take_another_shell(&mut self, stop: &mut watch::Receiver<Option<Reason>>) -> bool {
        self.session.about.on_shell_exit != OnShellExit::Close && self.restart(stop).await
    }

    /// As [`Self::not_started`], when the shell ended before the command was given to it.
    pub(in crate::agent) async fn not_started_by_ended_shell(
        &mut self,
        command: &Arc<Command>,
        stop: &mut watch::Receiver<Option<Reason>>,
    ) -> Turn {
        let goes_on = self.take_another_shell(stop).await;
        let turn = self.not_started(command, &"the session's shell ended before it");
        if goes_on {
            return turn;
        }
        self.session.update(|known| {
            known.state = State::Closed;
            known.shell_pid = 0;
        });
        Turn::Closed(Reason::Cancelled)
    }

    /// Has a new shell put back what the one before had for a command. False when it ended over it, and the session is
    /// closed meanwhile.
    pub(in crate::agent) async fn give_back(
        &mut self,
        had: Option<&Before>,
        stop: &mut watch::Receiver<Option<Reason>>,
    ) -> bool {
        let Some(had) = had else { return true };
        let ended = tokio::select! {
            reclaimed = self.reclaim(had) => reclaimed.is_none(),
            _ = wait_for_stop(stop) => false,
        };
        // A shell that cannot take it is followed by one that has none of the saved state, the variables of the command
        // neither.
        if ended {
            self.saved = None;
        }
        !ended || self.restart(stop).await
    }

    /// How a command has ended that was given to the session's shell.
    pub(in crate::agent) fn exited(&self, running: &Running, verdict: Verdict, out_of_memory: bool) -> Exited {
        let direct = self.session.about.direct;
        let ended_shell = verdict.shell_end.as_ref();
        let shell_signal = ended_shell.map_or(0, |end| end.signal);
        let reason = match verdict.reason {
            Some(reason) => reason,
            None if out_of_memory && verdict.status != 0 => Reason::OutOfMemory,
            None if verdict.signalled != 0 => Reason::Signaled,
            None if direct && shell_signal != 0 => Reason::Signaled,
            None if ended_shell.is_some() && !direct => Reason::ShellExited,
            None => Reason::Exited,
        };
        self.session.look(|known| Exited {
            exit_code: verdict.status,
            signal: if shell_signal != 0 { shell_signal } else { verdict.signalled },
            reason: reason.into(),
            duration: prost_types::Duration::try_from(running.elapsed()).ok(),
            working_directory: known.directory.to_string_lossy().into_owned(),
            shell_exited: ended_shell.is_some() && !direct,
            generation: known.generation,
            not_restored: ended_shell.map_or_else(Vec::new, |_| known.not_restored.to_vec()),
            pipe_status: running.pipes.clone(),
            // The command says so itself.
            timeout: None,
        })
    }
}
