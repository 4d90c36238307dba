//! What must outlive the server, in a database: SQLite in the data directory, or PostgreSQL for several servers.
//!
//! All statements are written so that both understand them. A change that an answer speaks of is committed before the
//! answer is given. A killed server loses nothing that was committed; SQLite may lose the last moments at a power cut
//! (`synchronous = NORMAL`), in which every sandbox is lost anyway, but not what [`Durability::PowerCut`] wrote.

mod error;
mod listing;
mod row;
mod sandboxes;
mod stamp;
mod tenants;
#[cfg(test)]
mod tests;
mod verifications;
mod volume_row;
mod volumes;
mod work;

pub use error::{Result, StoreError};
pub use listing::Page;
pub use row::{Inserted, Quota, RequestKey, SandboxRow, SandboxState, Settings};
pub use stamp::Stamp;
pub use tenants::{ApiKey, TenantRow};
pub use verifications::{
    Kept, NewVerification, VerificationInserted, VerificationPage, VerificationRow, VerificationStep,
};
pub use volume_row::{VolumeDeletion, VolumeInserted, VolumePage, VolumeRow, VolumeState, VolumeUse};

use sqlx::{
    Acquire, AnyConnection, AnyPool, Connection, Executor,
    any::AnyPoolOptions,
    migrate::{Migration, MigrationType, Migrator},
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Semaphore, time::timeout};
use work::Lane;

/// In order, and never changed once released.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "base", include_str!("migrations/0001_base.sql")),
    (4, "verifications", include_str!("migrations/0004_verifications.sql")),
    (5, "verification bytes", include_str!("migrations/0005_verification_bytes.sql")),
    (6, "volumes", include_str!("migrations/0006_volumes.sql")),
];

/// The database in a data directory.
const FILE: &str = "sandshell.db";

/// SQLite has one writer. With one connection that writes nobody in this process ever waits for a lock of another; other
/// processes (`sandshell key`) wait by `busy_timeout`. Readers see the last commit and wait for nobody.
///
/// All are opened at the start: a server whose descriptors are used up must still be able to look.
const SQLITE_WRITERS: u32 = 1;
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;

/// How long opening may take: a connection, and then what brings the database up to this version.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(60);

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Lane,
    /// The same as `writer` where there is nothing to gain by another.
    reader: Lane,
    /// How long a piece of work may take. `None` for a database in memory: it answers, and it would be gone with its connection.
    limit: Option<Duration>,
    places: Arc<Semaphore>,
    /// Where changes can be seen without asking.
    changes: Option<stamp::Changes>,
}

/// What committed changes survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however it comes. For servers.
    Kill,
    /// That, and the loss of power. For keys: one that was revoked must never come back.
    PowerCut,
}

impl Store {
    /// Whether a data directory has a database in it.
    pub fn is_in(data_dir: &Path) -> bool {
        data_dir.join(FILE).exists()
    }

    /// Opens the database in a data directory.
    pub async fn in_directory(data_dir: &Path, durability: Durability) -> Result<Self> {
        let file = data_dir.join(FILE);
        // Characters that mean something in a URL.
        let path = file.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        let store = Self::open(&format!("sqlite://{path}?mode=rwc"), durability).await?;
        Ok(Self { changes: Some(stamp::Changes::of(&file)), ..store })
    }

    /// Changes when the database does, where that can be seen.
    pub fn stamp(&self) -> Stamp {
        self.changes.as_ref().map_or_else(Stamp::none, stamp::Changes::stamp)
    }

