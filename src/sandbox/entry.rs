//! One sandbox: what it is, where it is in its life, who uses it and who watches it.

use super::{
    Clock, Condition, Lifetime, Progress, State,
    life::Event,
    lifetime::{self, Use},
    link::Link,
    open_sessions::OpenSessions,
    removal::NotRemoved,
};
use crate::{
    runtime::{Limits, Network},
    sample::History,
    store::Settings,
    sync::lock,
    volume::{Mounted, VolumeWanted},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, time::Instant};

/// What a client asks for.
#[derive(Debug, Clone, Serialize)]
pub struct NewSandbox {
    /// The image's name; empty for the default.
    pub image: String,
    /// The caller's own pairs.
    pub labels: BTreeMap<String, String>,
    /// Environment of every session.
    pub env: BTreeMap<String, String>,
    /// Limits that were asked for.
    pub limits: Limits,
    /// How long it is to live.
    pub lifetime: Lifetime,
    /// The network that was asked for.
    pub network: Network,
    /// Whether background processes count as use.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub background_is_activity: bool,
    /// As whom what runs in it runs; empty for whoever the agent is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Where what runs in it begins; empty for the default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
    /// The sample that it is to be made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleWanted>,
    /// The volumes that it is to have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeWanted>,
    /// The caller's own id of this request; empty if it has none.
    #[serde(skip)]
    pub request_id: String,
}

/// The sample that a sandbox is to be made from.
#[derive(Debug, Clone, Serialize)]
pub struct SampleWanted {
    /// The dataset; empty for the only one that has such a sample.
    pub dataset: String,
    /// Which of its samples.
    pub sample_id: String,
    /// How much of the past its repository is to have.
    pub history: History,
    /// Whether a session is to be opened.
    pub opens_session: bool,
}

/// The sample that a sandbox was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleUsed {
    /// The dataset.
    pub dataset: String,
    /// Which of its samples.
    pub sample_id: String,
    /// As its author counts.
    pub version: String,
    /// As its files were when the sandbox was made.
    pub fingerprint: String,
    /// How much of the past its repository had.
    pub history: History,
}

/// What never changes of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its id.
    pub id: String,
    /// Who owns it.
    pub tenant: String,
    /// When it was created.
    pub create_time: SystemTime,
    /// The rest.
    pub details: Details,
}

/// What never changes and is never searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The image's name, as asked for.
    pub image: String,
    /// What started it.
    pub runtime: String,
    /// Where sessions start. Empty until the sandbox was made, if its image says so.
    pub working_directory: String,
    /// Whether that was asked for, so that the agent makes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub makes_directory: bool,
    /// The limits in force.
    pub limits: Limits,
    /// Its network.
    pub network: Network,
    /// What the host could not give.
    pub warnings: Vec<String>,
    /// Whether background processes count as use. Rows of earlier versions do not say it.
    #[serde(default)]
    pub background_is_activity: bool,
    /// As whom what runs in it runs; empty for whoever the agent is.
    #[serde(default)]
    pub user: String,
    /// The sample that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleUsed>,
    /// The layer over its image. Not known until it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// The volumes that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Mounted>,
    /// The session that was opened when it was made. Empty: none was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub default_session_id: String,
}

/// A sandbox as it is at a moment.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// What never changes.
    pub about: Arc<About>,
    /// What does.
    pub status: Condition,
    /// When it will be released if nobody uses it until then.
    pub expire_time: Option<SystemTime>,
}

/// A sandbox and how to reach it.
pub struct Entry {
    pub(super) about: Arc<About>,
    /// The same with what became known when it was made, and the limit of its files that it has now.
    learned: Mutex<Option<Arc<About>>>,
    status: watch::Sender<Condition>,
    usage: Mutex<Use>,
    pub(super) link: Link,
    /// Output streams under way, so that a deletion can let them end.
    streams: watch::Sender<usize>,
    not_removed: Mutex<Option<NotRemoved>>,
    /// How many sessions are open.
    pub(super) sessions: Mutex<OpenSessions>,
    /// One update at a time.
    pub(super) updating: tokio::sync::Mutex<()>,
}

impl Entry {
    pub(super) fn new(about: About, status: Condition, link: Link) -> Self {
        Self {
            about: Arc::new(about),
            learned: Mutex::default(),
            status: watch::Sender::new(status),
            usage: Mutex::new(Use { calls: 0, commands: false, idle_since: Instant::now() }),
            link,
            streams: watch::Sender::new(0),
            not_removed: Mutex::default(),
            sessions: Mutex::default(),
            updating: tokio::sync::Mutex::default(),
        }
    }

