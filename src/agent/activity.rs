//! Whether anything runs in the sandbox: what the server must know to release a sandbox that nobody uses.

use crate::api::agent::v1::ActivityResponse;
use futures_util::{Stream, stream};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Who watches hears of changes no more often than this. Short commands in a row are one long activity.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Counts commands.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<watch::Sender<Counts>>);

#[derive(Debug, Clone, Copy)]
struct Counts {
    /// Commands that wait or run.
    running: u32,
    /// Commands ever.
    ever: u64,
    /// When the last one ended.
    idle_since: Instant,
}

/// A command that waits or runs, until it is dropped.
#[derive(Debug)]
pub(super) struct Ongoing(Activity);

impl Activity {
    /// Nothing has run yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Counts { running: 0, ever: 0, idle_since: Instant::now() })))
    }

    /// One more command.
    pub(super) fn begin(&self) -> Ongoing {
        self.0.send_modify(|counts| {
            counts.running += 1;
            counts.ever += 1;
        });
        Ongoing(self.clone())
    }

    /// How things are.
    pub(super) fn now(&self) -> ActivityResponse {
        self.0.borrow().describe()
    }

    /// How things are, and then again whenever that has changed.
    pub(super) fn watch(&self) -> impl Stream<Item = ActivityResponse> + use<> {
        stream::unfold((self.0.subscribe(), None), |(mut counts, last)| async move {
            if let Some(last) = last {
                counts.changed().await.ok()?;
                tokio::time::sleep_until(last + AT_MOST_EVERY).await;
            }
            let now = counts.borrow_and_update().describe();
            Some((now, (counts, Some(Instant::now()))))
        })
    }
}

impl Counts {
    fn describe(&self) -> ActivityResponse {
        ActivityResponse {
            running_commands: i64::from(self.running),
            commands: i64::try_from(self.ever).unwrap_or(i64::MAX),
            idle: (self.running == 0).then(|| self.idle_since.elapsed()).and_then(|idle| idle.try_into().ok()),
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.0.send_modify(|counts| {
            counts.running -= 1;
            counts.idle_since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test(start_paused = true)]
    async fn idleness_begins_when_the_last_command_is_over() {
        let activity = Activity::new();
        let (first, second) = (activity.begin(), activity.begin());
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(first);
        assert_eq!((activity.now().running_commands, activity.now().idle), (1, None));
        drop(second);
        tokio::time::advance(Duration::from_secs(3)).await;
        let now = activity.now();
        assert_eq!((now.running_commands, now.commands, now.idle.map(|idle| idle.seconds)), (0, 2, Some(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn many_short_commands_are_told_as_one_change() {
        let activity = Activity::new();
        let mut watch = Box::pin(activity.watch());
        assert_eq!(watch.next().await.map(|first| first.commands), Some(0));
        for _ in 0..1000 {
            drop(activity.begin());
        }
        let last = activity.begin();
        assert_eq!(watch.next().await.map(|next| (next.commands, next.running_commands)), Some((1001, 1)));
        drop(last);
        assert_eq!(watch.next().await.map(|next| next.running_commands), Some(0));
    }
}
