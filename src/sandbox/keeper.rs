//! Looks after one sandbox as long as it lives: hears what runs in it, notices when its agent dies, and releases it
//! when its time is over.

use super::{EndReason, Entry, Sandboxes, State, life::Event, lifetime};
use crate::{api::agent::v1::ActivityResponse, sync::lock};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How long a sandbox whose agent died can be seen.
const FAILED_KEPT: Duration = Duration::from_secs(600);

/// When the removal of a sandbox that could not be removed is tried again.
const REMOVE_AGAIN: Duration = Duration::from_secs(60);

/// The clock of the host may be set: nobody sleeps through that for longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How long to wait before an agent is asked again that lives and does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long an agent may take to say whether something runs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

impl Sandboxes {
    /// Looks after a sandbox until it is gone.
    pub(super) fn keep(&self, entry: Arc<Entry>) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = this.release_in_time(&entry) => {}
                () = this.listen(&entry) => {}
            }
        });
    }

    /// Returns when the sandbox is gone.
    async fn release_in_time(&self, entry: &Arc<Entry>) {
        let mut changes = entry.watch();
        loop {
            let state = changes.borrow_and_update().state;
            let left = match state {
                State::Gone => return,
                State::Starting | State::Stopping | State::Abandoned => None,
                // What could not be removed is tried again, what has failed is only shown.
                State::Failed if entry.not_removed().is_some() => Some((REMOVE_AGAIN, EndReason::Deleted)),
                State::Failed => Some((FAILED_KEPT, EndReason::AgentEnded)),
                State::Running => lifetime::remaining(&entry.status().settings, entry.usage(), self.clock().now()),
            };
            let wake = async {
                match left {
                    Some((left, _)) if state == State::Failed => sleep(left).await,
                    Some((left, _)) => sleep(left.min(LONGEST_SLEEP)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wake => {}
                _ = changes.changed() => continue,
            }
            if state == State::Failed {
                self.begin_end(entry, &Event::FailedLongEnough, || true);
            } else {
                self.release_if_due(entry).await;
            }
        }
    }

    async fn release_if_due(&self, entry: &Arc<Entry>) {
        let due = |entry: &Entry| {
            let left = lifetime::remaining(&entry.status().settings, entry.usage(), self.clock().now());
            left.filter(|(left, _)| left.is_zero()).map(|(_, reason)| reason)
        };
        if due(entry) == Some(EndReason::Idle) {
            // What the agent said last may be a second old.
            if let Ok(Ok(activity)) = timeout(ANSWER_TIMEOUT, entry.link.activity()).await {
                entry.commands_idle(idle(&activity));
            }
        }
        if let Some(reason) = due(entry) {
            tracing::info!(sandbox = entry.id(), ?reason, "a sandbox is released");
            // A call that has just begun keeps an idle sandbox.
            let unused = || reason != EndReason::Idle || entry.usage().calls == 0;
            self.begin_end(entry, &Event::TimeOver(reason), unused);
        }
    }

    /// Hears what runs, for as long as the sandbox does. Does not return.
    async fn listen(&self, entry: &Arc<Entry>) {
        loop {
            entry.wait_for(|state| state == State::Running).await;
            // However it ends, the next look tells why.
            let hear = |activity: &ActivityResponse| {
                entry.commands_idle(idle(activity));
                lock(&entry.sessions).hear(activity, Instant::now());
            };
            let _ = entry.link.hear_activity(hear).await;
            self.look_after(entry).await;
            sleep(ASK_AGAIN).await;
        }
    }
}

/// How long nothing has run; `None` while something does.
pub(super) fn idle(activity: &ActivityResponse) -> Option<Duration> {
    if activity.running_commands > 0 {
        return None;
    }
    Some(activity.idle.and_then(|idle| idle.try_into().ok()).unwrap_or_default())
}
