//! A sandbox as the database keeps it.

use super::{Result, VolumeUse, duration_from_millis, error::decode, from_millis};
use sqlx::{Row, any::AnyRow};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// Where a sandbox is in its life, as far as a restarted server must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// Being made. Nobody was told its id yet.
    Starting,
    /// Told to its creator.
    Running,
    /// Being deleted.
    Stopping,
    /// Its agent ended by itself.
    Failed,
    /// Gone; the row is kept for a while, so that a repeated deletion succeeds.
    Deleted,
}

/// One sandbox.
#[derive(Debug, Clone)]
pub struct SandboxRow {
    /// Its id.
    pub id: String,
    /// Who owns it.
    pub tenant: String,
    /// The server that runs it.
    pub server: String,
    /// Where it is in its life.
    pub state: SandboxState,
    /// When it was created.
    pub create_time: SystemTime,
    /// What an update may change.
    pub settings: Settings,
    /// What counts against the tenant's limit.
    pub memory_bytes: u64,
    /// What never changes and is never searched, as JSON.
    pub details: String,
    /// When it failed or was deleted.
    pub end_time: Option<SystemTime>,
}

/// What an update may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The caller's own pairs.
    pub labels: BTreeMap<String, String>,
    /// When its time to live ends.
    pub expire_time: Option<SystemTime>,
    /// How long it may be idle.
    pub idle_timeout: Option<Duration>,
}

/// A request that may be repeated.
#[derive(Debug, Clone)]
pub struct RequestKey {
    /// The client's id of it.
    pub request_id: String,
    /// Digest of all that it asks for.
    pub digest: String,
    /// Uses before this time are forgotten.
    pub not_before: SystemTime,
}

/// What a tenant may have in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Active sandboxes.
    pub sandboxes: Option<u64>,
    /// Memory limits of active sandboxes together.
    pub memory_bytes: Option<u64>,
}

/// What became of an insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It is there.
    New,
    /// The request made this sandbox before.
    Repeated(String),
    /// The request id was used for another request.
    Reused,
    /// The tenant has as many sandboxes as it may.
    TooManySandboxes,
    /// The tenant's sandboxes would have more memory than they may.
    TooMuchMemory,
    /// There is no such volume any more.
    VolumeGone(String),
    /// Others have a volume in a way that excludes this sandbox.
    VolumeInUse {
        /// Which volume.
        volume_id: String,
        /// Who has it.
        users: Vec<VolumeUse>,
    },
}

/// What [`read`] reads.
pub(super) const COLUMNS: &str = "s.id, s.tenant, s.server, s.state, s.create_time, s.expire_time, s.idle_timeout, \
                       s.memory_bytes, s.labels, s.details, s.end_time";

/// The sandbox of a row.
pub(super) fn read(row: &AnyRow) -> Result<SandboxRow> {
    let time = |column: &str| row.try_get::<Option<i64>, _>(column).map(|millis| millis.map(from_millis));
    let labels: String = row.try_get("labels")?;
    Ok(SandboxRow {
        id: row.try_get("id")?,
        tenant: row.try_get("tenant")?,
        server: row.try_get("server")?,
        state: SandboxState::of(&row.try_get::<String, _>("state")?)?,
        create_time: from_millis(row.try_get("create_time")?),
        settings: Settings {
            labels: serde_json::from_str(&labels).map_err(decode)?,
            expire_time: time("expire_time")?,
            idle_timeout: row.try_get::<Option<i64>, _>("idle_timeout")?.map(duration_from_millis),
        },
        memory_bytes: row.try_get::<i64, _>("memory_bytes")?.unsigned_abs(),
        details: row.try_get("details")?,
        end_time: time("end_time")?,
    })
}

pub(super) fn labels_to_json(labels: &BTreeMap<String, String>) -> String {
    // A map of strings can always be written.
    serde_json::to_string(labels).unwrap_or_default()
}

impl SandboxState {
    /// The states in which a sandbox may be when it comes into this one. What is noted late, by a task that was held up, must not
    /// overwrite what has been true since.
    pub(super) fn comes_after(self) -> &'static [Self] {
        match self {
            Self::Starting => &[],
            Self::Running => &[Self::Starting],
            Self::Failed => &[Self::Running],
            // Again, when it could not be finished the first time.
            Self::Stopping => &[Self::Running, Self::Failed, Self::Stopping],
            Self::Deleted => &[Self::Starting, Self::Running, Self::Failed, Self::Stopping],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
        }
    }

    fn of(name: &str) -> Result<Self> {
        [Self::Starting, Self::Running, Self::Stopping, Self::Failed, Self::Deleted]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| decode(std::io::Error::other(format!("no state is called {name:?}"))))
    }
}
