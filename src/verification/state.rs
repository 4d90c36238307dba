//! The states of a verification, as a table: which event leads from which state into which. Nothing else changes a state, and a final one never
//! changes.
//!
//! ```text
//!             taken            the tests begin             the tests are over
//!   PENDING ────────▶ STARTING ───────────────▶ RUNNING ─────────────────────▶ COMPLETED
//!      ▲                 │  │ the patch does not apply: COMPLETED, and not successful
//!      └─────────────────┴──┴─ the server was started again (from RUNNING, too)
//!
//!   from each of the first three: cancelled ▶ CANCELLED, cannot be carried out ▶ ERROR
//! ```

/// Where a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It waits for its turn.
    Pending,
    /// Its sandbox is being made, and what is to be verified is brought there.
    Starting,
    /// Its tests run.
    Running,
    /// The tests are over. Whether that is a success is in the result.
    Completed,
    /// It could not be carried out.
    Error,
    /// Somebody cancelled it.
    Cancelled,
}

/// What happens to a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It has its turn.
    Taken,
    /// Its tests begin.
    Begun,
    /// It is known what became of it.
    Judged,
    /// It cannot be carried out.
    Failed,
    /// Somebody wants it cancelled.
    CancelAsked,
    /// The server that worked on it has ended, and another one takes it over.
    Interrupted,
}

impl State {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Pending, Self::Starting, Self::Running, Self::Completed, Self::Error, Self::Cancelled];

    /// Whether it stays in it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Error | Self::Cancelled)
    }

    /// The state after an event. `None`: the event changes nothing.
    pub(super) fn after(self, event: Event) -> Option<Self> {
        use Event::{Begun, CancelAsked, Failed, Interrupted, Judged, Taken};
        match (self, event) {
            (Self::Pending, Taken) => Some(Self::Starting),
            (Self::Starting, Begun) => Some(Self::Running),
            (Self::Starting | Self::Running, Judged) => Some(Self::Completed),
            (Self::Starting | Self::Running, Interrupted) => Some(Self::Pending),
            (Self::Pending | Self::Starting | Self::Running, Failed) => Some(Self::Error),
            (Self::Pending | Self::Starting | Self::Running, CancelAsked) => Some(Self::Cancelled),
            (
                Self::Pending | Self::Starting | Self::Running | Self::Completed | Self::Error | Self::Cancelled,
                Taken | Begun | Judged | Failed | CancelAsked | Interrupted,
            ) => None,
        }
    }

    /// The states from which an event leads somewhere.
    pub(super) fn before(event: Event) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |state| state.after(event).is_some())
    }

    /// As the store has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    /// What the store has.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{Begun, CancelAsked, Failed, Interrupted, Judged, Taken};

    const EVENTS: [Event; 6] = [Taken, Begun, Judged, Failed, CancelAsked, Interrupted];

    #[test]
    fn each_event_in_each_state() {
        use State::{Cancelled, Completed, Error, Pending, Running, Starting};
        // In the order of EVENTS.
        for (state, expected) in [
            (Pending, [Some(Starting), None, None, Some(Error), Some(Cancelled), None]),
            (Starting, [None, Some(Running), Some(Completed), Some(Error), Some(Cancelled), Some(Pending)]),
            (Running, [None, None, Some(Completed), Some(Error), Some(Cancelled), Some(Pending)]),
            (Completed, [None; 6]),
            (Error, [None; 6]),
            (Cancelled, [None; 6]),
        ] {
            assert_eq!(EVENTS.map(|event| state.after(event)), expected, "{state:?}");
        }
    }

    #[test]
    fn a_final_state_never_changes() {
        for state in State::ALL {
            assert_eq!(state.is_final(), EVENTS.iter().all(|event| state.after(*event).is_none()), "{state:?}");
            assert_eq!(State::of(state.name()), Some(state));
        }
    }
}
