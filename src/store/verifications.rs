//! Statements about verifications.

use super::{Result, Store, StoreError, begin, from_millis, to_millis};
use futures_util::FutureExt;
use sqlx::{Any, AssertSqlSafe, Row, any::AnyRow, query, query_scalar};
use std::time::SystemTime;

/// One verification.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationRow {
    /// Its id; sorts by creation.
    pub id: String,
    /// Who owns it.
    pub tenant: String,
    /// The server that carries it out.
    pub server: String,
    /// The sandbox that is verified; empty for a patch.
    pub sandbox_id: String,
    /// Where it is.
    pub state: String,
    /// How often it was begun.
    pub attempt: u32,
    /// When it was asked for.
    pub create_time: SystemTime,
    /// When it was begun last.
    pub start_time: Option<SystemTime>,
    /// When it came to its end.
    pub end_time: Option<SystemTime>,
    /// What never changes and is never searched, as JSON.
    pub details: String,
    /// What came of it, as JSON.
    pub outcome: Option<String>,
}

/// What a new verification has beside its row.
#[derive(Debug, Clone, Default)]
pub struct NewVerification {
    /// The client's id of the request, and a digest of all that it asks for. Empty without one.
    pub request: (String, String),
    /// The patch that is verified, until it is.
    pub patch: Option<String>,
    /// How many of one tenant may be unfinished.
    pub most_unfinished: u64,
    /// Bytes that the patches of a tenant's unfinished ones may have together.
    pub most_patch_bytes: u64,
}

/// What became of an insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationInserted {
    /// It is there.
    New,
    /// The request made this one before.
    Repeated(String),
    /// The request id was used for another request.
    Reused,
    /// The tenant has as many unfinished ones as it may.
    TooMany,
}

/// A step of a verification's life.
#[derive(Debug, Clone, Default)]
pub struct VerificationStep {
    /// The states from which it is taken. In any other one nothing changes.
    pub from: Vec<&'static str>,
    /// The new state.
    pub state: &'static str,
    /// How often it was begun.
    pub attempt: u32,
    /// When it was begun last.
    pub start_time: Option<SystemTime>,
    /// When it came to its end; with it, the patch goes.
    pub end_time: Option<SystemTime>,
    /// What came of it, and the same in brief.
    pub outcome: Option<(String, String)>,
}

/// A page of verifications.
#[derive(Debug)]
pub struct VerificationPage {
    /// Oldest first, with the brief outcomes.
    pub rows: Vec<VerificationRow>,
    /// Whether there are more.
    pub more: bool,
    /// How many match in all.
    pub total: u64,
}

const COLUMNS: &str = "id, tenant, server, sandbox_id, state, attempt, create_time, start_time, end_time, details";

fn read(row: &AnyRow, outcome: &str) -> Result<VerificationRow> {
    let time = |column: &str| row.try_get::<Option<i64>, _>(column).map(|millis| millis.map(from_millis));
    Ok(VerificationRow {
        id: row.try_get("id")?,
        tenant: row.try_get("tenant")?,
        server: row.try_get("server")?,
        sandbox_id: row.try_get("sandbox_id")?,
        state: row.try_get("state")?,
        attempt: u32::try_from(row.try_get::<i64, _>("attempt")?).unwrap_or(u32::MAX),
        create_time: from_millis(row.try_get("create_time")?),
        start_time: time("start_time")?,
        end_time: time("end_time")?,
        details: row.try_get("details")?,
        outcome: row.try_get(outcome)?,
    })
}

impl Store {
    /// Adds one, unless the same request was made before or the tenant has too many.
    pub async fn insert_verification(
        &self,
        row: &VerificationRow,
        new: NewVerification,
    ) -> Result<VerificationInserted> {
        let row = row.clone();
        self.write(move |connection| {
            async move {
                let mut tx = begin(connection).await?;
                let inserted = insert(&mut tx, &row, new).await?;
                tx.commit().await?;
                Ok(inserted)
            }
            .boxed()
        })
        .await
    }

