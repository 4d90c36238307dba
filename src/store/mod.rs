//! What must outlive the server, in a database: SQLite in the data directory, or PostgreSQL for several servers.
//!
//! All statements are written so that both understand them. A change that an answer speaks of is committed before the
//! answer is given. A killed server loses nothing that was committed; SQLite may lose the last moments at a power cut
//! (`synchronous = NORMAL`), in which every sandbox is lost anyway, but not what [`Durability::PowerCut`] wrote.

mod listing;
mod sandboxes;
mod tenants;

pub use listing::Page;
pub use sandboxes::{Inserted, Quota, RequestKey, SandboxRow, SandboxState, Settings};
pub use tenants::{ApiKey, TenantRow};

use crate::error::{Error, Reason};
use sqlx::{
    Acquire, AnyConnection, AnyPool, Executor,
    any::AnyPoolOptions,
    migrate::{Migration, MigrationType, Migrator},
};
use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// In order, and never changed once released.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "base", include_str!("migrations/0001_base.sql"))];

/// The database in a data directory.
const FILE: &str = "sandshell.db";

/// SQLite has one writer. With one connection nobody in this process ever waits for a lock of another; other processes
/// (`sandshell key`) wait by `busy_timeout`.
const SQLITE_CONNECTIONS: u32 = 1;
const POSTGRES_CONNECTIONS: u32 = 16;

/// How long a call waits for the database before it is told to try again.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
}

/// What committed changes survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however it comes. For servers.
    Kill,
    /// That, and the loss of power. For keys: one that was revoked must never come back.
    PowerCut,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened, or is of a newer version.
    #[error("database {url}: {source}")]
    Open {
        /// Which, without a password.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be reached now.
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// Anything else.
    #[error(transparent)]
    Other(sqlx::Error),
}

/// The result of what is asked of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Whether a data directory has a database in it.
    pub fn is_in(data_dir: &Path) -> bool {
        data_dir.join(FILE).exists()
    }

    /// Opens the database in a data directory.
    pub async fn in_directory(data_dir: &Path, durability: Durability) -> Result<Self> {
        let path = data_dir.join(FILE);
        // Characters that mean something in a URL.
        let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        Self::open(&format!("sqlite://{path}?mode=rwc"), durability).await
    }

    /// Opens the database that a URL names (`sqlite://PATH`, `postgres://…`), and brings it up to this version.
    pub async fn open(url: &str, durability: Durability) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let connections = if is_sqlite(url) { SQLITE_CONNECTIONS } else { POSTGRES_CONNECTIONS };
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A connection that is alone must not be closed: an SQLite in memory would be gone.
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _| Box::pin(prepare(connection, durability)))
            .connect(url)
            .await
            .map_err(|source| open_error(url, source))?;
        let store = Self { pool };
        // SQLite's migrations are not kept apart: of two processes that begin at the same moment one may fail, and then
        // find the work done.
        if store.migrate().await.is_err() {
            store.migrate().await.map_err(|source| open_error(url, source))?;
        }
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
        Migrator::with_migrations(migrations.into()).run(&self.pool).await
    }

    /// A transaction. Its first statement must write: SQLite refuses a reader that becomes a writer after another wrote.
    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Any>> {
        Ok(self.pool.begin().await?)
    }
}

async fn prepare(connection: &mut AnyConnection, durability: Durability) -> std::result::Result<(), sqlx::Error> {
    if connection.backend_name() != "SQLite" {
        return Ok(());
    }
    let connection = connection.acquire().await?;
    connection.execute("PRAGMA busy_timeout = 5000").await?;
    connection.execute("PRAGMA journal_mode = WAL").await?;
    connection.execute("PRAGMA foreign_keys = ON").await?;
    let synchronous = match durability {
        Durability::Kill => "PRAGMA synchronous = NORMAL",
        Durability::PowerCut => "PRAGMA synchronous = FULL",
    };
    connection.execute(synchronous).await?;
    Ok(())
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

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
                Self::Unreachable(error)
            }
            error => Self::Other(error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable(error) => {
                tracing::warn!(%error, "the database does not answer");
                let message = "the server's database does not answer; try again later".to_owned();
                Self::Unavailable { reason: Reason::DatabaseUnreachable, message }
            }
            error => Self::internal("use the database", error),
        }
    }
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
