//! Calls of whom nobody knows: to the services that need no key, and with keys that are nobody's. They are few at a
//! time and few in a second, so that those who may call have the server for themselves.

use super::traffic::{Traffic, limited};
use crate::{
    error::{Error, Reason, Result},
    sync::lock,
    tenant::rate::Rates,
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU64,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Calls under way that needed no key, of one connection, of one address, and in all.
const OF_CONNECTION: usize = 32;
const OF_ADDRESS: usize = 128;
const IN_ALL: usize = 1024;

/// Calls that needed no key or had none, from one address in a second.
const PER_SECOND: NonZeroU64 = NonZeroU64::MIN.saturating_add(199);

/// A connection that goes on calling after so many refusals is closed.
const REFUSALS: usize = 200;

/// All strangers of a server.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Strangers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    rates: Rates<IpAddr>,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    in_all: usize,
    of_address: HashMap<IpAddr, usize>,
}

/// One call under way that needed no key.
#[derive(Debug)]
pub(super) struct Visit {
    strangers: Strangers,
    origin: IpAddr,
    traffic: Arc<Traffic>,
}

impl Strangers {
    /// Counts a call that needs no key until the value is dropped, or refuses it.
    pub(super) fn visit(&self, traffic: &Arc<Traffic>) -> Result<Visit> {
        self.ask(traffic)?;
        let origin = origin(traffic);
        let mut now = lock(&self.0.now);
        let of_address = now.of_address.get(&origin).copied().unwrap_or_default();
        let of_connection = traffic.visits().load(Relaxed);
        if of_connection >= OF_CONNECTION || of_address >= OF_ADDRESS || now.in_all >= IN_ALL {
            drop(now);
            return Err(refuse(traffic, Duration::from_secs(1)));
        }
        now.in_all += 1;
        *now.of_address.entry(origin).or_default() += 1;
        traffic.visits().fetch_add(1, Relaxed);
        Ok(Visit { strangers: self.clone(), origin, traffic: traffic.clone() })
    }

    /// Counts what is asked by somebody who is not known, or refuses it.
    pub(super) fn ask(&self, traffic: &Traffic) -> Result<()> {
        self.0.rates.take(&origin(traffic), PER_SECOND).map_err(|wait| refuse(traffic, wait))
    }

    /// They are known after all: it does not count.
    pub(super) fn are_known(&self, traffic: &Traffic) {
        self.0.rates.give_back(&origin(traffic), PER_SECOND);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut now = lock(&self.strangers.0.now);
        now.in_all -= 1;
        if let Some(count) = now.of_address.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                now.of_address.remove(&self.origin);
            }
        }
        self.traffic.visits().fetch_sub(1, Relaxed);
    }
}

/// Where somebody comes from. Everybody on this host comes from one place.
fn origin(traffic: &Traffic) -> IpAddr {
    traffic.peer().and_then(limited).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn refuse(traffic: &Traffic, wait: Duration) -> Error {
    if !traffic.is_known() && traffic.refused() >= REFUSALS {
        traffic.end();
    }
    Error::Exhausted {
        reason: Reason::TooManyRequests,
        message: "too many calls without a key that is known come from this address; slow down".to_owned(),
        retry_after: Some(wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn from(address: &str) -> Arc<Traffic> {
        Arc::new(Traffic::new(Some(address.parse().unwrap())))
    }

    #[tokio::test(start_paused = true)]
    async fn visits_are_few_at_a_time() {
        let (strangers, one) = (Strangers::default(), from("192.0.2.1"));
        let visits: Vec<_> = (0..OF_CONNECTION).map(|_| strangers.visit(&one).unwrap()).collect();
        strangers.visit(&one).unwrap_err();
        let neighbours: Vec<_> = (1..OF_ADDRESS / OF_CONNECTION).map(|_| from("192.0.2.1")).collect();
        let more = neighbours.iter().flat_map(|traffic| (0..OF_CONNECTION).map(|_| strangers.visit(traffic).unwrap()));
        let more: Vec<_> = more.collect();
        strangers.visit(&from("192.0.2.1")).unwrap_err();
        strangers.visit(&from("192.0.2.2")).unwrap();
        drop(visits);
        strangers.visit(&one).unwrap();
        drop(more);
        let now = lock(&strangers.0.now);
        assert_eq!((now.in_all, now.of_address.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn visits_are_few_in_a_second_and_who_goes_on_must_go() {
        let (strangers, one) = (Strangers::default(), from("192.0.2.1"));
        let made = (0..1000).filter(|_| strangers.visit(&one).is_ok()).count();
        assert_eq!(made as u64, PER_SECOND.get());
        assert!(one.is_ended());
        strangers.visit(&from("192.0.2.2")).unwrap();
        advance(Duration::from_secs(1)).await;
        strangers.visit(&from("192.0.2.1")).unwrap();
        // Who has called something with a key has made a mistake at worst.
        let known = from("192.0.2.3");
        known.now_known();
        assert!((0..1000).filter(|_| strangers.visit(&known).is_err()).count() > 0);
        assert!(!known.is_ended());
    }
}
