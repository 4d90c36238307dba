//! How many sessions a tenant may have in all of its sandboxes. The agents own sessions, so they are asked.

use super::{Entry, Sandboxes, State};
use crate::{
    error::{Error, Reason, Result},
    sync::lock,
    tenant::Caller,
};
use futures_util::future::join_all;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::OwnedMutexGuard;

/// Who of which tenant opens a session now: one after another, so that the count is right.
pub(super) type Turns = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// The right to open one session, to be kept until it is open.
pub struct SessionPlace(#[expect(dead_code, reason = "held, not read")] Option<OwnedMutexGuard<()>>);

impl Sandboxes {
    /// Waits for the right to open one more session; refused when the tenant has as many as it may.
    pub async fn session_place(&self, caller: &Caller) -> Result<SessionPlace> {
        let Some(most) = caller.limits().sessions else { return Ok(SessionPlace(None)) };
        let turn = Arc::clone(lock(self.session_turns()).entry(caller.tenant().to_owned()).or_default());
        let turn = turn.lock_owned().await;
        let entries = self.registry().all();
        let own =
            entries.iter().filter(|entry| entry.about.tenant == caller.tenant() && entry.state() == State::Running);
        let open: u64 = join_all(own.map(|entry| sessions(entry))).await.into_iter().sum();
        if open >= most {
            let message = format!("tenant \"{}\" has its limit of {most} sessions; close one", caller.tenant());
            return Err(Error::quota(Reason::TooManySessions, message));
        }
        Ok(SessionPlace(Some(turn)))
    }
}

/// Open sessions of a sandbox. One that cannot be asked has none that anybody could use.
async fn sessions(entry: &Entry) -> u64 {
    entry.link.sessions().await.map_or(0, i64::unsigned_abs)
}
