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
use tokio::{sync::Mutex, time::Instant};

/// How old the answer may be that calls without a key go by. They do not ask the database each.
const FRESH: Duration = Duration::from_millis(500);

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
        if store.has_api_keys().await? {
            self.closed.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        let limits = store.tenant(DEFAULT).await?.map(|row| row.limits).unwrap_or_default();
        let caller = Caller::new(Tenant { id: DEFAULT.to_owned(), limits });
        *last = Some(Seen { caller: caller.clone(), at });
        Ok(Some(caller))
    }
}
