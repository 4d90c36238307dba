//! Statements about volumes, and about which sandboxes have them.

use super::{
    Inserted, Result, SandboxRow, Store, StoreError, VolumeDeletion, VolumeInserted, VolumePage, VolumeRow,
    VolumeState, VolumeUse, begin,
    row::labels_to_json,
    to_millis,
    volume_row::{COLUMNS, read, read_use},
};
use futures_util::FutureExt;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Executor, Row, Transaction, query, query_scalar};

/// Has what is committed from here on survive a power cut, or no more than the end of the process, as before. Sandboxes do not
/// survive one, volumes do. PostgreSQL always writes so.
async fn flush_commits(connection: &mut AnyConnection, flush: bool) -> Result<()> {
    if connection.backend_name() == "SQLite" {
        connection.execute(if flush { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" }).await?;
    }
    Ok(())
}

/// Takes the tenant's row first, as creations of sandboxes do: who has a volume is decided one after another, with several servers too.
async fn lock_tenant(tx: &mut Transaction<'_, Any>, tenant: &str) -> Result<()> {
    query("UPDATE tenants SET create_time = create_time WHERE id = $1").bind(tenant).execute(&mut **tx).await?;
    Ok(())
}

impl Store {
    /// Adds a volume that is about to be made. `request` is the client's id of the request, or empty, and a digest of what it asks for.
    pub async fn insert_volume(&self, row: &VolumeRow, request: (String, String), most: u64) -> Result<VolumeInserted> {
        let row = row.clone();
        self.write(move |connection| {
            async move {
                let mut tx = begin(connection).await?;
                let inserted = insert(&mut tx, &row, request, most).await?;
                tx.commit().await?;
                Ok(inserted)
            }
            .boxed()
        })
        .await
    }

    /// A tenant's volume of this name or id, in whichever state.
    pub async fn volume(&self, tenant: &str, name: &str) -> Result<Option<VolumeRow>> {
        let (tenant, name) = (tenant.to_owned(), name.to_owned());
        self.read(move |connection| {
            async move {
                let sql = format!("SELECT {COLUMNS} FROM volumes WHERE tenant = $1 AND (name = $2 OR id = $2)");
                let found = query(AssertSqlSafe(sql)).bind(tenant).bind(name).fetch_optional(connection).await?;
                found.map(|row| read(&row)).transpose()
            }
            .boxed()
        })
        .await
    }

    /// The sandboxes that have a volume.
    pub async fn uses_of_volume(&self, id: &str) -> Result<Vec<VolumeUse>> {
        let id = id.to_owned();
        self.read(move |connection| async move { uses_between(connection, &id, &id).await }.boxed()).await
    }

    /// A page of a tenant's volumes that are ready, oldest first, those behind the one with the id `after`.
    pub async fn volumes_of_tenant(&self, tenant: &str, after: &str, size: usize) -> Result<VolumePage> {
        let (tenant, after) = (tenant.to_owned(), after.to_owned());
        self.read(move |connection| {
            async move {
                let ready = VolumeState::Ready.name();
                let total: i64 = query_scalar("SELECT count(*) FROM volumes WHERE tenant = $1 AND state = $2")
                    .bind(&tenant)
                    .bind(ready)
                    .fetch_one(&mut *connection)
                    .await?;
                let sql = format!(
                    "SELECT {COLUMNS} FROM volumes WHERE tenant = $1 AND state = $2 AND id > $3 ORDER BY id LIMIT $4"
                );
                let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
                let statement = query(AssertSqlSafe(sql)).bind(&tenant).bind(ready).bind(after).bind(limit);
                let rows = statement.fetch_all(&mut *connection).await?;
                let more = rows.len() > size;
                let rows = rows.iter().take(size).map(read).collect::<Result<Vec<_>>>()?;
                let uses = match (rows.first(), rows.last()) {
                    (Some(first), Some(last)) => uses_between(connection, &first.id, &last.id).await?,
                    _ => Vec::new(),
                };
                let is_of_page = |used: &VolumeUse| rows.binary_search_by(|row| row.id.cmp(&used.volume_id)).is_ok();
                let uses = uses.into_iter().filter(is_of_page).collect();
                Ok(VolumePage { rows, uses, more, total: total.unsigned_abs() })
            }
            .boxed()
        })
        .await
    }

    /// Notes that the files of a volume are there. False when it is not being made any more.
    pub async fn set_volume_ready(&self, id: &str) -> Result<bool> {
        self.step_volume(id, &[VolumeState::Creating], VolumeState::Ready).await
    }

    /// Notes that a volume that was being made is given up. False when it was finished, or is gone.
    pub async fn give_up_volume(&self, id: &str) -> Result<bool> {
        self.step_volume(id, &[VolumeState::Creating, VolumeState::Deleting], VolumeState::Deleting).await
    }

    async fn step_volume(&self, id: &str, from: &'static [VolumeState], to: VolumeState) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |connection| {
            async move {
                let from: Vec<_> = from.iter().map(|state| format!("'{}'", state.name())).collect();
                let sql = format!("UPDATE volumes SET state = $2 WHERE id = $1 AND state IN ({})", from.join(", "));
                flush_commits(connection, true).await?;
                let changed = query(AssertSqlSafe(sql)).bind(id).bind(to.name()).execute(&mut *connection).await;
                flush_commits(connection, false).await?;
                Ok(changed?.rows_affected() > 0)
            }
            .boxed()
        })
        .await
    }

    /// Begins the deletion of a tenant's volume, unless sandboxes have it: from then on no sandbox can get it.
    pub async fn begin_volume_deletion(&self, tenant: &str, id: &str) -> Result<VolumeDeletion> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.write(move |connection| {
            async move {
                flush_commits(connection, true).await?;
                let begun = begin_deletion(connection, &tenant, &id).await;
                flush_commits(connection, false).await?;
                begun
            }
            .boxed()
        })
        .await
    }

    /// Forgets a volume whose files are gone.
    pub async fn forget_volume(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.write(move |connection| {
            async move {
                query("DELETE FROM volumes WHERE id = $1 AND state = $2")
                    .bind(id)
                    .bind(VolumeState::Deleting.name())
                    .execute(connection)
                    .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// All volumes whose files a server has.
    pub async fn volumes_of_server(&self, server: &str) -> Result<Vec<VolumeRow>> {
        let server = server.to_owned();
        self.read(move |connection| {
            async move {
                let sql = format!("SELECT {COLUMNS} FROM volumes WHERE server = $1 ORDER BY id");
                let rows = query(AssertSqlSafe(sql)).bind(server).fetch_all(connection).await?;
                rows.iter().map(read).collect()
            }
            .boxed()
        })
        .await
    }
}

async fn uses_between(connection: &mut AnyConnection, first: &str, last: &str) -> Result<Vec<VolumeUse>> {
    let rows = query(
        "SELECT sandbox_id, volume_id, path, read_only FROM sandbox_volumes WHERE volume_id >= $1 AND volume_id <= $2 \
         ORDER BY volume_id, sandbox_id",
    )
    .bind(first)
    .bind(last)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read_use).collect()
}

async fn begin_deletion(connection: &mut AnyConnection, tenant: &str, id: &str) -> Result<VolumeDeletion> {
    let mut tx = begin(connection).await?;
    lock_tenant(&mut tx, tenant).await?;
    let used = uses_between(&mut tx, id, id).await?;
    if !used.is_empty() {
        return Ok(VolumeDeletion::Used(used));
    }
    let sql = format!(
        "UPDATE volumes SET state = $3 WHERE id = $1 AND tenant = $2 AND state <> '{}'",
        VolumeState::Creating.name()
    );
    let changed =
        query(AssertSqlSafe(sql)).bind(id).bind(tenant).bind(VolumeState::Deleting.name()).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(if changed.rows_affected() > 0 { VolumeDeletion::Begun } else { VolumeDeletion::Gone })
}

/// The statements of [`Store::insert_volume`].
async fn insert(
    tx: &mut Transaction<'_, Any>,
    row: &VolumeRow,
    (request_id, digest): (String, String),
    most: u64,
) -> Result<VolumeInserted> {
    lock_tenant(tx, &row.tenant).await?;
    if !request_id.is_empty() {
        let before = query("SELECT id, digest FROM volumes WHERE tenant = $1 AND request_id = $2")
            .bind(&row.tenant)
            .bind(&request_id)
            .fetch_optional(&mut **tx)
            .await?;
        if let Some(before) = before {
            let same = before.try_get::<String, _>("digest")? == digest;
            return Ok(if same { VolumeInserted::Repeated(before.try_get("id")?) } else { VolumeInserted::Reused });
        }
    }
    let state: Option<String> = query_scalar("SELECT state FROM volumes WHERE tenant = $1 AND name = $2")
        .bind(&row.tenant)
        .bind(&row.name)
        .fetch_optional(&mut **tx)
        .await?;
    if let Some(state) = state {
        return Ok(VolumeInserted::NameTaken(VolumeState::of(&state)?));
    }
    let count: i64 =
        query_scalar("SELECT count(*) FROM volumes WHERE tenant = $1").bind(&row.tenant).fetch_one(&mut **tx).await?;
    if count.unsigned_abs() >= most {
        return Ok(VolumeInserted::TooMany);
    }
    if !row.host_directory.is_empty() {
        let others = "SELECT DISTINCT host_directory FROM volumes WHERE server = $1 AND host_directory <> ''";
        let others: Vec<String> = query_scalar(others).bind(&row.server).fetch_all(&mut **tx).await?;
        if others.iter().any(|other| overlap(other, &row.host_directory)) {
            return Ok(VolumeInserted::Overlaps);
        }
    }
    query(
        "INSERT INTO volumes (id, tenant, server, runtime, name, state, shared, size_bytes, host_directory, labels, \
         create_time, request_id, digest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(&row.id)
    .bind(&row.tenant)
    .bind(&row.server)
    .bind(&row.runtime)
    .bind(&row.name)
    .bind(row.state.name())
    .bind(i64::from(row.shared))
    .bind(row.size_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
    .bind(&row.host_directory)
    .bind(labels_to_json(&row.labels))
    .bind(to_millis(row.create_time))
    .bind(request_id)
    .bind(digest)
    .execute(&mut **tx)
    .await?;
    Ok(VolumeInserted::New)
}

/// Whether one of two directories lies in the other one. That both are the same is no harm: neither can take the other's place.
fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (std::path::Path::new(one), std::path::Path::new(other));
    one != other && (one.starts_with(other) || other.starts_with(one))
}

/// Gives a sandbox that is about to be inserted its volumes, all or none. `None` if it has got them.
pub(super) async fn take(
    tx: &mut Transaction<'_, Any>,
    row: &SandboxRow,
    volumes: &[VolumeUse],
) -> Result<Option<Inserted>> {
    for wanted in volumes {
        let found = query("SELECT state, shared FROM volumes WHERE id = $1 AND tenant = $2")
            .bind(&wanted.volume_id)
            .bind(&row.tenant)
            .fetch_optional(&mut **tx)
            .await?;
        let Some(found) = found else { return Ok(Some(Inserted::VolumeGone(wanted.volume_id.clone()))) };
        if VolumeState::of(&found.try_get::<String, _>("state")?)? != VolumeState::Ready {
            return Ok(Some(Inserted::VolumeGone(wanted.volume_id.clone())));
        }
        let is_shared = found.try_get::<i64, _>("shared")? != 0;
        let users = uses_between(tx, &wanted.volume_id, &wanted.volume_id).await?;
        let excludes = |user: &VolumeUse| !(user.read_only && wanted.read_only);
        if !is_shared && users.iter().any(excludes) {
            return Ok(Some(Inserted::VolumeInUse { volume_id: wanted.volume_id.clone(), users }));
        }
    }
    for wanted in volumes {
        query("INSERT INTO sandbox_volumes (sandbox_id, volume_id, path, read_only) VALUES ($1, $2, $3, $4)")
            .bind(&row.id)
            .bind(&wanted.volume_id)
            .bind(&wanted.path)
            .bind(i64::from(wanted.read_only))
            .execute(&mut **tx)
            .await
            .map_err(StoreError::from)?;
    }
    Ok(None)
}

/// Takes all volumes away from a sandbox that has ended.
pub(super) async fn release(tx: &mut Transaction<'_, Any>, sandbox_id: &str) -> Result<()> {
    query("DELETE FROM sandbox_volumes WHERE sandbox_id = $1").bind(sandbox_id).execute(&mut **tx).await?;
    Ok(())
}
