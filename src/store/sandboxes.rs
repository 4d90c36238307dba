//! Statements about sandboxes, their labels, and the requests that made them.

use super::{
    Inserted, Quota, RequestKey, Result, SandboxRow, SandboxState, Settings, Store, VolumeUse, begin,
    duration_to_millis,
    row::{COLUMNS, labels_to_json, read},
    to_millis, volumes,
};
use futures_util::FutureExt;
use sqlx::{Any, AssertSqlSafe, Row, query, query_scalar};
use std::{collections::BTreeMap, time::SystemTime};

impl Store {
    /// Adds a sandbox that is about to be made, and gives it its volumes, unless the tenant has too much, the request was made before, or
    /// others have one of the volumes.
    pub async fn insert_sandbox(
        &self,
        row: &SandboxRow,
        quota: Quota,
        request: Option<&RequestKey>,
        volumes: &[VolumeUse],
    ) -> Result<Inserted> {
        let (row, request, volumes) = (row.clone(), request.cloned(), volumes.to_owned());
        self.write(move |connection| {
            async move {
                let mut tx = begin(connection).await?;
                let inserted = insert(&mut tx, &row, quota, request.as_ref(), &volumes).await?;
                // Also what refuses it: uses of request ids that are forgotten were removed.
                tx.commit().await?;
                Ok(inserted)
            }
            .boxed()
        })
        .await
    }

