//! Whose keys were, when the store was asked last. A key is looked up once in a second however many calls it makes, and
//! so is one that nobody has; sooner, where a change of the database can be seen.

use super::Caller;
use crate::{store::Stamp, sync::lock};
use std::{collections::HashMap, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// How old an answer may be. A key that was revoked, and a limit that was changed, count after this.
const FRESH: Duration = Duration::from_secs(1);

/// Answers that are remembered. Those that are too many are not.
const MOST: usize = 10_000;

/// Answers, by the hash of the key.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<String, Answer>>);

#[derive(Debug)]
struct Answer {
    /// None when it is nobody's key.
    caller: Option<Caller>,
    asked: Asked,
}

/// When the store was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    at: Instant,
    stamp: Stamp,
}

impl Asked {
    /// Now, and of a database like this.
    pub(super) fn now(stamp: Stamp) -> Self {
        Self { at: Instant::now(), stamp }
    }

    fn is_fresh(&self) -> bool {
        self.at.elapsed() < FRESH
    }
}

impl Seen {
    /// Whose key this is, if that is known: somebody's, or nobody's.
    pub(super) fn get(&self, hash: &str, now: &Asked) -> Option<Option<Caller>> {
        let seen = lock(&self.0);
        let good = |answer: &&Answer| answer.asked.is_fresh() && answer.asked.stamp == now.stamp;
        seen.get(hash).filter(good).map(|answer| answer.caller.clone())
    }

    /// Remembers an answer to a question that was asked then.
    pub(super) fn remember(&self, hash: String, caller: Option<Caller>, asked: Asked) {
        let mut seen = lock(&self.0);
        if seen.len() >= MOST {
            seen.retain(|_, answer| answer.asked.is_fresh());
        }
        // Somebody's key is worth more than nobody's.
        if seen.len() < MOST || caller.is_some() && seen.len() < 2 * MOST {
            seen.insert(hash, Answer { caller, asked });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn now() -> Asked {
        Asked::now(Stamp::none())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_for_a_second_from_the_question() {
        let seen = Seen::default();
        assert_eq!(seen.get("a", &now()), None);
        let asked = now();
        advance(Duration::from_millis(400)).await;
        seen.remember("a".into(), Some(Caller::anyone()), asked);
        seen.remember("b".into(), None, asked);
        advance(Duration::from_millis(599)).await;
        assert_eq!((seen.get("a", &now()), seen.get("b", &now())), (Some(Some(Caller::anyone())), Some(None)));
        advance(Duration::from_millis(1)).await;
        assert_eq!((seen.get("a", &now()), seen.get("b", &now())), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let seen = Seen::default();
        let number = || lock(&seen.0).len();
        for n in 0..3 * MOST {
            seen.remember(n.to_string(), None, now());
        }
        assert_eq!(number(), MOST);
        seen.remember("somebody".into(), Some(Caller::anyone()), now());
        assert_eq!(seen.get("somebody", &now()), Some(Some(Caller::anyone())));
        advance(FRESH).await;
        seen.remember("later".into(), None, now());
        assert_eq!(number(), 1);
    }
}
