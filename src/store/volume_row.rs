//! A volume as the database keeps it.

use super::{Result, error::decode, from_millis};
use sqlx::{Row, any::AnyRow};
use std::{collections::BTreeMap, time::SystemTime};

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// Its id; sorts by creation.
    pub id: String,
    /// Who owns it.
    pub tenant: String,
    /// The server that has its files.
    pub server: String,
    /// The runtime that made them.
    pub runtime: String,
    /// Its name, unique in the tenant.
    pub name: String,
    /// Where it is in its life.
    pub state: VolumeState,
    /// Whether any number of sandboxes may have it for writing.
    pub shared: bool,
    /// Bytes that its files may take.
    pub size_bytes: Option<u64>,
    /// The directory of the host that it is; empty for files of its own.
    pub host_directory: String,
    /// The caller's own pairs.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub create_time: SystemTime,
}

/// Where a volume is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
    /// Its files are being made. Nobody was told of it yet.
    Creating,
    /// Told to its creator.
    Ready,
    /// Its files are being removed.
    Deleting,
}

/// A sandbox that has a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUse {
    /// Which sandbox.
    pub sandbox_id: String,
    /// Which volume.
    pub volume_id: String,
    /// Where it is in the sandbox.
    pub path: String,
    /// Whether it can only read.
    pub read_only: bool,
}

/// What became of an insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeInserted {
    /// It is there.
    New,
    /// The request made this one before.
    Repeated(String),
    /// The request id was used for another request.
    Reused,
    /// The tenant has one of this name, in this state.
    NameTaken(VolumeState),
    /// The tenant has as many as it may.
    TooMany,
    /// The directory is in that of another volume, or has one in it.
    Overlaps,
}

/// What became of a deletion's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeDeletion {
    /// It is being deleted, now or already before.
    Begun,
    /// Sandboxes have it.
    Used(Vec<VolumeUse>),
    /// There is no such volume.
    Gone,
}

/// A page of volumes, and who has them.
#[derive(Debug)]
pub struct VolumePage {
    /// Oldest first.
    pub rows: Vec<VolumeRow>,
    /// Of these volumes.
    pub uses: Vec<VolumeUse>,
    /// Whether there are more.
    pub more: bool,
    /// How many there are in all.
    pub total: u64,
}

/// What [`read`] reads.
pub(super) const COLUMNS: &str =
    "id, tenant, server, runtime, name, state, shared, size_bytes, host_directory, labels, create_time";

impl VolumeState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Deleting => "deleting",
        }
    }

    pub(super) fn of(name: &str) -> Result<Self> {
        [Self::Creating, Self::Ready, Self::Deleting]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| decode(std::io::Error::other(format!("no state of a volume is called {name:?}"))))
    }
}

/// The volume of a row.
pub(super) fn read(row: &AnyRow) -> Result<VolumeRow> {
    Ok(VolumeRow {
        id: row.try_get("id")?,
        tenant: row.try_get("tenant")?,
        server: row.try_get("server")?,
        runtime: row.try_get("runtime")?,
        name: row.try_get("name")?,
        state: VolumeState::of(&row.try_get::<String, _>("state")?)?,
        shared: row.try_get::<i64, _>("shared")? != 0,
        size_bytes: row.try_get::<Option<i64>, _>("size_bytes")?.map(i64::unsigned_abs),
        host_directory: row.try_get("host_directory")?,
        labels: serde_json::from_str(&row.try_get::<String, _>("labels")?).map_err(decode)?,
        create_time: from_millis(row.try_get("create_time")?),
    })
}

/// Who has a volume, of a row.
pub(super) fn read_use(row: &AnyRow) -> Result<VolumeUse> {
    Ok(VolumeUse {
        sandbox_id: row.try_get("sandbox_id")?,
        volume_id: row.try_get("volume_id")?,
        path: row.try_get("path")?,
        read_only: row.try_get::<i64, _>("read_only")? != 0,
    })
}