    /// Notes where a sandbox is in its life, and says whether it has come there: false when what is known of it already is
    /// later than that, or there is no such sandbox. `at` is the time of a failure or a deletion.
    pub async fn set_sandbox_state(&self, id: &str, state: SandboxState, at: SystemTime) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |connection| {
            async move {
                let ended = matches!(state, SandboxState::Failed | SandboxState::Deleted);
                let earlier: Vec<_> = state.comes_after().iter().map(|state| format!("'{}'", state.name())).collect();
                let sql = format!(
                    "UPDATE sandboxes SET state = $2, active = $3, end_time = $4 WHERE id = $1 AND state IN ({})",
                    earlier.join(", ")
                );
                let mut tx = begin(connection).await?;
                let changed = query(AssertSqlSafe(sql))
                    .bind(&id)
                    .bind(state.name())
                    .bind(i64::from(!ended))
                    .bind(ended.then(|| to_millis(at)))
                    .execute(&mut *tx)
                    .await?;
                if ended {
                    query("DELETE FROM sandbox_labels WHERE sandbox_id = $1").bind(&id).execute(&mut *tx).await?;
                }
                // One that is being deleted has them until that is done.
                if ended && changed.rows_affected() > 0 {
                    volumes::release(&mut tx, &id).await?;
                }
                tx.commit().await?;
                Ok(changed.rows_affected() > 0)
            }
            .boxed()
        })
        .await
    }

    /// Replaces the details, once more of them is known.
    pub async fn set_sandbox_details(&self, id: &str, details: &str) -> Result<()> {
        let (id, details) = (id.to_owned(), details.to_owned());
        self.write(move |connection| {
            async move {
                let statement = query("UPDATE sandboxes SET details = $2 WHERE id = $1").bind(id).bind(details);
                statement.execute(connection).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Replaces what an update may change. False when there is no such active sandbox.
    pub async fn set_sandbox_settings(&self, id: &str, settings: &Settings) -> Result<bool> {
        let (id, settings) = (id.to_owned(), settings.clone());
        self.write(move |connection| {
            async move {
                let mut tx = begin(connection).await?;
                let changed = query(
                    "UPDATE sandboxes SET expire_time = $2, idle_timeout = $3, labels = $4 WHERE id = $1 AND active = 1",
                )
                .bind(&id)
                .bind(settings.expire_time.map(to_millis))
                .bind(settings.idle_timeout.map(duration_to_millis))
                .bind(labels_to_json(&settings.labels))
                .execute(&mut *tx)
                .await?;
                if changed.rows_affected() == 0 {
                    return Ok(false);
                }
                let tenant: String =
                    query_scalar("SELECT tenant FROM sandboxes WHERE id = $1").bind(&id).fetch_one(&mut *tx).await?;
                query("DELETE FROM sandbox_labels WHERE sandbox_id = $1").bind(&id).execute(&mut *tx).await?;
                insert_labels(&mut tx, &tenant, &id, &settings.labels).await?;
                tx.commit().await?;
                Ok(true)
            }
            .boxed()
        })
        .await
    }

    /// Forgets a sandbox that nobody was told of, and the request that asked for it.
    pub async fn forget_sandbox(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.write(move |connection| {
            async move {
                let mut tx = begin(connection).await?;
                query("DELETE FROM sandboxes WHERE id = $1").bind(&id).execute(&mut *tx).await?;
                query("DELETE FROM sandbox_labels WHERE sandbox_id = $1").bind(&id).execute(&mut *tx).await?;
                query("DELETE FROM create_requests WHERE sandbox_id = $1").bind(&id).execute(&mut *tx).await?;
                volumes::release(&mut tx, &id).await?;
                tx.commit().await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Whether a request that may be repeated has made this sandbox.
    pub async fn is_requested(&self, sandbox_id: &str) -> Result<bool> {
        let id = sandbox_id.to_owned();
        self.read(move |connection| {
            async move {
                let found = query("SELECT request_id FROM create_requests WHERE sandbox_id = $1").bind(id);
                Ok(found.fetch_optional(connection).await?.is_some())
            }
            .boxed()
        })
        .await
    }

    /// One sandbox, ended ones included for as long as they are kept.
    pub async fn sandbox(&self, id: &str) -> Result<Option<SandboxRow>> {
        let id = id.to_owned();
        self.read(move |connection| {
            async move {
                let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM sandboxes s WHERE s.id = $1"));
                query(sql).bind(id).fetch_optional(connection).await?.map(|row| read(&row)).transpose()
            }
            .boxed()
        })
        .await
    }

    /// All sandboxes of a server that are not deleted.
    pub async fn sandboxes_of_server(&self, server: &str) -> Result<Vec<SandboxRow>> {
        let server = server.to_owned();
        self.read(move |connection| {
            async move {
                let sql =
                    format!("SELECT {COLUMNS} FROM sandboxes s WHERE s.server = $1 AND s.state <> $2 ORDER BY s.id");
                let statement = query(AssertSqlSafe(sql)).bind(server).bind(SandboxState::Deleted.name());
                statement.fetch_all(connection).await?.iter().map(read).collect()
            }
            .boxed()
        })
        .await
    }

    /// Ids of the sandboxes of a server that are being made, as far as the database knows.
    pub async fn starting_sandboxes_of_server(&self, server: &str) -> Result<Vec<String>> {
        let server = server.to_owned();
        self.read(move |connection| {
            async move {
                let statement = query_scalar("SELECT id FROM sandboxes WHERE server = $1 AND state = $2")
                    .bind(server)
                    .bind(SandboxState::Starting.name());
                Ok(statement.fetch_all(connection).await?)
            }
            .boxed()
        })
        .await
    }

    /// Removes rows of sandboxes that were deleted, and uses of request ids, before these times.
    pub async fn clean(&self, deleted_before: SystemTime, requests_before: SystemTime) -> Result<()> {
        self.write(move |connection| {
            async move {
                query("DELETE FROM sandboxes WHERE state = $1 AND end_time < $2")
                    .bind(SandboxState::Deleted.name())
                    .bind(to_millis(deleted_before))
                    .execute(&mut *connection)
                    .await?;
                query("DELETE FROM create_requests WHERE create_time < $1")
                    .bind(to_millis(requests_before))
                    .execute(&mut *connection)
                    .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}

/// The statements of [`Store::insert_sandbox`].
async fn insert(
    tx: &mut sqlx::Transaction<'_, Any>,
    row: &SandboxRow,
    quota: Quota,
    request: Option<&RequestKey>,
    volumes: &[VolumeUse],
) -> Result<Inserted> {
    // Creations of one tenant go one after another, so that counting is right with several servers.
    query("UPDATE tenants SET create_time = create_time WHERE id = $1").bind(&row.tenant).execute(&mut **tx).await?;
    if let Some(request) = request {
        query("DELETE FROM create_requests WHERE tenant = $1 AND request_id = $2 AND create_time < $3")
            .bind(&row.tenant)
            .bind(&request.request_id)
            .bind(to_millis(request.not_before))
            .execute(&mut **tx)
            .await?;
        let before = query("SELECT digest, sandbox_id FROM create_requests WHERE tenant = $1 AND request_id = $2")
            .bind(&row.tenant)
            .bind(&request.request_id)
            .fetch_optional(&mut **tx)
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
        .fetch_one(&mut **tx)
        .await?;
        // What cannot be read is an error: it must not be taken for no limit.
        let (sandboxes, memory): (i64, i64) = (used.try_get(0)?, used.try_get(1)?);
        let (sandboxes, memory) = (sandboxes.unsigned_abs(), memory.unsigned_abs());
        if quota.sandboxes.is_some_and(|most| sandboxes >= most) {
            return Ok(Inserted::TooManySandboxes);
        }
        if quota.memory_bytes.is_some_and(|most| memory.saturating_add(row.memory_bytes) > most) {
            return Ok(Inserted::TooMuchMemory);
        }
    }
    if let Some(refused) = volumes::take(tx, row, volumes).await? {
        return Ok(refused);
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
    .execute(&mut **tx)
    .await?;
    insert_labels(tx, &row.tenant, &row.id, &row.settings.labels).await?;
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
        .execute(&mut **tx)
        .await?;
    }
    Ok(Inserted::New)
}

async fn insert_labels(
    tx: &mut sqlx::Transaction<'_, Any>,
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
