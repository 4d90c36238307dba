//! What is known of one connection: where it comes from, whether it may call anything, and the calls under way.

use std::{
    net::{IpAddr, Ipv6Addr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// What is known of one connection. Shared by the connection and its calls.
#[derive(Debug)]
pub(in crate::server) struct Traffic {
    peer: Option<IpAddr>,
    opened: Instant,
    /// Whether a call was let in.
    known: AtomicBool,
    /// Calls whose answer has not begun.
    unanswered: AtomicUsize,
    /// Calls that are not over.
    calls: AtomicUsize,
    /// Milliseconds after the opening at which the last call was over.
    quiet_since: AtomicUsize,
    /// Told when a call was answered or is over.
    progress: Notify,
    /// Bytes of large messages that were not answered yet.
    held: AtomicUsize,
    /// Calls under way that needed no key.
    visits: AtomicUsize,
    /// Calls that were refused because there were too many of strangers.
    refused: AtomicUsize,
    end: CancellationToken,
}

impl Traffic {
    pub(in crate::server) fn new(peer: Option<IpAddr>) -> Self {
        Self {
            peer,
            opened: Instant::now(),
            known: AtomicBool::new(false),
            unanswered: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            quiet_since: AtomicUsize::new(0),
            progress: Notify::new(),
            held: AtomicUsize::new(0),
            visits: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            end: CancellationToken::new(),
        }
    }

    /// Where it comes from; from this process if there is no address.
    pub(in crate::server) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    pub(in crate::server) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whether somebody who may has called anything here.
    pub(in crate::server) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Notes that somebody who may has called something.
    pub(in crate::server) fn now_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Whether any call is not over.
    pub(in crate::server) fn is_busy(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }

    /// Whether any call waits for its answer.
    pub(in crate::server) fn owes_answers(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) > 0
    }

    /// How long no call has been under way.
    pub(in crate::server) fn quiet(&self) -> Duration {
        if self.is_busy() {
            return Duration::ZERO;
        }
        let since = Duration::from_millis(self.quiet_since.load(Ordering::Relaxed) as u64);
        self.age().saturating_sub(since)
    }

    /// Returns when `is_so` of it.
    pub(in crate::server) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        loop {
            let mut progress = pin!(self.progress.notified());
            // Before the look, so that nothing that happens after it is missed.
            progress.as_mut().enable();
            if is_so(self) {
                return;
            }
            progress.await;
        }
    }

    /// Bytes of large messages that were not answered yet.
    pub(super) fn held(&self) -> &AtomicUsize {
        &self.held
    }

    /// Calls under way that needed no key.
    pub(super) fn visits(&self) -> &AtomicUsize {
        &self.visits
    }

    /// Counts a call that was refused because there were too many of strangers, and returns how many there were.
    pub(super) fn refused(&self) -> usize {
        self.refused.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends the connection.
    pub(in crate::server) fn end(&self) {
        self.end.cancel();
    }

    /// Returns when the connection is to end.
    pub(in crate::server) async fn ended(&self) {
        self.end.cancelled().await;
    }

    #[cfg(test)]
    pub(in crate::server) fn is_ended(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Counts a call until the values are dropped: the first when its answer begins, the second when it is over.
    pub(in crate::server) fn call(self: &Arc<Self>) -> (Unanswered, Call) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        (Unanswered(self.clone()), Call(self.clone()))
    }
}

/// A call whose answer has not begun.
#[derive(Debug)]
pub(in crate::server) struct Unanswered(Arc<Traffic>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::Relaxed);
        self.0.progress.notify_waiters();
    }
}

/// A call that is not over.
#[derive(Debug)]
pub(in crate::server) struct Call(Arc<Traffic>);

impl Drop for Call {
    fn drop(&mut self) {
        let now = self.0.age().as_millis();
        self.0.quiet_since.store(usize::try_from(now).unwrap_or(usize::MAX), Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
        self.0.progress.notify_waiters();
    }
}

/// The address that a limit counts, if it counts any. One customer has a whole /64 of IPv6.
pub(in crate::server) fn limited(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        peer if peer.is_loopback() => None,
        IpAddr::V6(peer) => Some(Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64).into()),
        peer => Some(peer),
    }
}
