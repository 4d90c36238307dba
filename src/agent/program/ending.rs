//! How a program is ended before its time: INT, TERM and KILL in turn.

use crate::api::v1::exited::Reason;
use std::{ops::ControlFlow, time::Duration};
use tokio::time::Instant;

/// How long a program that was killed may take to end. A device may hold it; it is not waited for any longer.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// The steps of an end.
pub(super) struct Ending {
    reason: Reason,
    grace: Duration,
    done: usize,
    next: Instant,
}

const STEPS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGKILL];

impl Ending {
    /// The first step is due now.
    pub(super) fn new(reason: Reason, grace: Duration) -> Self {
        Self { reason, grace, done: 0, next: Instant::now() }
    }

    /// When the next step is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Why the program is ended.
    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    /// Takes the next step. After the last one nothing more can be done.
    pub(super) fn step(&mut self, send: impl FnOnce(i32)) -> ControlFlow<()> {
        let Some(signal) = STEPS.get(self.done) else { return ControlFlow::Break(()) };
        send(*signal);
        self.done += 1;
        self.next = Instant::now() + if self.done == STEPS.len() { KILLED_WITHIN } else { self.grace };
        ControlFlow::Continue(())
    }
}
