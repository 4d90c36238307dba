//! The life of a sandbox, as a table: which event leads from which state into which. Nothing else changes a state.
//!
//! Pure: no time, no locks, no database. Who makes an event happen, and who waits for the state that follows, is elsewhere.
//! An event that means nothing in a state changes nothing: of two that race, the one that comes second finds that out here.

use crate::{runtime::Pull, store::Settings};

/// Where a sandbox is in its life; see the drawing in [`super`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Being started.
    Starting,
    /// Ready.
    Running,
    /// Being deleted.
    Stopping,
    /// Its agent ended by itself, or it was to be deleted and could not be removed yet.
    Failed,
    /// It never ran: its making was given up, and what there is of it is being removed.
    Abandoned,
    /// Deleted. Only those who still hold the entry see it.
    Gone,
}

/// How far the start of a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It waits for its turn.
    Waiting,
    /// Its image is being brought here.
    Pulling(Pull),
    /// What it begins with is being prepared.
    Preparing,
    /// It is being made.
    Starting,
}

/// Why a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Somebody deleted it.
    Deleted,
    /// Its time to live was over.
    Expired,
    /// Nobody used it.
    Idle,
    /// Its agent ended by itself.
    AgentEnded,
    /// The server stopped and took it along.
    ServerStopped,
}

/// What changes and is told to who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Where it is in its life.
    pub state: State,
    /// How far its start is, while it starts.
    pub progress: Progress,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// What is known of how its agent ended, in words. Empty: it has not.
    pub end_message: String,
    /// What an update may change.
    pub settings: Settings,
}

/// What happens to a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Its agent answers, and whoever asked for it is there to be told.
    Made,
    /// It cannot be made, or nobody waits for it any more.
    GivenUp,
    /// Its agent was seen to be dead, for this cause if one is known.
    AgentEnded(Option<String>),
    /// Somebody wants it deleted.
    EndAsked(EndReason),
    /// Its time to live is over, or nobody has used it for too long.
    TimeOver(EndReason),
    /// It has failed long ago, or its removal is to be tried again.
    FailedLongEnough,
    /// What there is of it could not be removed.
    RemovalFailed,
    /// Nothing of it is left.
    Removed,
}

impl State {
    /// The state after an event. `None`: the event changes nothing.
    pub(super) fn after(self, event: &Event) -> Option<Self> {
        use Event::{AgentEnded, EndAsked, FailedLongEnough, GivenUp, Made, RemovalFailed, Removed, TimeOver};
        match (self, event) {
            (Self::Starting, Made) => Some(Self::Running),
            (Self::Starting, GivenUp | EndAsked(_)) => Some(Self::Abandoned),
            (Self::Running, AgentEnded(_)) => Some(Self::Failed),
            (Self::Running, EndAsked(_) | TimeOver(_)) => Some(Self::Stopping),
            (Self::Failed, EndAsked(_) | FailedLongEnough) => Some(Self::Stopping),
            (Self::Stopping, RemovalFailed) => Some(Self::Failed),
            (Self::Stopping | Self::Abandoned, Removed) => Some(Self::Gone),
            // What is abandoned stays so until it is removed; its removal is tried again and again.
            (
                Self::Starting | Self::Running | Self::Stopping | Self::Failed | Self::Abandoned | Self::Gone,
                Made | GivenUp | AgentEnded(_) | EndAsked(_) | TimeOver(_) | FailedLongEnough | RemovalFailed | Removed,
            ) => None,
        }
    }
}

impl Condition {
    /// A sandbox that has not ended.
    pub(super) fn new(state: State, settings: Settings) -> Self {
        Self { state, progress: Progress::Waiting, end_reason: None, end_message: String::new(), settings }
    }

    /// Takes in an event. False when it changes nothing.
    pub(super) fn apply(&mut self, event: &Event) -> bool {
        let Some(state) = self.state.after(event) else { return false };
        self.state = state;
        self.progress = Progress::Waiting;
        match event {
            Event::AgentEnded(cause) => {
                self.end_reason = Some(EndReason::AgentEnded);
                self.end_message = cause.clone().unwrap_or_else(|| "its agent ended by itself".to_owned());
            }
            Event::EndAsked(reason) | Event::TimeOver(reason) => self.end_reason = Some(*reason),
            // How its agent ended says more.
            Event::RemovalFailed if self.end_message.is_empty() => {
                self.end_message = "it could not be removed yet; the server tries again".to_owned();
            }
            Event::RemovalFailed | Event::Made | Event::GivenUp | Event::FailedLongEnough | Event::Removed => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Event::*, State::*, *};

    const STATES: [State; 6] = [Starting, Running, Stopping, Failed, Abandoned, Gone];

    fn events() -> [Event; 8] {
        [
            Made,
            GivenUp,
            AgentEnded(Some("killed".into())),
            EndAsked(EndReason::Deleted),
            TimeOver(EndReason::Idle),
            FailedLongEnough,
            RemovalFailed,
            Removed,
        ]
    }

    #[test]
    fn every_event_in_every_state() {
        #[rustfmt::skip]
        let table = [
            //            Made           GivenUp          AgentEnded    EndAsked         TimeOver        FailedLong…     RemovalFailed Removed
            (Starting,  [Some(Running), Some(Abandoned), None,         Some(Abandoned), None,           None,           None,         None]),
            (Running,   [None,          None,            Some(Failed), Some(Stopping),  Some(Stopping), None,           None,         None]),
            (Stopping,  [None,          None,            None,         None,            None,           None,           Some(Failed), Some(Gone)]),
            (Failed,    [None,          None,            None,         Some(Stopping),  None,           Some(Stopping), None,         None]),
            (Abandoned, [None,          None,            None,         None,            None,           None,           None,         Some(Gone)]),
            (Gone,      [None,          None,            None,         None,            None,           None,           None,         None]),
        ];
        assert_eq!(table.map(|(state, _)| state), STATES);
        for (state, expected) in table {
            for (event, expected) in events().iter().zip(expected) {
                assert_eq!(state.after(event), expected, "{state:?}, {event:?}");
                let mut condition = Condition::new(state, Settings::default());
                let before = condition.clone();
                assert_eq!(condition.apply(event), expected.is_some(), "{state:?}, {event:?}");
                if expected.is_none() {
                    assert_eq!(condition, before, "{state:?}, {event:?}");
                }
            }
        }
    }

    proptest::proptest! {
        /// Whatever happens: nothing leaves the last state, what has failed says why, and what was told to somebody has an end
        /// with a reason.
        #[test]
        fn a_life_makes_sense(happens in proptest::collection::vec(0usize..8, 0..60)) {
            let mut condition = Condition::new(Starting, Settings::default());
            let mut ran = false;
            for event in happens.into_iter().map(|at| events()[at].clone()) {
                let before = condition.clone();
                let changed = condition.apply(&event);
                ran |= condition.state == Running;
                proptest::prop_assert!(changed || condition == before);
                proptest::prop_assert!(before.state != Gone || !changed);
                proptest::prop_assert!(condition.state != Failed || !condition.end_message.is_empty());
                proptest::prop_assert!(!ran || condition.state == Running || condition.end_reason.is_some());
                proptest::prop_assert!(!ran || condition.state != Abandoned);
                proptest::prop_assert!(before.end_reason.is_none() || condition.end_reason.is_some());
            }
        }
    }
}