    /// Takes a step. False when it is in a state from which the step does not lead.
    pub async fn step_verification(&self, id: &str, step: VerificationStep) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |connection| {
            async move {
                let from: Vec<_> = step.from.iter().map(|state| format!("'{state}'")).collect();
                let ended = step.end_time.is_some();
                let (outcome, brief) = step.outcome.unzip();
                let bytes = outcome.as_ref().map_or(0, String::len) + brief.as_ref().map_or(0, String::len);
                let over = format!(", patch = NULL, unfinished = 0, bytes = {bytes}");
                let sql = format!(
                    "UPDATE verifications SET state = $2, attempt = $3, start_time = $4, end_time = $5, outcome = $6, brief = $7{} \
                     WHERE id = $1 AND state IN ({})",
                    if ended { over.as_str() } else { "" },
                    from.join(", ")
                );
                let changed = query(AssertSqlSafe(sql))
                    .bind(id)
                    .bind(step.state)
                    .bind(i64::from(step.attempt))
                    .bind(step.start_time.map(to_millis))
                    .bind(step.end_time.map(to_millis))
                    .bind(outcome)
                    .bind(brief)
                    .execute(connection)
                    .await?;
                Ok(changed.rows_affected() > 0)
            }
            .boxed()
        })
        .await
    }

    /// One of them.
    pub async fn verification(&self, id: &str) -> Result<Option<VerificationRow>> {
        let id = id.to_owned();
        self.read(move |connection| {
            async move {
                let sql = format!("SELECT {COLUMNS}, outcome FROM verifications WHERE id = $1");
                let found = query(AssertSqlSafe(sql)).bind(id).fetch_optional(connection).await?;
                found.map(|row| read(&row, "outcome")).transpose()
            }
            .boxed()
        })
        .await
    }

    /// The patch of one that is not finished.
    pub async fn verification_patch(&self, id: &str) -> Result<Option<String>> {
        let id = id.to_owned();
        self.read(move |connection| {
            async move {
                let statement = query_scalar("SELECT patch FROM verifications WHERE id = $1").bind(id);
                Ok(statement.fetch_optional(connection).await?.flatten())
            }
            .boxed()
        })
        .await
    }

    /// Those of a server that are not finished, oldest first.
    pub async fn unfinished_verifications(&self, server: &str) -> Result<Vec<VerificationRow>> {
        let server = server.to_owned();
        self.read(move |connection| {
            async move {
                let sql = format!(
                    "SELECT {COLUMNS}, outcome FROM verifications WHERE server = $1 AND unfinished = 1 ORDER BY id"
                );
                let rows = query(AssertSqlSafe(sql)).bind(server).fetch_all(connection).await?;
                rows.iter().map(|row| read(row, "outcome")).collect()
            }
            .boxed()
        })
        .await
    }

    /// A page of a tenant's, oldest first, those behind the one with the id `after`, of one sandbox if that is named.
    pub async fn verifications_of_tenant(
        &self,
        tenant: &str,
        sandbox_id: &str,
        after: &str,
        size: usize,
    ) -> Result<VerificationPage> {
        let (tenant, sandbox_id, after) = (tenant.to_owned(), sandbox_id.to_owned(), after.to_owned());
        self.read(move |connection| {
            async move {
                // The same values are bound in both statements, whether they are looked at or not.
                const MATCH: &str = "FROM verifications WHERE tenant = $1 AND (sandbox_id = $2 OR $2 = '')";
                let sql = format!("SELECT count(*) {MATCH}");
                let total: i64 = query_scalar(AssertSqlSafe(sql))
                    .bind(&tenant)
                    .bind(&sandbox_id)
                    .fetch_one(&mut *connection)
                    .await?;
                let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
                let sql = format!("SELECT {COLUMNS}, brief {MATCH} AND id > $3 ORDER BY id LIMIT $4");
                let statement = query(AssertSqlSafe(sql)).bind(&tenant).bind(&sandbox_id).bind(after).bind(limit);
                let rows = statement.fetch_all(connection).await?;
                let more = rows.len() > size;
                let rows: Result<Vec<_>> = rows.iter().take(size).map(|row| read(row, "brief")).collect();
                Ok(VerificationPage { rows: rows?, more, total: total.unsigned_abs() })
            }
            .boxed()
        })
        .await
    }

    /// Removes finished ones that ended before a time, and of each tenant all but the newest so many.
    pub async fn clean_verifications(&self, ended_before: SystemTime, tenant: &str, most: Kept) -> Result<()> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            async move {
                query("DELETE FROM verifications WHERE unfinished = 0 AND end_time < $1")
                    .bind(to_millis(ended_before))
                    .execute(&mut *connection)
                    .await?;
                query(
                    "DELETE FROM verifications WHERE tenant = $1 AND unfinished = 0 AND id < \
                     (SELECT min(id) FROM (SELECT id FROM verifications WHERE tenant = $1 ORDER BY id DESC LIMIT $2) newest)",
                )
                .bind(&tenant)
                .bind(i64::try_from(most.count).unwrap_or(i64::MAX))
                .execute(&mut *connection)
                .await?;
                query(
                    "DELETE FROM verifications WHERE tenant = $1 AND unfinished = 0 AND id IN (SELECT id FROM \
                     (SELECT id, CAST(sum(bytes) OVER (ORDER BY id DESC) AS BIGINT) AS upto FROM verifications \
                     WHERE tenant = $1 AND unfinished = 0) sized WHERE upto > $2)",
                )
                .bind(tenant)
                .bind(i64::try_from(most.bytes).unwrap_or(i64::MAX))
                .execute(connection)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}