    /// Opens the database that a URL names (`sqlite://PATH`, `postgres://…`), and brings it up to this version.
    pub async fn open(url: &str, durability: Durability) -> Result<Self> {
        sqlx::any::install_default_drivers();
        // One connection by itself: the error of a pool that cannot connect is only that it could not in time.
        let tried = timeout(OPEN_TIMEOUT, try_to_connect(url, durability)).await;
        tried.map_err(|_| open_error(url, "it did not answer"))?.map_err(|source| open_error(url, source))?;
        let in_memory = is_in_memory(url);
        let (writer, reader) = if is_sqlite(url) {
            let writer = Lane::new(pool(url, SQLITE_WRITERS, durability, Access::Write).await?);
            let reader = if in_memory {
                writer.clone()
            } else {
                Lane::new(pool(url, SQLITE_READERS, durability, Access::Read).await?)
            };
            (writer, reader)
        } else {
            let lane = Lane::new(pool(url, POSTGRES_CONNECTIONS, durability, Access::Write).await?);
            (lane.clone(), lane)
        };
        let store =
            Self { writer, reader, limit: (!in_memory).then_some(work::LIMIT), places: work::places(), changes: None };
        let migrated = timeout(MIGRATE_TIMEOUT, async {
            // SQLite's migrations are not kept apart: of two processes that begin at the same moment one may fail, and then
            // find the work done.
            match store.migrate().await {
                Ok(()) => Ok(()),
                Err(_) => store.migrate().await,
            }
        });
        migrated.await.map_err(|_| open_error(url, "it did not answer"))?.map_err(|source| open_error(url, source))?;
        Ok(store)
    }

    async fn migrate(&self) -> std::result::Result<(), sqlx::migrate::MigrateError> {
        let migrations = MIGRATIONS.map(|(version, description, sql)| {
            Migration::new(
                version,
                description.into(),
                MigrationType::Simple,
                sqlx::SqlSafeStr::into_sql_str(sql),
                false,
            )
        });
        Migrator::with_migrations(migrations.into()).run(&self.writer.pool).await
    }
}

/// A transaction. Its first statement must write: SQLite refuses a reader that becomes a writer after another wrote.
async fn begin(connection: &mut AnyConnection) -> Result<sqlx::Transaction<'_, sqlx::Any>> {
    Ok(Connection::begin(connection).await?)
}

/// What the connections of a pool are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

async fn try_to_connect(url: &str, durability: Durability) -> std::result::Result<(), sqlx::Error> {
    let mut connection = AnyConnection::connect(url).await?;
    prepare(&mut connection, durability, Access::Write).await?;
    connection.close().await
}

async fn pool(url: &str, connections: u32, durability: Durability, access: Access) -> Result<AnyPool> {
    let options = AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(if is_sqlite(url) { connections } else { 1 })
        // The wait has a limit of its own: see `work`.
        .acquire_timeout(work::LONGEST_WAIT)
        // A connection that is alone must not be closed: an SQLite in memory would be gone.
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| Box::pin(prepare(connection, durability, access)));
    options.connect(url).await.map_err(|source| open_error(url, source))
}

async fn prepare(
    connection: &mut AnyConnection,
    durability: Durability,
    access: Access,
) -> std::result::Result<(), sqlx::Error> {
    let is_sqlite = connection.backend_name() == "SQLite";
    let connection = Acquire::acquire(connection).await?;
    if !is_sqlite {
        // What the server has given up must not hold the locks that others wait for: a server that vanished in the middle of
        // a transaction would hold them until TCP notices.
        let limit = work::LIMIT.as_millis();
        let limits = format!(
            "SELECT set_config('statement_timeout', '{limit}', false), \
             set_config('idle_in_transaction_session_timeout', '{limit}', false)"
        );
        connection.execute(sqlx::AssertSqlSafe(limits)).await?;
        return Ok(());
    }
    // Less than `work::LIMIT`: who waits for another process in vain is told so.
    connection.execute("PRAGMA busy_timeout = 4000").await?;
    connection.execute("PRAGMA journal_mode = WAL").await?;
    connection.execute("PRAGMA foreign_keys = ON").await?;
    // A statement needs no file of its own, so none fails because there are too many open files.
    connection.execute("PRAGMA temp_store = MEMORY").await?;
    let synchronous = match durability {
        Durability::Kill => "PRAGMA synchronous = NORMAL",
        Durability::PowerCut => "PRAGMA synchronous = FULL",
    };
    connection.execute(synchronous).await?;
    if access == Access::Read {
        connection.execute("PRAGMA query_only = ON").await?;
    }
    Ok(())
}

fn is_in_memory(url: &str) -> bool {
    is_sqlite(url) && (url.contains(":memory:") || url.contains("mode=memory"))
}

fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

fn open_error(url: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    // `scheme://user:password@host`: what may be a password is left out.
    let shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => url.to_owned(),
    };
    StoreError::Open { url: shown, source: source.into() }
}

/// A time as the database keeps it.
fn to_millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn from_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn duration_from_millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn duration_to_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
