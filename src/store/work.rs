//! One piece of work with the database: it has a time limit, and it comes to its end although nobody waits for it any more.
//!
//! A call may be cancelled at any await. A transaction that is dropped while it commits may be committed or not, and what
//! is done about that on another connection may come before it. So no work is dropped: each runs in a task of its own, and
//! ends within [`LIMIT`]. A connection on which work did not end in time is closed, because it may never answer again.
//!
//! Whoever waits for a connection waits in order. As long as others finish their work the database is only busy, and the wait goes
//! on for up to [`LONGEST_WAIT`]; when nobody has finished anything for [`LIMIT`], it does not answer.

use super::{Result, Store, StoreError};
use futures_util::future::BoxFuture;
use sqlx::{Any, AnyConnection, AnyPool, pool::PoolConnection};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tracing::Instrument;

/// How long a piece of work may take once it has its connection, and how long it waits for one while nothing goes on.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// How long a piece of work waits for a connection in all.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Pieces of work that may wait or be under way. A database that does not answer must not gather more than these.
pub(super) const MOST_AT_ONCE: usize = 1024;

/// Connections, and how much was done on them.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) pool: AnyPool,
    finished: Arc<AtomicU64>,
}

impl Lane {
    pub(super) fn new(pool: AnyPool) -> Self {
        Self { pool, finished: Arc::default() }
    }

    /// A connection, as long as it is worth waiting for one.
    async fn acquire(&self, limit: Duration) -> Result<PoolConnection<Any>> {
        let mut acquire = pin!(self.pool.acquire());
        let end = Instant::now() + LONGEST_WAIT;
        loop {
            let before = self.finished.load(Ordering::Relaxed);
            match timeout_at(end.min(Instant::now() + limit), &mut acquire).await {
                Ok(connection) => return Ok(connection?),
                Err(_) if self.finished.load(Ordering::Relaxed) != before && Instant::now() < end => {}
                Err(_) => return Err(StoreError::Slow(limit)),
            }
        }
    }
}

impl Store {
    /// Changes something.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.perform(self.writer.clone(), work).await
    }

    /// Looks at something.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.perform(self.reader.clone(), work).await
    }

    async fn perform<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| StoreError::Overloaded)?;
        let limit = self.limit;
        let task = async move {
            let _place = place;
            let Some(limit) = limit else { return work(&mut *lane.pool.acquire().await?).await };
            let mut connection = lane.acquire(limit).await?;
            match timeout(limit, work(&mut connection)).await {
                Ok(outcome) => {
                    if outcome.is_ok() {
                        lane.finished.fetch_add(1, Ordering::Relaxed);
                    }
                    outcome
                }
                Err(_) => {
                    connection.close_on_drop();
                    Err(StoreError::Slow(limit))
                }
            }
        };
        let outcome = tokio::spawn(task.in_current_span()).await;
        // The work neither panics nor is aborted, but for the end of the whole program.
        outcome.map_err(|error| StoreError::Other(sqlx::Error::Protocol(error.to_string())))?
    }
}

/// Places for [`MOST_AT_ONCE`] pieces of work.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_AT_ONCE))
}
