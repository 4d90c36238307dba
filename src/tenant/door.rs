//! Whether callers without a key are let in.
//!
//! ```text
//!   OPEN ──── any key was made ────▶ CLOSED
//! ```
//!
//! It never opens again: keys are revoked, not removed, and revoking the last one must not let everybody in.

use super::{Caller, DEFAULT, Tenant};
use crate::{
    store::{self, Store},
    sync::lock,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Mutex as Turns,
    time::{Instant, timeout},
};

/// How old the answer may be that calls without a key go by. They do not ask the database each.
const FRESH: Duration = Duration::from_millis(500);

/// How long the call that asks waits for a new answer when there is an old one.
const PATIENCE: Duration = Duration::from_secs(1);

/// The door of one server.
#[derive(Debug, Default)]
pub(super) struct Door(Arc<State>);

#[derive(Debug, Default)]
struct State {
    closed: AtomicBool,
    last: Mutex<Option<Seen>>,
    /// Held by the task that asks the database again.
    asking: Arc<Turns<()>>,
}

/// What was seen when the door was open.
#[derive(Debug, Clone)]
struct Seen {
    caller: Caller,
    at: Instant,
}

impl Door {
    /// Who a caller without a key is, if the door is open.
    pub(super) async fn enter(&self, store: &Store) -> store::Result<Option<Caller>> {
        let store = store.clone();
        self.enter_by(|| async move { ask(&store).await }).await
    }

    async fn enter_by<F>(&self, ask: impl FnOnce() -> F) -> store::Result<Option<Caller>>
    where
        F: Future<Output = store::Result<Option<Caller>>> + Send + 'static,
    {
        if self.0.closed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Some(seen) = self.0.last() else { return self.0.note(ask()).await };
        if seen.at.elapsed() < FRESH {
            return Ok(Some(seen.caller));
        }
        // One asks, in a task of its own, and the others go by the old answer meanwhile: a database that hangs holds nobody up
        // who need not wait for it.
        let Ok(turn) = Arc::clone(&self.0.asking).try_lock_owned() else { return Ok(Some(seen.caller)) };
        let (state, ask) = (Arc::clone(&self.0), ask());
        let asked = tokio::spawn(async move {
            let _turn = turn;
            state.note(ask).await
        });
        match timeout(PATIENCE, asked).await {
            Ok(Ok(Err(error))) if !error.is_passing() => Err(error),
            Ok(Ok(Ok(answer))) => Ok(answer),
            // Nobody can make a key in a database that does not answer.
            _ => Ok(Some(seen.caller)),
        }
    }
}

impl State {
    fn last(&self) -> Option<Seen> {
        lock(&self.last).clone()
    }

    /// Waits for an answer and remembers it.
    async fn note(&self, ask: impl Future<Output = store::Result<Option<Caller>>>) -> store::Result<Option<Caller>> {
        // Before the question, so that the answer is never older than it seems.
        let at = Instant::now();
        let answer = ask.await;
        match &answer {
            Ok(Some(caller)) => *lock(&self.last) = Some(Seen { caller: caller.clone(), at }),
            Ok(None) => self.closed.store(true, Ordering::Relaxed),
            // The last answer holds for a while longer, so that not every call asks a database that cannot be reached.
            Err(error) if error.is_passing() => {
                if let Some(seen) = lock(&self.last).as_mut() {
                    seen.at = Instant::now();
                }
            }
            Err(_) => {}
        }
        answer
    }
}

/// Who a caller without a key is, if no key was ever made.
async fn ask(store: &Store) -> store::Result<Option<Caller>> {
    if store.has_api_keys().await? {
        return Ok(None);
    }
    let limits = store.tenant(DEFAULT).await?.map(|row| row.limits).unwrap_or_default();
    Ok(Some(Caller::new(Tenant { id: DEFAULT.to_owned(), limits })))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tenant::Limits;
    use std::{future::pending, time::Duration};

    fn anybody() -> Caller {
        Caller::new(Tenant { id: DEFAULT.to_owned(), limits: Limits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_hangs_holds_up_only_the_call_that_asks_it() {
        let door = Arc::new(Door::default());
        assert!(door.enter_by(|| async { Ok(Some(anybody())) }).await.unwrap().is_some());
        tokio::time::advance(FRESH).await;
        let began = Instant::now();
        let asks = tokio::spawn({
            let door = Arc::clone(&door);
            async move { door.enter_by(pending).await.unwrap() }
        });
        tokio::task::yield_now().await;
        for _ in 0..3 {
            assert!(door.enter_by(pending).await.unwrap().is_some());
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
        assert!(asks.await.unwrap().is_some());
        // The question is still open: nobody asks it a second time, and nobody waits.
        let waited = began.elapsed();
        assert!(waited >= PATIENCE && waited < PATIENCE * 2, "{waited:?}");
        assert!(door.enter_by(pending).await.unwrap().is_some());
        assert_eq!(began.elapsed(), waited);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_closes_the_door() {
        let door = Door::default();
        door.enter_by(|| async { Ok(Some(anybody())) }).await.unwrap();
        tokio::time::advance(FRESH).await;
        let late = async {
            tokio::time::sleep(PATIENCE * 2).await;
            Ok(None)
        };
        assert!(door.enter_by(|| late).await.unwrap().is_some());
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(door.enter_by(|| async { Ok(Some(anybody())) }).await.unwrap().is_none());
    }
}
