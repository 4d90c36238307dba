//! Changing a sandbox that runs.

use super::{Entry, Lifetime, Sandbox, Sandboxes, State, lifetime};
use crate::{
    error::{Error, Kind, Reason, Result},
    tenant::Caller,
};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

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
            }
        }
        let ended = || Error::WrongState {
            reason: Reason::SandboxNotRunning,
            message: format!("sandbox \"{}\" does not run any more", entry.id()),
        };
        if !matches!(entry.state(), State::Starting | State::Running) {
            return Err(ended());
        }
        if !self.store().set_sandbox_settings(entry.id(), &settings).await? {
            return Err(ended());
        }
        entry.set(settings);
        entry.touch();
        Ok(entry.snapshot(self.clock()))
    }
}
