//! Pages of a tenant's sandboxes, by labels: quick with ten thousand rows.

use super::{
    Result, SandboxRow, Store,
    row::{COLUMNS, read},
};
use futures_util::FutureExt;
use sqlx::{AnyConnection, AssertSqlSafe, Row, query, query_scalar};
use std::collections::BTreeMap;

/// A page of rows.
#[derive(Debug)]
pub struct Page {
    /// Oldest first.
    pub rows: Vec<SandboxRow>,
    /// Whether there are more after them.
    pub more: bool,
    /// How many match in all.
    pub total: u64,
}

impl Store {
    /// Active sandboxes of a tenant that have all these labels, after the one with id `after`.
    pub async fn sandboxes_of_tenant(
        &self,
        tenant: &str,
        labels: &BTreeMap<String, String>,
        after: &str,
        size: usize,
    ) -> Result<Page> {
        let (tenant, labels, after) = (tenant.to_owned(), labels.clone(), after.to_owned());
        self.read(move |connection| async move { page(connection, &tenant, &labels, after, size).await }.boxed()).await
    }
}

/// The statements of [`Store::sandboxes_of_tenant`].
async fn page(
    connection: &mut AnyConnection,
    tenant: &str,
    labels: &BTreeMap<String, String>,
    after: String,
    size: usize,
) -> Result<Page> {
    let labels = rarest_first(connection, tenant, labels).await?;
    let (from, id, pairs) = from_labels(&labels);
    let bind = |sql: String| {
        let mut bound = query(AssertSqlSafe(sql)).bind(tenant.to_owned());
        for text in &pairs {
            bound = bound.bind(text.clone());
        }
        bound
    };
    let total: i64 = bind(format!("SELECT count(*) {from}")).fetch_one(&mut *connection).await?.try_get(0)?;
    let (after_at, limit_at) = (pairs.len() + 2, pairs.len() + 3);
    let ids = format!("SELECT {id} AS id {from} AND {id} > ${after_at} ORDER BY {id} LIMIT ${limit_at}");
    let sql = format!("SELECT {COLUMNS} FROM ({ids}) page JOIN sandboxes s ON s.id = page.id ORDER BY s.id");
    let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
    let rows = bind(sql).bind(after).bind(limit).fetch_all(connection).await?;
    let more = rows.len() > size;
    let rows: Result<Vec<_>> = rows.iter().take(size).map(read).collect();
    Ok(Page { rows: rows?, more, total: total.unsigned_abs() })
}

/// Labels in the order in which they are looked up: every row with the first one is looked at.
async fn rarest_first(
    connection: &mut AnyConnection,
    tenant: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>> {
    let mut counted = Vec::new();
    for (key, value) in labels {
        let count: i64 = if labels.len() == 1 {
            0
        } else {
            query_scalar("SELECT count(*) FROM sandbox_labels WHERE tenant = $1 AND key = $2 AND value = $3")
                .bind(tenant)
                .bind(key)
                .bind(value)
                .fetch_one(&mut *connection)
                .await?
        };
        counted.push((count, (key.clone(), value.clone())));
    }
    counted.sort();
    Ok(counted.into_iter().map(|(_, label)| label).collect())
}

/// `FROM … WHERE …` of a tenant's ($1) active sandboxes with all labels, the column of their ids, and what to bind after
/// the tenant. With labels it is their table alone, in whose index ids are in order; it has active sandboxes only.
fn from_labels(labels: &[(String, String)]) -> (String, &'static str, Vec<String>) {
    if labels.is_empty() {
        return ("FROM sandboxes s WHERE s.tenant = $1 AND s.active = 1".to_owned(), "s.id", Vec::new());
    }
    let mut from = String::from("FROM sandbox_labels l0");
    let mut conditions = String::new();
    let mut pairs = Vec::new();
    for (n, (key, value)) in labels.iter().enumerate() {
        let (key_at, value_at) = (2 * n + 2, 2 * n + 3);
        let this = format!("l{n}.tenant = $1 AND l{n}.key = ${key_at} AND l{n}.value = ${value_at}");
        if n == 0 {
            conditions = this;
        } else {
            from += &format!(" JOIN sandbox_labels l{n} ON l{n}.sandbox_id = l0.sandbox_id AND {this}");
        }
        pairs.extend([key.clone(), value.clone()]);
    }
    (format!("{from} WHERE {conditions}"), "l0.sandbox_id", pairs)
}
