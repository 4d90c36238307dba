//! Rows of tenants and their keys.

use super::{Result, Store, begin, from_millis, to_millis};
use crate::limits::Limits;
use futures_util::FutureExt;
use sqlx::{Row, any::AnyRow, query};
use std::time::SystemTime;

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its name.
    pub id: String,
    /// When it was made.
    pub create_time: SystemTime,
    /// What it may have in all.
    pub limits: Limits,
}

/// One API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part of the key.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub create_time: SystemTime,
    /// When it was revoked.
    pub revoke_time: Option<SystemTime>,
}

const ENSURE_TENANT: &str = "INSERT INTO tenants (id, create_time) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";

impl Store {
    /// Adds a tenant if it is not there.
    pub async fn ensure_tenant(&self, id: &str, now: SystemTime) -> Result<()> {
        let id = id.to_owned();
        self.write(move |connection| {
            async move {
                query(ENSURE_TENANT).bind(id).bind(to_millis(now)).execute(connection).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// One tenant.
    pub async fn tenant(&self, id: &str) -> Result<Option<TenantRow>> {
        let id = id.to_owned();
        self.read(move |connection| {
            async move {
                let row = query("SELECT * FROM tenants WHERE id = $1").bind(id).fetch_optional(connection).await?;
                row.map(|row| read_tenant(&row)).transpose()
            }
            .boxed()
        })
        .await
    }

    /// All tenants, by name.
    pub async fn tenants(&self) -> Result<Vec<TenantRow>> {
        self.read(|connection| {
            async move {
                let rows = query("SELECT * FROM tenants ORDER BY id").fetch_all(connection).await?;
                rows.iter().map(read_tenant).collect()
            }
            .boxed()
        })
        .await
    }

    /// Changes what a tenant may have in all, and says what that is now; `None` when there is no such tenant.
    pub async fn change_limits(
        &self,
        id: &str,
        change: impl FnOnce(&mut Limits) + Send + 'static,
    ) -> Result<Option<Limits>> {
        let id = id.to_owned();
        self.write(move |connection| {
            async move {
                let mut tx = begin(connection).await?;
                // Locks the row, so that of two changes at one time neither undoes the other.
                query("UPDATE tenants SET create_time = create_time WHERE id = $1").bind(&id).execute(&mut *tx).await?;
                let row = query("SELECT * FROM tenants WHERE id = $1").bind(&id).fetch_optional(&mut *tx).await?;
                let Some(row) = row else { return Ok(None) };
                let mut limits = read_tenant(&row)?.limits;
                change(&mut limits);
                let limit = |limit: Option<u64>| limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
                query(
                    "UPDATE tenants SET max_sandboxes = $2, max_sessions = $3, max_memory_bytes = $4, \
                     max_requests_per_second = $5, max_volumes = $6 WHERE id = $1",
                )
                .bind(&id)
                .bind(limit(limits.sandboxes))
                .bind(limit(limits.sessions))
                .bind(limit(limits.memory_bytes))
                .bind(limit(limits.requests_per_second))
                .bind(limit(limits.volumes))
                .execute(&mut *tx)
                .await?;
                tx.commit().await?;
                Ok(Some(limits))
            }
            .boxed()
        })
        .await
    }

    /// Adds a key, and its tenant if that is not there. `hash` is what the key is found by.
    pub async fn insert_api_key(&self, key: &ApiKey, hash: &str) -> Result<()> {
        let (key, hash) = (key.clone(), hash.to_owned());
        self.write(move |connection| {
            async move {
                let mut tx = begin(connection).await?;
                let now = to_millis(key.create_time);
                query(ENSURE_TENANT).bind(&key.tenant).bind(now).execute(&mut *tx).await?;
                query("INSERT INTO api_keys (id, tenant, hash, name, create_time) VALUES ($1, $2, $3, $4, $5)")
                    .bind(&key.id)
                    .bind(&key.tenant)
                    .bind(hash)
                    .bind(&key.name)
                    .bind(now)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Keys, revoked ones included, oldest first; only those of `tenant` if it is given.
    pub async fn api_keys(&self, tenant: Option<&str>) -> Result<Vec<ApiKey>> {
        let tenant = tenant.map(str::to_owned);
        self.read(move |connection| {
            async move {
                let rows = match tenant {
                    Some(tenant) => {
                        query("SELECT * FROM api_keys WHERE tenant = $1 ORDER BY create_time, id").bind(tenant)
                    }
                    None => query("SELECT * FROM api_keys ORDER BY create_time, id"),
                };
                rows.fetch_all(connection).await?.iter().map(read_key).collect()
            }
            .boxed()
        })
        .await
    }

    /// Whether there is any key, revoked ones included.
    pub async fn has_api_keys(&self) -> Result<bool> {
        self.read(|connection| {
            async move { Ok(query("SELECT 1 FROM api_keys LIMIT 1").fetch_optional(connection).await?.is_some()) }
                .boxed()
        })
        .await
    }

    /// Revokes a key for good; the first time counts. False when there is no such key.
    pub async fn revoke_api_key(&self, id: &str, now: SystemTime) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |connection| {
            async move {
                let statement = query("UPDATE api_keys SET revoke_time = coalesce(revoke_time, $2) WHERE id = $1");
                let changed = statement.bind(id).bind(to_millis(now)).execute(connection).await?;
                Ok(changed.rows_affected() > 0)
            }
            .boxed()
        })
        .await
    }

    /// Whose key this is, unless it was revoked.
    pub async fn tenant_of_key(&self, hash: &str) -> Result<Option<TenantRow>> {
        let hash = hash.to_owned();
        self.read(move |connection| {
            async move {
                let row = query(
                    "SELECT t.* FROM api_keys k JOIN tenants t ON t.id = k.tenant \
                     WHERE k.hash = $1 AND k.revoke_time IS NULL",
                )
                .bind(hash)
                .fetch_optional(connection)
                .await?;
                row.map(|row| read_tenant(&row)).transpose()
            }
            .boxed()
        })
        .await
    }
}

fn read_key(row: &AnyRow) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.try_get("id")?,
        tenant: row.try_get("tenant")?,
        name: row.try_get("name")?,
        create_time: from_millis(row.try_get("create_time")?),
        revoke_time: row.try_get::<Option<i64>, _>("revoke_time")?.map(from_millis),
    })
}

fn read_tenant(row: &AnyRow) -> Result<TenantRow> {
    let limit = |column: &str| row.try_get::<Option<i64>, _>(column).map(|limit| limit.map(i64::unsigned_abs));
    Ok(TenantRow {
        id: row.try_get("id")?,
        create_time: from_millis(row.try_get("create_time")?),
        limits: Limits {
            sandboxes: limit("max_sandboxes")?,
            sessions: limit("max_sessions")?,
            memory_bytes: limit("max_memory_bytes")?,
            requests_per_second: limit("max_requests_per_second")?,
            volumes: limit("max_volumes")?,
        },
    })
}
