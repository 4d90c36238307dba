//! Calls in a second: a bucket for each who has a limit.

use crate::sync::lock;
use std::{borrow::Borrow, collections::HashMap, hash::Hash, num::NonZeroU64, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// What may be saved up: as many calls at once as a second holds.
const BURST: Duration = Duration::from_secs(1);

/// With fewer buckets it is not looked which of them are full again, and so need not be kept.
const FEW: usize = 1024;

/// The buckets of all.
#[derive(Debug)]
pub(crate) struct Rates<K>(Mutex<Buckets<K>>);

#[derive(Debug)]
struct Buckets<K> {
    all: HashMap<K, Bucket>,
    /// With so many buckets it is looked again which of them must be kept.
    many: usize,
}

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self(Mutex::new(Buckets { all: HashMap::new(), many: FEW }))
    }
}

impl<K: Hash + Eq> Rates<K> {
    /// Takes one call of somebody's, or says how long they must wait for it.
    pub(crate) fn take<Q>(&self, who: &Q, per_second: NonZeroU64) -> Result<(), Duration>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = Instant::now();
        let mut buckets = lock(&self.0);
        if let Some(bucket) = buckets.all.get_mut(who) {
            return bucket.take(per_second, now);
        }
        buckets.forget_full(now);
        buckets.all.entry(who.to_owned()).or_insert(Bucket { even: now }).take(per_second, now)
    }

    /// Gives back one call that was taken and is not to count.
    pub(crate) fn give_back<Q>(&self, who: &Q, per_second: NonZeroU64)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(bucket) = lock(&self.0).all.get_mut(who) {
            bucket.give_back(per_second);
        }
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// A bucket that is full again is like one that never was.
    fn forget_full(&mut self, now: Instant) {
        if self.all.len() >= self.many {
            self.all.retain(|_, bucket| bucket.even > now);
            self.many = FEW.max(2 * self.all.len());
        }
    }
}

/// One bucket, kept as a single time ("generic cell rate algorithm"): when all calls taken so far would have been made,
/// had they come evenly. It may be ahead of now by as much as a burst.
#[derive(Debug)]
struct Bucket {
    even: Instant,
}

impl Bucket {
    fn give_back(&mut self, per_second: NonZeroU64) {
        self.even -= each(per_second);
    }

    fn take(&mut self, per_second: NonZeroU64, now: Instant) -> Result<(), Duration> {
        let even = self.even.max(now) + each(per_second);
        let ahead = even - now;
        if ahead > BURST {
            return Err(ahead - BURST);
        }
        self.even = even;
        Ok(())
    }
}

/// How far apart calls are that come evenly.
fn each(per_second: NonZeroU64) -> Duration {
    BURST / u32::try_from(per_second.get()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn per_second(number: u64) -> NonZeroU64 {
        NonZeroU64::new(number).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_holds_so_many_and_the_wait_is_true() {
        let rates = Rates::<String>::default();
        let ten = || rates.take("a", per_second(10));
        for _ in 0..10 {
            ten().unwrap();
        }
        let wait = ten().unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        // Refusals cost nothing.
        assert_eq!(ten().unwrap_err(), wait);
        advance(wait - Duration::from_millis(1)).await;
        assert_eq!(ten().unwrap_err(), Duration::from_millis(1));
        advance(Duration::from_millis(1)).await;
        ten().unwrap();
        assert_eq!(ten().unwrap_err(), wait);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_saved_up_is_bounded() {
        let rates = Rates::<String>::default();
        let three = || rates.take("a", per_second(3));
        three().unwrap();
        advance(Duration::from_secs(3600)).await;
        assert_eq!((0..10).filter(|_| three().is_ok()).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_do_not_share() {
        let rates = Rates::<String>::default();
        rates.take("a", per_second(1)).unwrap();
        assert_eq!(rates.take("a", per_second(1)).unwrap_err(), Duration::from_secs(1));
        rates.take("b", per_second(1)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_limit_holds_at_once() {
        let rates = Rates::<String>::default();
        rates.take("a", per_second(1)).unwrap();
        rates.take("a", per_second(1)).unwrap_err();
        assert!(rates.take("a", per_second(1000)).is_err(), "the second is used up");
        advance(Duration::from_millis(1)).await;
        rates.take("a", per_second(1000)).unwrap();
        rates.take("a", per_second(u64::MAX)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_was_not_taken() {
        let rates = Rates::<String>::default();
        for _ in 0..100 {
            rates.take("a", per_second(1)).unwrap();
            rates.give_back("a", per_second(1));
        }
        rates.take("a", per_second(1)).unwrap();
        rates.take("a", per_second(1)).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_that_are_full_again_are_forgotten() {
        let rates = Rates::<u64>::default();
        for n in 0..100 * FEW as u64 {
            rates.take(&n, per_second(1000)).unwrap();
            if n % 10 == 0 {
                advance(Duration::from_millis(1)).await;
            }
        }
        assert!(lock(&rates.0).all.len() <= FEW);
    }
}
