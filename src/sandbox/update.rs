//! Changing a sandbox that runs.

use super::{Entry, Lifetime, Sandbox, Sandboxes, State, failure::from_runtime, lifetime, policy, row};
use crate::{
    error::{Error, Kind, Reason, Result},
    runtime::Limits,
    tenant::Caller,
};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use tokio::time::timeout;

/// How long the runtime may take to set a limit.
const LIMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// What to change, in order.
pub type Update = Vec<Change>;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Replaces all labels.
    Labels(BTreeMap<String, String>),
    /// A new time to live, from now.
    Ttl(Option<Duration>),
    /// A new end of the time to live.
    ExpireTime(Option<SystemTime>),
    /// A new idle time.
    IdleTimeout(Option<Duration>),
    /// Another limit of its files.
    DiskBytes(Option<u64>),
}

impl Sandboxes {
    /// Makes all changes or none. A task of its own: a caller that goes away must not leave the database changed and the rest
    /// not.
    pub async fn update(&self, caller: &Caller, sandbox_id: &str, update: Update) -> Result<Sandbox> {
        let entry = self.find(caller, Kind::Sandbox, sandbox_id, sandbox_id).await?;
        let this = self.clone();
        let work = self.spawn(async move { this.update_entry(&entry, update).await });
        work.await.map_err(|error| Error::internal("update a sandbox", error))?
    }

    async fn update_entry(&self, entry: &Entry, update: Update) -> Result<Sandbox> {
        let _one_at_a_time = entry.updating.lock().await;
        let mut settings = entry.status().settings;
        let rules = &self.policy().lifetimes;
        let now = self.clock().now();
        let mut disk_bytes = None;
        for change in update {
            match change {
                Change::Labels(labels) => settings.labels = labels,
                Change::Ttl(ttl) => settings.expire_time = lifetime::end_of(ttl, rules, now)?,
                Change::ExpireTime(None) => settings.expire_time = lifetime::end_of(None, rules, now)?,
                Change::ExpireTime(Some(at)) => {
                    let left = at.duration_since(now).map_err(|_| {
                        Error::invalid("sandbox.expire_time", "has passed; to end a sandbox now, delete it")
                    })?;
                    let wanted = Lifetime { ttl: Some(left), idle_timeout: None };
                    lifetime::settle(wanted, rules, now)?;
                    settings.expire_time = Some(at);
                }
                Change::IdleTimeout(idle) => settings.idle_timeout = lifetime::idle_timeout(idle, rules)?,
                Change::DiskBytes(wanted) => disk_bytes = Some(self.disk_limit(wanted)?),
            }
        }
        let ended = || Error::WrongState {
            reason: Reason::SandboxNotRunning,
            message: format!("sandbox \"{}\" does not run any more", entry.id()),
        };
        if !matches!(entry.state(), State::Starting | State::Running) {
            return Err(ended());
        }
        let old = match disk_bytes {
            None => None,
            Some(_) if entry.state() != State::Running => return Err(ended()),
            Some(bytes) => self.limit_disk(entry, bytes).await?,
        };
        match self.store().set_sandbox_settings(entry.id(), &settings).await {
            Ok(true) => {}
            other => {
                if let Some(old) = old {
                    self.limit_disk(entry, old).await?;
                }
                return other.map_err(Error::from).and_then(|_| Err(ended()));
            }
        }
        entry.set(settings);
        entry.touch();
        Ok(entry.snapshot(self.clock()))
    }

    /// The limit that a sandbox's files are to have.
    fn disk_limit(&self, wanted: Option<u64>) -> Result<u64> {
        let wanted = Limits { disk_bytes: wanted, ..Limits::default() };
        let limits = policy::limits(wanted, self.runtime().supported_limits(), self.policy().default_disk_bytes)?;
        limits.disk_bytes.ok_or_else(|| {
            Error::invalid(
                "sandbox.resources.disk_bytes",
                "is required: the server has no default that could take its place",
            )
        })
    }

    /// Limits a sandbox's files, here and in its row. Returns the limit that it had. After an error it has that still.
    async fn limit_disk(&self, entry: &Entry, bytes: u64) -> Result<Option<u64>> {
        let old = entry.about().details.limits.disk_bytes;
        self.set_disk_limit(entry, bytes).await?;
        let about = entry.limited(bytes);
        let noted =
            async { self.store().set_sandbox_details(entry.id(), &row::details(&about)?).await.map_err(Error::from) };
        if let Err(error) = noted.await {
            if let Some(old) = old {
                entry.limited(old);
                self.set_disk_limit(entry, old).await?;
            }
            return Err(error);
        }
        Ok(old)
    }

    async fn set_disk_limit(&self, entry: &Entry, bytes: u64) -> Result<()> {
        let limited = timeout(LIMIT_TIMEOUT, self.runtime().limit_disk(entry.id(), bytes)).await;
        match limited {
            Ok(result) => result.map_err(|error| from_runtime(error, &entry.about.details.image)),
            Err(_) => {
                let message = "the file system of the sandboxes does not answer; send it again later".to_owned();
                Err(Error::Unavailable { reason: Reason::RuntimeUnreachable, message })
            }
        }
    }
}
