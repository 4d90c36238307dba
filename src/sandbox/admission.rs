//! Creations wait here for their turn, in order, up to a bound.

use crate::error::{Error, Reason, Result};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// When a caller who found the queue full should come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a creation has its turn for itself. Most take milliseconds, from a registry's image a second.
pub(super) const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The queue of creations.
#[derive(Debug)]
pub(super) struct Admission {
    /// Places of those who wait and those who are at work.
    places: Arc<Semaphore>,
    /// Those who are at work.
    turns: Arc<Semaphore>,
    bound: usize,
}

/// A place in the queue.
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    turns: Arc<Semaphore>,
}

/// A turn: given to the next when it is dropped.
pub(super) struct Turn {
    turn: OwnedSemaphorePermit,
    place: OwnedSemaphorePermit,
}

impl Admission {
    /// `at_once` work, `waiting` more may wait.
    pub(super) fn new(at_once: usize, waiting: usize) -> Self {
        let places = Arc::new(Semaphore::new(at_once + waiting));
        Self { places, turns: Arc::new(Semaphore::new(at_once)), bound: waiting }
    }

    /// Takes a place, or says that there is none.
    pub(super) fn enter(&self) -> Result<Place> {
        let full = || Error::Exhausted {
            reason: Reason::TooManyCreations,
            message: format!("{} creations of sandboxes wait already; try again later", self.bound),
            retry_after: Some(RETRY_AFTER),
        };
        let _place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        Ok(Place { _place, turns: Arc::clone(&self.turns) })
    }
}

impl Place {
    /// Waits for a turn. Who stops waiting gives the place back.
    pub(super) async fn turn(self) -> Result<Turn> {
        let turn = self.turns.acquire_owned().await;
        let turn = turn.map_err(|error| Error::internal("wait for a turn", error))?;
        Ok(Turn { turn, place: self._place })
    }
}

impl Turn {
    /// Does the work of a turn. Work that takes long goes on without its turn, so that a few creations that hang do not hold up
    /// all others; its place in the queue it keeps, so that there are not too many of these.
    pub(super) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let Self { turn, place: _place } = self;
        let mut work = pin!(work);
        match timeout(TURN_TIMEOUT, &mut work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                drop(turn);
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn turns_go_in_order_and_who_leaves_makes_room() {
        let admission = Admission::new(1, 2);
        let first = admission.enter().unwrap().turn().await.unwrap();
        let mut second = pin!(admission.enter().unwrap().turn());
        let mut third = Box::pin(admission.enter().unwrap().turn());
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        let Err(full) = admission.enter() else { panic!("there was no place") };
        assert!(matches!(full, Error::Exhausted { retry_after: Some(_), .. }), "{full}");
        drop(third);
        let mut fourth = pin!(admission.enter().unwrap().turn());
        assert!(fourth.as_mut().now_or_never().is_none());
        drop(first);
        assert!(fourth.as_mut().now_or_never().is_none());
        let second = second.now_or_never().unwrap().unwrap();
        assert!(fourth.as_mut().now_or_never().is_none());
        drop(second);
        fourth.now_or_never().unwrap().unwrap();
    }
}
