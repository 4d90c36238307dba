//! Calls in a second: a bucket for each tenant that has a limit.

use crate::sync::lock;
use std::{collections::HashMap, num::NonZeroU64, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// What may be saved up: as many calls at once as a second holds.
const BURST: Duration = Duration::from_secs(1);

/// The buckets of all tenants.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<String, Bucket>>);

impl Rates {
    /// Takes one call of a tenant, or says how long it must wait for it.
    pub(super) fn take(&self, tenant: &str, per_second: NonZeroU64) -> Result<(), Duration> {
        let now = Instant::now();
        let mut buckets = lock(&self.0);
        match buckets.get_mut(tenant) {
            Some(bucket) => bucket.take(per_second, now),
            None => buckets.entry(tenant.to_owned()).or_insert(Bucket { even: now }).take(per_second, now),
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
    fn take(&mut self, per_second: NonZeroU64, now: Instant) -> Result<(), Duration> {
        let each = BURST / u32::try_from(per_second.get()).unwrap_or(u32::MAX);
        let even = self.even.max(now) + each;
        let ahead = even - now;
        if ahead > BURST {
            return Err(ahead - BURST);
        }
        self.even = even;
        Ok(())
    }
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
        let rates = Rates::default();
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
        let rates = Rates::default();
        let three = || rates.take("a", per_second(3));
        three().unwrap();
        advance(Duration::from_secs(3600)).await;
        assert_eq!((0..10).filter(|_| three().is_ok()).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_do_not_share() {
        let rates = Rates::default();
        rates.take("a", per_second(1)).unwrap();
        assert_eq!(rates.take("a", per_second(1)).unwrap_err(), Duration::from_secs(1));
        rates.take("b", per_second(1)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_limit_holds_at_once() {
        let rates = Rates::default();
        rates.take("a", per_second(1)).unwrap();
        rates.take("a", per_second(1)).unwrap_err();
        assert!(rates.take("a", per_second(1000)).is_err(), "the second is used up");
        advance(Duration::from_millis(1)).await;
        rates.take("a", per_second(1000)).unwrap();
        rates.take("a", per_second(u64::MAX)).unwrap();
    }
}
