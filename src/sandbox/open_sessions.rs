//! How many sessions of one sandbox are open, as far as the server knows: what its agent said last, and calls since then that
//! may have opened one. Pure: who knows the time says it.

use crate::api::agent::v1::ActivityResponse;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// How long after an agent has answered a question it has looked at all calls that it was sent before, so that what it says
/// from then on counts their sessions. Until then such a session counts twice: never too few.
const CALL_TRAVELS: Duration = Duration::from_millis(100);

/// How old a report may be that comes by itself. The agent sends them as soon as they are made.
const REPORT_TRAVELS: Duration = Duration::from_secs(2);

/// How often an agent is asked, and how often one that did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(20);
const ASK_THE_SILENT_AGAIN: Duration = Duration::from_secs(1);

/// The open sessions of one sandbox.
#[derive(Debug, Default)]
pub(super) struct OpenSessions {
    reported: u64,
    revision: u64,
    /// Calls that may have opened a session which is not in `reported`, by number.
    calls: BTreeMap<u64, Call>,
    last_call: u64,
    asked: Option<Asked>,
}

#[derive(Debug, Clone, Copy)]
enum Call {
    /// It began then, and the agent was first known to answer at that later time.
    UnderWay(Instant, Option<Instant>),
    /// It ended then, and whatever it opened was open by then.
    Over(Instant),
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    answered: bool,
}

impl OpenSessions {
    /// At most so many are open.
    pub(super) fn count(&self) -> u64 {
        self.reported + self.calls.len() as u64
    }

