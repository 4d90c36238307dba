//! How many sessions a tenant may have in all of its sandboxes.
//!
//! Agents own sessions, and each says by itself how many of its are open. A call that opens one takes a place before it reaches
//! the agent: counting and taking are one step under a lock that is held for nothing else, so any number of calls at once keep
//! the limit, and no call waits for an agent that does not answer. Only a call that finds no place has agents asked how many
//! sessions are open now.

use super::{Entry, Reached, Sandboxes, State};
use crate::{
    error::{Error, Reason, Result},
    sync::lock,
    tenant::Caller,
};
use futures_util::{StreamExt, stream};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How long a call that finds no place waits for one: a session that has just ended is gone by then.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long it waits for agents that are asked and have not answered yet, as on a busy host.
const PATIENCE_WITH_THE_SILENT: Duration = Duration::from_secs(2);

/// How long agents may take to answer before what they said last is gone by. What they say later counts from then on.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);

/// A question that an agent has not answered by then is dropped.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// Agents that are asked at one time for one call.
const ASKED_AT_ONCE: usize = 32;

/// How long to wait before they are asked again.
const PAUSE: Duration = Duration::from_millis(25);

/// The right to open one session, to be kept until the call that opens it is over.
pub struct SessionPlace(Option<(Arc<Entry>, u64)>);

impl Drop for SessionPlace {
    fn drop(&mut self) {
        if let Some((entry, call)) = self.0.take() {
            lock(&entry.sessions).end(call, Instant::now());
        }
    }
}

impl Sandboxes {
    /// Takes a place for one more session in this sandbox; refused when the tenant has as many as it may.
    pub async fn session_place(&self, caller: &Caller, reached: &Reached) -> Result<SessionPlace> {
        let Some(most) = caller.limits().sessions else { return Ok(SessionPlace(None)) };
        let began = Instant::now();
        loop {
            if let Some(place) = self.take_session_place(caller.tenant(), reached.entry(), most) {
                return Ok(place);
            }
            let patience = if self.an_answer_is_due(caller.tenant()) { PATIENCE_WITH_THE_SILENT } else { PATIENCE };
            if most == 0 || began.elapsed() >= patience {
                let message = format!("tenant \"{}\" has its limit of {most} sessions; close one", caller.tenant());
                return Err(Error::quota(Reason::TooManySessions, message));
            }
            self.ask_for_sessions(caller.tenant()).await;
            if let Some(place) = self.take_session_place(caller.tenant(), reached.entry(), most) {
                return Ok(place);
            }
            sleep(PAUSE).await;
        }
    }

    fn take_session_place(&self, tenant: &str, entry: &Arc<Entry>, most: u64) -> Option<SessionPlace> {
        let _one_at_a_time = lock(self.session_gate());
        let open: u64 = self.running_of(tenant).iter().map(|entry| lock(&entry.sessions).count()).sum();
        (open < most).then(|| SessionPlace(Some((entry.clone(), lock(&entry.sessions).begin(Instant::now())))))
    }

    /// Asks the agents that have sessions how many these are now, and waits a little for what they say. What one has not said
    /// by then stays as it was said last, until it says it.
    async fn ask_for_sessions(&self, tenant: &str) {
        let now = Instant::now();
        let mut entries = self.running_of(tenant);
        entries.retain(|entry| lock(&entry.sessions).begin_to_ask(now));
        if entries.is_empty() {
            return;
        }
        let ask = async |entry: Arc<Entry>| {
            let asked = Instant::now();
            if let Ok(Ok(activity)) = timeout(GIVE_UP_AFTER, entry.link.activity()).await {
                lock(&entry.sessions).answer(&activity, asked, Instant::now());
            }
        };
        // In a task of its own, which goes on when nobody waits for it any more: an answer that takes long is an answer.
        let asking = tokio::spawn(async move { stream::iter(entries).for_each_concurrent(ASKED_AT_ONCE, ask).await });
        let _ = timeout(ANSWER_TIMEOUT, asking).await;
    }

    /// Whether an agent was asked a short time ago and has not answered yet.
    fn an_answer_is_due(&self, tenant: &str) -> bool {
        let now = Instant::now();
        self.running_of(tenant).iter().any(|entry| lock(&entry.sessions).is_answer_due(now))
    }

    fn running_of(&self, tenant: &str) -> Vec<Arc<Entry>> {
        let mut entries = self.registry().all();
        entries.retain(|entry| entry.about.tenant == tenant && entry.state() == State::Running);
        entries
    }
}
