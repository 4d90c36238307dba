//! The call that started a command, and what becomes of the command when that call is lost.

use super::sessions::Sessions;
use crate::agent::{
    command::{Command, Control},
    line::Line,
};
use std::{sync::Arc, time::Duration};

/// How long a command goes on whose call was lost and may be repeated.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(5);

/// What a call asks for in case that it is lost.
#[derive(Debug, Clone)]
pub(in crate::agent) struct WhenLost {
    /// Whether the command is cancelled then.
    pub(in crate::agent) cancel: bool,
    /// Whether the call can be repeated: it had a `request_id`.
    pub(in crate::agent) repeatable: bool,
    /// The connection that it came by. A call that is dropped because this has ended was not given up by its client.
    pub(in crate::agent) line: Line,
}

/// The call that started a command, or that repeats its start, until it is answered. When this is dropped before, the call
/// was lost.
pub(in crate::agent) struct Starter {
    command: Arc<Command>,
    sessions: Arc<Sessions>,
    when_lost: WhenLost,
}

impl Starter {
    /// A call that waits for this command.
    pub(in crate::agent) fn new(command: Arc<Command>, sessions: &Arc<Sessions>, when_lost: WhenLost) -> Self {
        command.starter_came();
        Self { command, sessions: Arc::clone(sessions), when_lost }
    }

    /// It has its answer: nothing that happens to it now matters to the command.
    pub(in crate::agent) fn answered(&mut self) {
        self.when_lost.cancel = false;
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        let others = self.command.starter_left();
        // Without a runtime the agent itself ends.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.when_lost.cancel || self.when_lost.line.has_ended() || others || self.command.exited().is_some() {
            return;
        }
        let (command, sessions, repeatable) =
            (Arc::clone(&self.command), Arc::clone(&self.sessions), self.when_lost.repeatable);
        runtime.spawn(async move {
            if repeatable {
                tokio::time::sleep(TAKEN_UP_WITHIN).await;
            }
            if !command.has_starters() && !sessions.cancel_waiting(&command) {
                command.say(Control::Cancel).await;
            }
        });
    }
}