    /// A call begins that opens a session. Returns its number.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        self.last_call += 1;
        self.calls.insert(self.last_call, Call::UnderWay(now, None));
        self.last_call
    }

    /// The call has ended, however it did.
    pub(super) fn end(&mut self, number: u64, now: Instant) {
        // One that is not here any more is in what the agent said.
        self.calls.entry(number).and_modify(|call| *call = Call::Over(now));
    }

    /// Whether the agent is to be asked now. It counts as asked then.
    pub(super) fn begin_to_ask(&mut self, now: Instant) -> bool {
        let ask = self.count() > 0
            && self
                .asked
                .is_none_or(|asked| now >= asked.at + if asked.answered { ASK_AGAIN } else { ASK_THE_SILENT_AGAIN });
        if ask {
            self.asked = Some(Asked { at: now, answered: false });
        }
        ask
    }

    /// Whether it was asked a short time ago and has not answered yet.
    pub(super) fn is_answer_due(&self, now: Instant) -> bool {
        self.asked.is_some_and(|asked| !asked.answered && now < asked.at + ASK_THE_SILENT_AGAIN)
    }

    /// The agent has answered now what it was asked at `asked`.
    pub(super) fn answer(&mut self, activity: &ActivityResponse, asked: Instant, now: Instant) {
        self.asked = self.asked.map(|last| Asked { answered: true, ..last });
        self.report(activity, asked, now);
    }

    /// The agent has said so by itself, and it came now.
    pub(super) fn hear(&mut self, activity: &ActivityResponse, now: Instant) {
        if let Some(made_after) = now.checked_sub(REPORT_TRAVELS) {
            self.report(activity, made_after, now);
        }
    }

    fn report(&mut self, activity: &ActivityResponse, made_after: Instant, now: Instant) {
        if activity.revision < self.revision {
            return;
        }
        self.revision = activity.revision;
        self.reported = u64::try_from(activity.open_sessions).unwrap_or(0);
        self.calls.retain(|_, call| match *call {
            Call::UnderWay(since, None) if since < made_after => {
                // One that was frozen may answer this before it looks at the calls that came meanwhile.
                *call = Call::UnderWay(since, Some(now));
                true
            }
            Call::UnderWay(_, None) => true,
            Call::UnderWay(_, Some(answered)) => answered + CALL_TRAVELS > made_after,
            Call::Over(at) => at > made_after,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn open(sessions: i64, revision: u64) -> ActivityResponse {
        ActivityResponse { open_sessions: sessions, revision, ..ActivityResponse::default() }
    }

    #[test]
    fn a_session_counts_from_its_call_on_until_the_agent_counts_it() {
        let (mut sessions, start) = (OpenSessions::default(), Instant::now());
        let call = sessions.begin(start);
        assert_eq!(sessions.count(), 1);
        sessions.end(call, start + MS);
        // What the agent said before does not take it away.
        sessions.answer(&open(0, 2), start, start);
        assert_eq!(sessions.count(), 1);
        sessions.answer(&open(1, 3), start + 2 * MS, start + 2 * MS);
        assert_eq!(sessions.count(), 1);
        sessions.answer(&open(0, 4), start + 3 * MS, start + 3 * MS);
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn a_long_call_is_not_counted_twice_once_the_agent_has_it() {
        let (mut sessions, start) = (OpenSessions::default(), Instant::now());
        let call = sessions.begin(start);
        sessions.answer(&open(1, 2), start + 50 * MS, start + 50 * MS);
        assert_eq!(sessions.count(), 2, "perhaps it has not arrived yet");
        sessions.answer(&open(1, 2), start + 149 * MS, start + 151 * MS);
        assert_eq!(sessions.count(), 2);
        sessions.answer(&open(1, 2), start + 150 * MS, start + 151 * MS);
        assert_eq!(sessions.count(), 1);
        // Its end is the agent's to say.
        sessions.end(call, start + 200 * MS);
        assert_eq!(sessions.count(), 1);
        sessions.answer(&open(0, 3), start + 201 * MS, start + 201 * MS);
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn a_frozen_agent_may_answer_before_it_looks_at_earlier_calls() {
        let (mut sessions, start) = (OpenSessions::default(), Instant::now());
        let over = sessions.begin(start);
        sessions.end(over, start + 5 * MS);
        sessions.begin(start);
        sessions.answer(&open(1, 2), start + 200 * MS, start + 2000 * MS);
        assert_eq!(sessions.count(), 2, "the one that is over is in the answer, and the other perhaps not");
        sessions.answer(&open(1, 2), start + 2001 * MS, start + 2002 * MS);
        assert_eq!(sessions.count(), 2);
        sessions.answer(&open(2, 3), start + 2100 * MS, start + 2101 * MS);
        assert_eq!(sessions.count(), 2);
    }

    #[test]
    fn an_older_report_that_comes_later_changes_nothing() {
        let (mut sessions, start) = (OpenSessions::default(), Instant::now());
        sessions.answer(&open(2, 7), start, start);
        sessions.hear(&open(1, 6), start + 5000 * MS);
        assert_eq!(sessions.count(), 2);
    }

    #[test]
    fn an_agent_is_asked_seldom_and_a_silent_one_more_seldom() {
        let (mut sessions, start) = (OpenSessions::default(), Instant::now());
        assert!(!sessions.begin_to_ask(start), "there is nothing to be gained");
        sessions.begin(start);
        assert!(!sessions.is_answer_due(start));
        assert!(sessions.begin_to_ask(start));
        assert!(!sessions.begin_to_ask(start + 500 * MS) && sessions.is_answer_due(start + 500 * MS));
        assert!(!sessions.is_answer_due(start + 1000 * MS) && sessions.begin_to_ask(start + 1000 * MS));
        sessions.answer(&open(1, 2), start, start);
        assert!(!sessions.is_answer_due(start + 500 * MS));
        assert!(!sessions.begin_to_ask(start + 1019 * MS) && sessions.begin_to_ask(start + 1020 * MS));
    }

    proptest::proptest! {
        /// Whatever happens in whatever order: what the server counts is never less than what is open, as long as answers are
        /// true at the moment at which they are asked.
        #[test]
        fn the_count_is_never_too_small(steps in proptest::collection::vec((0u8..5, 0usize..4), 0..200)) {
            let (mut sessions, mut now) = (OpenSessions::default(), Instant::now());
            let (mut under_way, mut really_open, mut revision) = (Vec::new(), 0u64, 1u64);
            for (step, which) in steps {
                now += Duration::from_millis(7 * (1 + which as u64));
                match step {
                    0 => under_way.push((sessions.begin(now), now, false)),
                    // It opens its session at the agent: at the latest when the call has travelled.
                    1 => if let Some((_, _, open)) = under_way.iter_mut().find(|(_, _, open)| !open) {
                        *open = true;
                        really_open += 1;
                        revision += 1;
                    },
                    2 if !under_way.is_empty() => {
                        let (number, _, _) = under_way.remove(which % under_way.len());
                        sessions.end(number, now);
                    }
                    3 if really_open > 0 => {
                        really_open -= 1;
                        revision += 1;
                    }
                    _ => {
                        for (_, since, open) in &mut under_way {
                            if !*open && now >= *since + CALL_TRAVELS {
                                *open = true;
                                really_open += 1;
                                revision += 1;
                            }
                        }
                        sessions.answer(&open(really_open as i64, revision), now, now);
                    }
                }
                proptest::prop_assert!(sessions.count() >= really_open, "{} < {really_open}", sessions.count());
            }
        }
    }
}
