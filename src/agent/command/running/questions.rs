//! What a command's programs ask on the session's terminal, and what becomes of it when nobody can answer.
//!
//! A program that waits for an answer that cannot come would wait for ever. So the terminal of a command whose client has no
//! way to answer is left at its end: each read returns nothing at once, and the program says itself what it lacks. This is
//! looked at again now and then, because a program may already be reading when its client's input ends, or may have set the
//! terminal up in its own way.

use super::Running;
use crate::agent::{command::Answers, shell::Terminal};
use std::time::Duration;
use tokio::time::Instant;

/// How long a question waits for a client that could answer and did not say that it would. Clients that answer by program
/// do so in milliseconds; the others set `stdin`.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time to look again after a read was ended: for the program to take that in.
const TAKEN_IN: Duration = Duration::from_millis(20);

/// What is known of a command's questions.
pub(super) struct Questions {
    answers: Answers,
    /// Since when a program has been waiting for an answer.
    asked: Option<Instant>,
    /// Whether the last look has ended a wait. A program that waits again would go on reading single keys for ever.
    told: bool,
}

impl Questions {
    /// Those of a command that is about to start.
    pub(super) fn new(answers: Answers, terminal: &Terminal) -> Self {
        terminal.set_answerable(answers != Answers::Never);
        Self { answers, asked: None, told: false }
    }

    /// An answer came, so that the next question has its own time.
    pub(super) fn answered(&mut self) {
        self.asked = None;
    }

    /// Ends a question that nobody answers. Returns when to look again, if that is soon.
    fn look(&mut self, terminal: &Terminal) -> Option<Instant> {
        let now = Instant::now();
        if self.answers == Answers::Streamed {
            return None;
        }
        let asks = terminal.is_waited_for();
        if self.answers == Answers::Briefly {
            self.asked = if asks { self.asked.or(Some(now)) } else { None };
            if self.asked.is_none_or(|asked| now - asked < PATIENCE) {
                return None;
            }
            self.answers = Answers::Never;
        }
        let told = std::mem::replace(&mut self.told, asks);
        if asks {
            if told {
                terminal.set_answerable(false);
            }
            terminal.end_a_wait();
            return Some(now + TAKEN_IN);
        }
        terminal.set_answerable(false);
        None
    }
}

impl Running {
    /// Ends questions on the terminal that nobody answers. On a terminal of its own a command has somebody at it.
    pub(super) fn look_for_questions(&mut self, terminal: &Terminal) {
        self.questions_at = if self.pty { None } else { self.questions.look(terminal) };
    }

    /// Its client has ended its input.
    pub(super) fn input_ended(&mut self, terminal: &Terminal) {
        self.questions.answers = Answers::Never;
        self.look_for_questions(terminal);
    }
}
