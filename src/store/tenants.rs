//! Rows of tenants and their keys.

use super::{Result, Store, from_millis, to_millis};
use crate::tenant::Limits;
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

impl Store {
    /// Adds a tenant if it is not there.
    pub async fn ensure_tenant(&self, id: &str, now: SystemTime) -> Result<()> {
        query("INSERT INTO tenants (id, create_time) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(id)
            .bind(to_millis(now))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// One tenant.
    pub async fn tenant(&self, id: &str) -> Result<Option<TenantRow>> {
        let row = query("SELECT * FROM tenants WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        row.map(|row| read_tenant(&row)).transpose()
    }
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
        },
    })
}
