//! Work that many ask for at the same time, done once.

use crate::sync::lock;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use std::{collections::HashMap, sync::Mutex};

/// Work under way, by what it is about. Whoever asks for the same joins it. Work that all have left is dropped.
pub(super) struct Sharing<T: Clone>(Mutex<HashMap<String, WeakShared<BoxFuture<'static, T>>>>);

impl<T: Clone> Default for Sharing<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Sharing<T> {
    /// Joins the work about `key`, or begins it.
    pub(super) fn join(
        &self,
        key: &str,
        begin: impl FnOnce() -> BoxFuture<'static, T>,
    ) -> Shared<BoxFuture<'static, T>> {
        let mut under_way = lock(&self.0);
        under_way.retain(|_, work| work.upgrade().is_some());
        if let Some(work) = under_way.get(key).and_then(WeakShared::upgrade) {
            return work;
        }
        let work = begin().shared();
        if let Some(weak) = work.downgrade() {
            under_way.insert(key.to_owned(), weak);
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn who_asks_for_the_same_shares_and_work_that_all_have_left_is_dropped() {
        let (sharing, begun) = (Sharing::<usize>::default(), Arc::new(AtomicUsize::new(0)));
        let (answer, answered) = oneshot::channel::<usize>();
        let count = begun.clone();
        let work = move || {
            count.fetch_add(1, Ordering::Relaxed);
            async move { answered.await.unwrap() }.boxed()
        };
        let first = sharing.join("a", work);
        let second = sharing.join("a", || unreachable!("the same work twice"));
        let other = sharing.join("b", || async { 5 }.boxed());
        answer.send(7).unwrap();
        assert_eq!((first.await, second.await, other.await), (7, 7, 5));
        assert_eq!(sharing.join("a", || async { 8 }.boxed()).await, 8);

        let (mut dropped, is_dropped) = oneshot::channel::<()>();
        let work = sharing.join("c", || {
            async {
                let _ = is_dropped.await;
                0
            }
            .boxed()
        });
        drop(work);
        dropped.closed().await;
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }
}
