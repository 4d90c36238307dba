//! One piece of work with the database: it has a time limit, and it comes to its end although nobody waits for it any more.
//!
//! A call may be cancelled at any await. A transaction that is dropped while it commits may be committed or not, and what
//! is done about that on another connection may come before it. So no work is dropped: each runs in a task of its own, and
//! ends within [`LIMIT`]. A connection on which work did not end in time is closed, because it may never answer again.

use super::{Result, Store, StoreError};
use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, AnyPool};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tracing::Instrument;

/// How long a piece of work may take, the wait for a connection included.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Pieces of work that may wait or be under way. A database that does not answer must not gather more than these.
pub(super) const MOST_AT_ONCE: usize = 1024;

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
        pool: AnyPool,
        work: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| StoreError::Overloaded)?;
        let limit = self.limit;
        let task = async move {
            let _place = place;
            let Some(limit) = limit else { return work(&mut *pool.acquire().await?).await };
            let end = Instant::now() + limit;
            let mut connection = timeout_at(end, pool.acquire()).await.map_err(|_| StoreError::Slow(limit))??;
            match timeout_at(end, work(&mut connection)).await {
                Ok(outcome) => outcome,
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
