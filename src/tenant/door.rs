//! Whether callers without a key are let in.
//!
//! ```text
//!   OPEN ──── any key was made ────▶ CLOSED
//! ```
//!
//! It never opens again: keys are revoked, not removed, and revoking the last one must not let everybody in.

use super::{Caller, DEFAULT, Tenant};
use crate::store::{self, Store};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// How old the answer may be that calls without a key go by. They do not ask the database each.
const FRESH: Duration = Duration::from_millis(500);

/// How long calls wait for a new answer when there is an old one.
const PATIENCE: Duration = Duration::from_secs(1);

/// The door of one server.
#[derive(Debug, Default)]
pub(super) struct Door {
    closed: AtomicBool,
    /// Held while the database is asked: others wait for the same answer.
    last: Mutex<Option<Seen>>,
}

/// What was seen when the door was open.
#[derive(Debug)]
struct Seen {
    caller: Caller,
    at: Instant,
}

impl Door {
    /// Who a caller without a key is, if the door is open.
    pub(super) async fn enter(&self, store: &Store) -> store::Result<Option<Caller>> {
        if self.closed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut last = self.last.lock().await;
        if let Some(seen) = last.as_ref().filter(|seen| seen.at.elapsed() < FRESH) {
            return Ok(Some(seen.caller.clone()));
        }
        // Before the question, so that the answer is never older than it seems.
        let at = Instant::now();
        let asked = match timeout(PATIENCE, ask(store)).await {
            Ok(asked) => asked,
            // Nobody can make a key in a database that does not answer.
            Err(_) if last.is_some() => return Ok(remember(&mut last, Instant::now())),
            Err(_) => ask(store).await,
        };
        match asked {
            Ok(Some(caller)) => {
                *last = Some(Seen { caller: caller.clone(), at });
                Ok(Some(caller))
            }
            Ok(None) => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) if error.is_passing() && last.is_some() => Ok(remember(&mut last, Instant::now())),
            Err(error) => Err(error),
        }
    }
}

/// Goes by the last answer for a while longer.
fn remember(last: &mut Option<Seen>, now: Instant) -> Option<Caller> {
    last.as_mut().map(|seen| {
        seen.at = now;
        seen.caller.clone()
    })
}

/// Who a caller without a key is, if no key was ever made.
async fn ask(store: &Store) -> store::Result<Option<Caller>> {
    if store.has_api_keys().await? {
        return Ok(None);
    }
    let limits = store.tenant(DEFAULT).await?.map(|row| row.limits).unwrap_or_default();
    Ok(Some(Caller::new(Tenant { id: DEFAULT.to_owned(), limits })))
}
