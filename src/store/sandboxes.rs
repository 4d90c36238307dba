//! Rows of sandboxes, their labels, and the requests that made them.

use super::{Result, Store, StoreError, duration_from_millis, duration_to_millis, from_millis, to_millis};
use sqlx::{Any, AssertSqlSafe, Row, any::AnyRow, query, query_scalar};
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
}

/// What [`read`] reads.
pub(super) const COLUMNS: &str = "s.id, s.tenant, s.server, s.state, s.create_time, s.expire_time, s.idle_timeout, \
                       s.memory_bytes, s.labels, s.details, s.end_time";

impl Store {
    /// Adds a sandbox that is about to be made, unless the tenant has too much or the request was made before.
    pub async fn insert_sandbox(
        &self,
        row: &SandboxRow,
        quota: Quota,
        request: Option<&RequestKey>,
    ) -> Result<Inserted> {
        let mut tx = self.begin().await?;
        // Creations of one tenant go one after another, so that counting is right with several servers.
        query("UPDATE tenants SET create_time = create_time WHERE id = $1").bind(&row.tenant).execute(&mut *tx).await?;
        if let Some(request) = request {
            query("DELETE FROM create_requests WHERE tenant = $1 AND request_id = $2 AND create_time < $3")
                .bind(&row.tenant)
                .bind(&request.request_id)
                .bind(to_millis(request.not_before))
                .execute(&mut *tx)
                .await?;
            let before = query("SELECT digest, sandbox_id FROM create_requests WHERE tenant = $1 AND request_id = $2")
                .bind(&row.tenant)
                .bind(&request.request_id)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(before) = before {
                let same = before.try_get::<String, _>(0)? == request.digest;
                return Ok(if same { Inserted::Repeated(before.try_get(1)?) } else { Inserted::Reused });
            }
        }
        if quota != Quota::default() {
            let used = query(
                "SELECT count(*), CAST(coalesce(sum(memory_bytes), 0) AS BIGINT) FROM sandboxes \
                 WHERE tenant = $1 AND active = 1",
            )
            .bind(&row.tenant)
            .fetch_one(&mut *tx)
            .await?;
            let used = |column| used.try_get::<i64, _>(column).map(i64::unsigned_abs);
            if quota.sandboxes.is_some_and(|most| used(0).is_ok_and(|used| used >= most)) {
                return Ok(Inserted::TooManySandboxes);
            }
            let memory = row.memory_bytes;
            if quota.memory_bytes.is_some_and(|most| used(1).is_ok_and(|used| used.saturating_add(memory) > most)) {
                return Ok(Inserted::TooMuchMemory);
            }
        }
        query(
            "INSERT INTO sandboxes (id, tenant, server, state, active, create_time, expire_time, idle_timeout, \
             memory_bytes, labels, details) VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&row.id)
        .bind(&row.tenant)
        .bind(&row.server)
        .bind(row.state.name())
        .bind(to_millis(row.create_time))
        .bind(row.settings.expire_time.map(to_millis))
        .bind(row.settings.idle_timeout.map(duration_to_millis))
        .bind(i64::try_from(row.memory_bytes).unwrap_or(i64::MAX))
        .bind(labels_to_json(&row.settings.labels))
        .bind(&row.details)
        .execute(&mut *tx)
        .await?;
        insert_labels(&mut tx, &row.tenant, &row.id, &row.settings.labels).await?;
        if let Some(request) = request {
            query(
                "INSERT INTO create_requests (tenant, request_id, digest, sandbox_id, create_time) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&row.tenant)
            .bind(&request.request_id)
            .bind(&request.digest)
            .bind(&row.id)
            .bind(to_millis(row.create_time))
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(Inserted::New)
    }

    /// Notes where a sandbox is in its life. `at` is the time of a failure or a deletion.
    pub async fn set_sandbox_state(&self, id: &str, state: SandboxState, at: SystemTime) -> Result<()> {
        let ended = matches!(state, SandboxState::Failed | SandboxState::Deleted);
        let mut tx = self.begin().await?;
        query("UPDATE sandboxes SET state = $2, active = $3, end_time = $4 WHERE id = $1")
            .bind(id)
            .bind(state.name())
            .bind(i64::from(!ended))
            .bind(ended.then(|| to_millis(at)))
            .execute(&mut *tx)
            .await?;
        if ended {
            query("DELETE FROM sandbox_labels WHERE sandbox_id = $1").bind(id).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Replaces the details, once more of them is known.
    pub async fn set_sandbox_details(&self, id: &str, details: &str) -> Result<()> {
        let statement = query("UPDATE sandboxes SET details = $2 WHERE id = $1").bind(id).bind(details);
        statement.execute(&self.pool).await?;
        Ok(())
    }

    /// Replaces what an update may change. False when there is no such active sandbox.
    pub async fn set_sandbox_settings(&self, id: &str, settings: &Settings) -> Result<bool> {
        let mut tx = self.begin().await?;
        let changed =
            query("UPDATE sandboxes SET expire_time = $2, idle_timeout = $3, labels = $4 WHERE id = $1 AND active = 1")
                .bind(id)
                .bind(settings.expire_time.map(to_millis))
                .bind(settings.idle_timeout.map(duration_to_millis))
                .bind(labels_to_json(&settings.labels))
                .execute(&mut *tx)
                .await?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        let tenant: String =
            query_scalar("SELECT tenant FROM sandboxes WHERE id = $1").bind(id).fetch_one(&mut *tx).await?;
        query("DELETE FROM sandbox_labels WHERE sandbox_id = $1").bind(id).execute(&mut *tx).await?;
        insert_labels(&mut tx, &tenant, id, &settings.labels).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets a sandbox that nobody was told of, and the request that asked for it.
    pub async fn forget_sandbox(&self, id: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        query("DELETE FROM sandboxes WHERE id = $1").bind(id).execute(&mut *tx).await?;
        query("DELETE FROM sandbox_labels WHERE sandbox_id = $1").bind(id).execute(&mut *tx).await?;
        query("DELETE FROM create_requests WHERE sandbox_id = $1").bind(id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether a request that may be repeated has made this sandbox.
    pub async fn is_requested(&self, sandbox_id: &str) -> Result<bool> {
        let found = query("SELECT request_id FROM create_requests WHERE sandbox_id = $1")
            .bind(sandbox_id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// One sandbox, ended ones included for as long as they are kept.
    pub async fn sandbox(&self, id: &str) -> Result<Option<SandboxRow>> {
        let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM sandboxes s WHERE s.id = $1"));
        query(sql).bind(id).fetch_optional(&self.pool).await?.map(|row| read(&row)).transpose()
    }

    /// All sandboxes of a server that are not deleted.
    pub async fn sandboxes_of_server(&self, server: &str) -> Result<Vec<SandboxRow>> {
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM sandboxes s WHERE s.server = $1 AND s.state <> $2 ORDER BY s.id"
        ));
        let rows = query(sql).bind(server).bind(SandboxState::Deleted.name()).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// Removes rows of sandboxes that were deleted, and uses of request ids, before these times.
    pub async fn clean(&self, deleted_before: SystemTime, requests_before: SystemTime) -> Result<()> {
        query("DELETE FROM sandboxes WHERE state = $1 AND end_time < $2")
            .bind(SandboxState::Deleted.name())
            .bind(to_millis(deleted_before))
            .execute(&self.pool)
            .await?;
        query("DELETE FROM create_requests WHERE create_time < $1")
            .bind(to_millis(requests_before))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

async fn insert_labels(
    tx: &mut sqlx::Transaction<'static, Any>,
    tenant: &str,
    id: &str,
    labels: &BTreeMap<String, String>,
) -> Result<()> {
    for (key, value) in labels {
        query("INSERT INTO sandbox_labels (tenant, key, value, sandbox_id) VALUES ($1, $2, $3, $4)")
            .bind(tenant)
            .bind(key)
            .bind(value)
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

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

fn labels_to_json(labels: &BTreeMap<String, String>) -> String {
    // A map of strings can always be written.
    serde_json::to_string(labels).unwrap_or_default()
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Other(sqlx::Error::Decode(Box::new(error)))
}

impl SandboxState {
    fn name(self) -> &'static str {
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
