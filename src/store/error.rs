//! What can go wrong with the database, by the codes that it gives.

use crate::error::{Error, Reason};
use sqlx::{error::DatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};
use std::time::Duration;

/// The result of what is asked of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened, or is of a newer version.
    #[error("database {url}: {source}{}", remedy(url, &**source))]
    Open {
        /// Which, without a password.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be reached now.
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// It did not answer in time. What was asked for may have been done all the same.
    #[error("the database did not answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// More is asked of it than it can answer in time.
    #[error("too many calls wait for the database")]
    Overloaded,
    /// Its disk is full.
    #[error("the disk of the database is full: {0}")]
    Full(#[source] sqlx::Error),
    /// Anything else.
    #[error(transparent)]
    Other(sqlx::Error),
}

/// What to do about a server that cannot be used, starting with punctuation.
fn remedy(url: &str, source: &(dyn std::error::Error + 'static)) -> &'static str {
    /// PostgreSQL's codes for a wrong password, an unknown user or one who may not connect, and an unknown database.
    const WRONG_PASSWORD: &str = "28P01";
    const REFUSED: &str = "28000";
    const UNKNOWN_DATABASE: &str = "3D000";
    if url.starts_with("sqlite:") {
        return "";
    }
    match source.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Io(_)) => {
            "; no PostgreSQL answers there: start it, or give the right host and port in --database or SANDSHELL_DATABASE"
        }
        Some(sqlx::Error::Database(database)) => match database.code().as_deref() {
            Some(WRONG_PASSWORD | REFUSED) => {
                "; give the right user and password, as postgres://USER:PASSWORD@HOST/NAME, and see that pg_hba.conf lets them in"
            }
            Some(UNKNOWN_DATABASE) => "; create the database first (`createdb NAME`), or name another one",
            _ => "",
        },
        Some(sqlx::Error::Configuration(_)) => "; write it as postgres://USER:PASSWORD@HOST:PORT/NAME",
        _ => "",
    }
}

impl StoreError {
    /// Whether the same may succeed later without anybody doing anything to the database's content.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Slow(_) | Self::Overloaded)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let kind = match &error {
            sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => Kind::Full,
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => Kind::Unreachable,
            sqlx::Error::Database(database) => kind_of(database.as_ref()),
            _ => Kind::Other,
        };
        match kind {
            Kind::Full => Self::Full(error),
            Kind::Unreachable => Self::Unreachable(error),
            Kind::Other => Self::Other(error),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full,
    Unreachable,
    Other,
}

fn kind_of(error: &dyn DatabaseError) -> Kind {
    let code = error.code();
    let code = code.as_deref().unwrap_or_default();
    if error.try_downcast_ref::<SqliteError>().is_some() {
        return code.parse().map_or(Kind::Other, kind_of_sqlite);
    }
    if error.try_downcast_ref::<PgDatabaseError>().is_some() { kind_of_postgres(code) } else { Kind::Other }
}

/// SQLite's extended result codes: <https://www.sqlite.org/rescode.html>.
fn kind_of_sqlite(code: u32) -> Kind {
    /// `SQLITE_BUSY` and `SQLITE_LOCKED`: another process writes for too long.
    const BUSY: [u32; 2] = [5, 6];
    const FULL: u32 = 13;
    /// Too many open files, most often.
    const CANNOT_OPEN: u32 = 14;
    /// Errors of the file system beside writing: SQLite says these, and not `SQLITE_FULL`, where it could not make or enlarge
    /// its shared memory and its journal.
    const FULL_BY_IO: [u32; 3] = [
        10 | (19 << 8), // SQLITE_IOERR_SHMSIZE
        10 | (3 << 8),  // SQLITE_IOERR_WRITE
        10 | (6 << 8),  // SQLITE_IOERR_TRUNCATE
    ];
    match code {
        code if BUSY.contains(&(code & 0xff)) => Kind::Unreachable,
        code if code & 0xff == CANNOT_OPEN => Kind::Unreachable,
        code if code & 0xff == FULL => Kind::Full,
        // A failed write has other causes too, but none that a client could do more about.
        code if FULL_BY_IO.contains(&code) => Kind::Full,
        _ => Kind::Other,
    }
}

/// PostgreSQL's codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn kind_of_postgres(code: &str) -> Kind {
    match code {
        "53100" => Kind::Full,
        // Connection exceptions, too many connections, shutting down or starting, time limits of statements and locks, and
        // a standby that has become or is not yet the one to write to.
        code if code.starts_with("08") || code.starts_with("57P") => Kind::Unreachable,
        "53300" | "57014" | "55P03" | "25P03" | "25006" | "40001" | "40P01" => Kind::Unreachable,
        _ => Kind::Other,
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            error if error.is_passing() => {
                tracing::warn!(%error, "the database does not answer");
                let message = "the server's database does not answer; try again later".to_owned();
                Self::Unavailable { reason: Reason::DatabaseUnreachable, message }
            }
            StoreError::Full(error) => {
                tracing::error!(%error, "the disk of the database is full");
                Self::no_space("the server's database")
            }
            error => Self::internal("use the database", error),
        }
    }
}

/// A row that does not hold what this program writes.
pub(super) fn decode(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Other(sqlx::Error::Decode(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_it_is_worth_trying_again() {
        assert_eq!([5, 261, 517, 6, 262, 14].map(kind_of_sqlite), [Kind::Unreachable; 6]);
        assert_eq!([13, 4874, 778].map(kind_of_sqlite), [Kind::Full; 3]);
        assert_eq!([1, 11, 26, 2067].map(kind_of_sqlite), [Kind::Other; 4]);
        assert_eq!(["08006", "57P01", "57014", "53300"].map(kind_of_postgres), [Kind::Unreachable; 4]);
        assert_eq!((kind_of_postgres("53100"), kind_of_postgres("23505")), (Kind::Full, Kind::Other));
    }
}