/// How much is kept of a tenant's verifications that are over, the newest of them.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// How many.
    pub count: u64,
    /// Bytes of all that came of them.
    pub bytes: u64,
}

/// The statements of [`Store::insert_verification`].
async fn insert(
    tx: &mut sqlx::Transaction<'_, Any>,
    row: &VerificationRow,
    new: NewVerification,
) -> Result<VerificationInserted> {
    // Those of one tenant go one after another, so that counting is right with several servers.
    query("UPDATE tenants SET create_time = create_time WHERE id = $1").bind(&row.tenant).execute(&mut **tx).await?;
    let (request_id, digest) = new.request;
    if !request_id.is_empty() {
        let before = query("SELECT id, digest FROM verifications WHERE tenant = $1 AND request_id = $2")
            .bind(&row.tenant)
            .bind(&request_id)
            .fetch_optional(&mut **tx)
            .await?;
        if let Some(before) = before {
            let same = before.try_get::<String, _>("digest")? == digest;
            let id = before.try_get("id")?;
            return Ok(if same { VerificationInserted::Repeated(id) } else { VerificationInserted::Reused });
        }
    }
    // A sum is of another type than its terms in PostgreSQL.
    let unfinished = query(
        "SELECT count(*) AS count, CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes FROM verifications \
         WHERE tenant = $1 AND unfinished = 1",
    )
    .bind(&row.tenant)
    .fetch_one(&mut **tx)
    .await?;
    let number = |column| Ok::<_, StoreError>(unfinished.try_get::<i64, _>(column)?.unsigned_abs());
    let bytes = new.patch.as_ref().map_or(0, |patch| patch.len() as u64);
    if number("count")? >= new.most_unfinished || number("bytes")? + bytes > new.most_patch_bytes {
        return Ok(VerificationInserted::TooMany);
    }
    query(
        "INSERT INTO verifications (id, tenant, server, sandbox_id, state, unfinished, attempt, create_time, request_id, \
         digest, details, patch, bytes) VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(&row.id)
    .bind(&row.tenant)
    .bind(&row.server)
    .bind(&row.sandbox_id)
    .bind(&row.state)
    .bind(i64::from(row.attempt))
    .bind(to_millis(row.create_time))
    .bind(request_id)
    .bind(digest)
    .bind(&row.details)
    .bind(new.patch)
    .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
    .execute(&mut **tx)
    .await
    .map_err(StoreError::from)?;
    Ok(VerificationInserted::New)
}