    /// The sandbox as it is now.
    pub(super) fn snapshot(&self, clock: &Clock) -> Sandbox {
        let status = self.status();
        let expire_time = match status.state {
            State::Starting | State::Running => lifetime::expire_time(&status.settings, self.usage(), clock.now()),
            State::Stopping | State::Failed | State::Abandoned | State::Gone => None,
        };
        Sandbox { about: self.about(), status, expire_time }
    }

    /// What it is, with all that is known of it.
    pub(super) fn about(&self) -> Arc<About> {
        lock(&self.learned).as_ref().unwrap_or(&self.about).clone()
    }

    /// Keeps what only becomes known while it is being made.
    pub(super) fn learn(&self, what: impl FnOnce(&mut Details)) -> Arc<About> {
        let mut learned = lock(&self.learned);
        let mut about = About::clone(learned.as_ref().unwrap_or(&self.about));
        what(&mut about.details);
        learned.insert(Arc::new(about)).clone()
    }

    /// Keeps the limit that its files have now.
    pub(super) fn limited(&self, disk_bytes: u64) -> Arc<About> {
        self.learn(|details| details.limits.disk_bytes = Some(disk_bytes))
    }

    /// Whether something became known that its row does not have yet.
    pub(super) fn has_learned(&self) -> bool {
        lock(&self.learned).is_some()
    }

    pub(super) fn id(&self) -> &str {
        &self.about.id
    }

    pub(super) fn status(&self) -> Condition {
        self.status.borrow().clone()
    }

    pub(super) fn state(&self) -> State {
        self.status.borrow().state
    }

    /// Hears of every change.
    pub(super) fn watch(&self) -> watch::Receiver<Condition> {
        self.status.subscribe()
    }

    /// Takes in an event. False when it changes nothing.
    pub(super) fn apply(&self, event: &Event) -> bool {
        self.apply_if(event, || true)
    }

    /// The same, if `may` says so at that moment.
    pub(super) fn apply_if(&self, event: &Event, may: impl Fn() -> bool) -> bool {
        self.status.send_if_modified(|status| status.state.after(event).is_some() && may() && status.apply(event))
    }

    /// It was to be removed and could not be.
    pub(super) fn was_not_removed(&self, why: NotRemoved) {
        *lock(&self.not_removed) = Some(why);
        self.apply(&Event::RemovalFailed);
    }

    /// Why it was not removed when that was tried last.
    pub(super) fn not_removed(&self) -> Option<NotRemoved> {
        lock(&self.not_removed).clone()
    }

    /// Whether it takes a place in the server. What has failed does not, unless it is still there.
    pub(super) fn counts(&self) -> bool {
        self.state() != State::Failed || self.not_removed().is_some()
    }

    /// How far its start is.
    pub(super) fn progress(&self, progress: Progress) {
        self.status.send_if_modified(|status| std::mem::replace(&mut status.progress, progress) != progress);
    }

    /// Takes new settings.
    pub(super) fn set(&self, settings: Settings) {
        self.status.send_modify(|status| status.settings = settings);
    }

    /// Waits until the state is such; at once if it is.
    pub(super) async fn wait_for(&self, such: impl Fn(State) -> bool) -> State {
        // The sender lives as long as `self`, so the wait cannot fail.
        self.status.subscribe().wait_for(|status| such(status.state)).await.map_or(State::Gone, |status| status.state)
    }

    pub(super) fn usage(&self) -> Use {
        *lock(&self.usage)
    }

    /// A call begins.
    pub(super) fn call_started(&self) {
        lock(&self.usage).calls += 1;
    }

    /// A call ends.
    pub(super) fn call_ended(&self) {
        let mut usage = lock(&self.usage);
        usage.calls -= 1;
        usage.idle_since = Instant::now();
    }

    /// A call that ends at once.
    pub(super) fn touch(&self) {
        lock(&self.usage).idle_since = Instant::now();
    }

    /// What the agent says: `None` while commands run, else how long none did.
    pub(super) fn commands_idle(&self, idle: Option<Duration>) {
        let mut usage = lock(&self.usage);
        usage.commands = idle.is_none();
        if let Some(since) = idle.and_then(|idle| Instant::now().checked_sub(idle)) {
            usage.idle_since = usage.idle_since.max(since);
        }
    }

    /// Trusts what the agent says of the time before this server began.
    pub(super) fn idle_since_at_most(&self, idle: Duration) {
        if let Some(since) = Instant::now().checked_sub(idle) {
            lock(&self.usage).idle_since = since;
        }
    }

    pub(super) fn stream_started(&self) {
        self.streams.send_modify(|count| *count += 1);
    }

    pub(super) fn stream_ended(&self) {
        self.streams.send_modify(|count| *count -= 1);
    }

    /// Waits until no output stream is under way.
    pub(super) async fn streams_ended(&self) {
        let _ = self.streams.subscribe().wait_for(|count| *count == 0).await;
    }
}
