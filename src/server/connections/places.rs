//! Who may have a connection: so many in all, and so many from one address.
//!
//! When all places are taken, a newcomer gets the place of the oldest connection that has not shown yet that it may
//! call anything: silence must not keep those out who have something to say.

use crate::{
    server::layers::traffic::{Traffic, limited},
    sync::lock,
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

/// A connection keeps its place for this long, even if it has said nothing yet.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// Connections that a server takes.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// From everywhere.
    pub in_all: usize,
    /// From one address. Loopback addresses have no limit of their own: everybody behind a proxy on this host comes
    /// from there.
    pub per_address: usize,
}

impl Default for Most {
    fn default() -> Self {
        Self { in_all: 4096, per_address: 256 }
    }
}

/// All connections that have a place.
#[derive(Debug)]
pub(in crate::server) struct Places {
    most: Most,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Arc<Traffic>>,
    from: HashMap<IpAddr, usize>,
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    traffic: Arc<Traffic>,
}

/// All places are taken, and nobody can be asked to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// By connections from everywhere.
    InAll,
    /// By connections from the same address.
    FromAddress,
}

impl Places {
    pub(in crate::server) fn new(most: Most) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A place for a connection from this address. One that has no address is this process's own, and always has one.
    pub(super) fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Place, Full> {
        let origin = peer.and_then(limited);
        let mut taken = lock(&self.taken);
        if origin.is_some_and(|origin| taken.from.get(&origin).is_some_and(|count| *count >= self.most.per_address)) {
            taken.make_room(|traffic| traffic.peer().and_then(limited) == origin).ok_or(Full::FromAddress)?;
        }
        if peer.is_some() && taken.connections.len() >= self.most.in_all {
            taken.make_room(|_| true).ok_or(Full::InAll)?;
        }
        let traffic = Arc::new(Traffic::new(peer));
        let number = taken.next;
        taken.next += 1;
        taken.connections.insert(number, traffic.clone());
        if let Some(origin) = origin {
            *taken.from.entry(origin).or_default() += 1;
        }
        Ok(Place { places: self.clone(), number, traffic })
    }
}

impl Places {
    /// Ends all connections.
    pub(in crate::server) fn end_all(&self) {
        for traffic in lock(&self.taken).connections.values() {
            traffic.end();
        }
    }
}

impl Taken {
    /// Ends the connection that can best be spared of those that may be.
    fn make_room(&mut self, may_be: impl Fn(&Traffic) -> bool) -> Option<()> {
        let strangers = self.connections.iter().filter(|(_, traffic)| {
            traffic.peer().is_some() && may_be(traffic) && !traffic.is_known() && traffic.age() >= UNDISTURBED
        });
        let spared = strangers.min_by_key(|(number, traffic)| (traffic.is_busy(), **number));
        let number = spared.map(|(number, _)| *number)?;
        self.remove(number)?.end();
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Traffic>> {
        let traffic = self.connections.remove(&number)?;
        if let Some(origin) = traffic.peer().and_then(limited)
            && let Some(count) = self.from.get_mut(&origin)
        {
            *count -= 1;
            if *count == 0 {
                self.from.remove(&origin);
            }
        }
        Some(traffic)
    }
}

impl Place {
    /// What is known of the connection.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places.taken).remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;
    use tokio::time::advance;

    const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn places(in_all: usize, per_address: usize) -> Arc<Places> {
        Places::new(Most { in_all, per_address })
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_in_all_and_from_one_address() {
        let places = places(3, 2);
        let first = places.take(address("192.0.2.1")).unwrap();
        let _second = places.take(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(places.take(address("192.0.2.1")).unwrap_err(), Full::FromAddress);
        let _other = places.take(address("2001:db8::1")).unwrap();
        assert_eq!(places.take(address("2001:db8::2")).unwrap_err(), Full::InAll);
        let _own = places.take(None).unwrap();
        drop((first, _own));
        places.take(address("192.0.2.1")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn loopback_has_no_limit_of_its_own() {
        let places = places(10, 1);
        let _all: Vec<_> = (0..10).map(|_| places.take(Some(HERE)).unwrap()).collect();
        assert_eq!(places.take(Some(HERE)).unwrap_err(), Full::InAll);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stranger_makes_room() {
        let places = places(3, 3);
        let known = places.take(Some(HERE)).unwrap();
        known.traffic().now_known();
        let [second, third] = [(); 2].map(|()| places.take(Some(HERE)).unwrap());
        advance(UNDISTURBED - Duration::from_millis(1)).await;
        assert_eq!(places.take(Some(HERE)).unwrap_err(), Full::InAll);
        advance(Duration::from_millis(1)).await;
        let _busy = second.traffic().call();
        let _newcomer = places.take(Some(HERE)).unwrap();
        let ended = |place: &Place| place.traffic().is_ended();
        assert_eq!([&known, &second, &third].map(ended), [false, false, true]);
        let _another = places.take(Some(HERE)).unwrap();
        assert_eq!([&known, &second, &third].map(ended), [false, true, true]);
        assert_eq!(places.take(Some(HERE)).unwrap_err(), Full::InAll);
        // Whoever lost a place does not give it back twice.
        drop((second, third));
        assert_eq!(places.take(Some(HERE)).unwrap_err(), Full::InAll);
    }

    #[tokio::test(start_paused = true)]
    async fn neighbours_in_a_network_of_ipv6_are_one() {
        let places = places(10, 1);
        let _first = places.take(address("2001:db8::1")).unwrap();
        assert_eq!(places.take(address("2001:db8::2")).unwrap_err(), Full::FromAddress);
        places.take(address("2001:db8:0:1::1")).unwrap();
    }
}
