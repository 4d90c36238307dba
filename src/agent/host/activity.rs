//! What runs in the sandbox: what the server must know to release a sandbox that nobody uses, and to keep a tenant's limit of
//! sessions.

use crate::api::agent::v1::ActivityResponse;
use futures_util::{Stream, stream};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Who watches hears of changes no more often than this. Short commands in a row are one long activity.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Counts commands and sessions.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Activity(Arc<watch::Sender<Counts>>);

#[derive(Debug, Clone, Copy)]
struct Counts {
    /// Commands that wait or run.
    running: u32,
    /// Commands ever.
    ever: u64,
    /// When the last one ended.
    idle_since: Instant,
    /// Whether something may run in the background; `None` where that does not count.
    background: Option<bool>,
    /// Sessions that are open or being opened.
    sessions: u32,
    /// Changes so far.
    revision: u64,
}

/// A command that waits or runs, until it is dropped.
#[derive(Debug)]
pub(in crate::agent) struct Ongoing(Activity);

/// A session that is open or being opened, until it is dropped.
#[derive(Debug)]
pub(in crate::agent) struct OpenSession(Activity);

impl Activity {
    /// Nothing has run yet. With `background`, what commands leave behind counts too.
    pub(in crate::agent) fn new(background: bool) -> Self {
        let idle_since = Instant::now();
        let background = background.then_some(false);
        let counts = Counts { running: 0, ever: 0, idle_since, background, sessions: 0, revision: 1 };
        Self(Arc::new(watch::Sender::new(counts)))
    }

    /// One more command.
    pub(in crate::agent) fn begin(&self) -> Ongoing {
        self.change(|counts| {
            counts.running += 1;
            counts.ever += 1;
            // Until that was looked at.
            counts.background = counts.background.map(|_| true);
        });
        Ongoing(self.clone())
    }

    /// One more session.
    pub(in crate::agent) fn open_session(&self) -> OpenSession {
        self.change(|counts| counts.sessions += 1);
        OpenSession(self.clone())
    }

    /// Resolved when no command runs and something may in the background.
    pub(in crate::agent) async fn background_is_to_be_looked_at(&self) {
        let mut counts = self.0.subscribe();
        // The sender lives as long as this.
        let _ = counts.wait_for(|counts| counts.running == 0 && counts.background == Some(true)).await;
    }

    /// Nothing was found in the background, in a look that began when so many commands had been.
    pub(in crate::agent) fn no_background(&self, ever: i64) {
        let unchanged = |counts: &Counts| counts.running == 0 && counts.describe().commands == ever;
        self.0.send_if_modified(|counts| {
            let gone = counts.background == Some(true) && unchanged(counts);
            if gone {
                counts.background = Some(false);
                counts.idle_since = Instant::now();
                counts.revision += 1;
            }
            gone
        });
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        self.0.send_modify(|counts| {
            change(counts);
            counts.revision += 1;
        });
    }

    /// How things are.
    pub(in crate::agent) fn now(&self) -> ActivityResponse {
        self.0.borrow().describe()
    }

    /// How things are, and then again whenever that has changed.
    pub(in crate::agent) fn watch(&self) -> impl Stream<Item = ActivityResponse> + use<> {
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
            idle: (self.running == 0 && self.background != Some(true))
                .then(|| self.idle_since.elapsed())
                .and_then(|idle| idle.try_into().ok()),
            open_sessions: i64::from(self.sessions),
            revision: self.revision,
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.change(|counts| {
            counts.running -= 1;
            counts.idle_since = Instant::now();
        });
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.change(|counts| counts.sessions -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test(start_paused = true)]
    async fn idleness_begins_when_the_last_command_is_over() {
        let activity = Activity::new(false);
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
    async fn what_runs_in_the_background_counts_when_it_is_to() {
        let activity = Activity::new(true);
        assert!(activity.now().idle.is_some());
        drop(activity.begin());
        activity.background_is_to_be_looked_at().await;
        assert_eq!((activity.now().running_commands, activity.now().idle), (0, None));
        // A look that began before another command says nothing of that one.
        activity.no_background(0);
        assert_eq!(activity.now().idle, None);
        tokio::time::advance(Duration::from_secs(5)).await;
        activity.no_background(1);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(activity.now().idle.map(|idle| idle.seconds), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_counted_as_long_as_they_are_open_and_are_no_commands() {
        let activity = Activity::new(false);
        let mut watch = Box::pin(activity.watch());
        let first = watch.next().await.unwrap();
        let (one, two) = (activity.open_session(), activity.open_session());
        drop(one);
        let later = watch.next().await.unwrap();
        assert_eq!((first.open_sessions, later.open_sessions, later.running_commands), (0, 1, 0));
        assert!(later.revision > first.revision && later.idle.is_some());
        drop(two);
        assert_eq!(activity.now().open_sessions, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn many_short_commands_are_told_as_one_change() {
        let activity = Activity::new(false);
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
