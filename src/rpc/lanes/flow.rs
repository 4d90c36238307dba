//! How much one connection moves, and the lane where its work runs because of that.

use super::Pair;
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

/// What moves so much within this time is heavy: 40 MiB a second, which takes a twentieth of a processor.
const HEAVY_BYTES: u64 = 4 << 20;

/// What is counted at one time. The clock is not looked at for less: small calls come by the thousand.
const COUNTED: u64 = 64 << 10;

const WITHIN: Duration = Duration::from_millis(100);

/// For how long it is taken for heavy after that. A stream that pauses for a moment goes on where it was.
const STAYS: Duration = Duration::from_millis(500);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One connection: what it moves, and where its work is.
#[derive(Debug)]
pub struct Flow {
    lanes: Option<Pair>,
    opened: Instant,
    load: Load,
    /// Bytes that were moved and not counted yet.
    uncounted: AtomicU64,
}

/// What a connection moves. Times are milliseconds.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// When `bytes` began to be counted.
    since: AtomicU64,
    bytes: AtomicU64,
    /// 0 when it is light and was for a while.
    heavy_until: AtomicU64,
}

impl Load {
    /// Counts what was moved. Only the connection itself does that, one piece after the other.
    pub(super) fn count(&self, now: u64, bytes: u64) {
        let mut counted = bytes;
        if now.saturating_sub(self.since.load(Relaxed)) < millis(WITHIN) {
            counted += self.bytes.load(Relaxed);
        } else {
            self.since.store(now, Relaxed);
        }
        self.bytes.store(counted, Relaxed);
        if counted >= HEAVY_BYTES {
            self.heavy_until.store(now + millis(STAYS), Relaxed);
        }
    }

    /// The time is asked for only of a connection that is heavy, or was.
    pub(super) fn is_heavy(&self, now: impl FnOnce() -> u64) -> bool {
        let until = self.heavy_until.load(Relaxed);
        if until == 0 {
            return false;
        }
        let heavy = now() < until;
        if !heavy {
            // Unless it has become heavy again meanwhile.
            let _ = self.heavy_until.compare_exchange(until, 0, Relaxed, Relaxed);
        }
        heavy
    }
}

impl Flow {
    pub(super) fn new(lanes: Option<Pair>) -> Self {
        Self { lanes, opened: Instant::now(), load: Load::default(), uncounted: AtomicU64::new(0) }
    }

    /// Counts bytes that it has moved.
    pub(super) fn count(&self, bytes: usize) {
        if self.lanes.is_none() {
            return;
        }
        let uncounted = self.uncounted.load(Relaxed) + bytes as u64;
        let (counted, left) = if uncounted < COUNTED { (0, uncounted) } else { (uncounted, 0) };
        self.uncounted.store(left, Relaxed);
        if counted > 0 {
            self.load.count(self.age(), counted);
        }
    }

    /// Whether it moves a lot.
    fn is_heavy(&self) -> bool {
        self.load.is_heavy(|| self.age())
    }

    fn age(&self) -> u64 {
        millis(self.opened.elapsed())
    }

    /// Starts a part of its work, which moves to the other lane whenever the connection becomes heavy, or light again.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        match &self.lanes {
            Some(lanes) => self.clone().run(lanes.clone(), Box::pin(work)),
            None => drop(tokio::spawn(work)),
        }
    }

    fn run(self: Arc<Self>, lanes: Pair, mut work: Work) {
        let heavy = self.is_heavy();
        let lane = if heavy { &lanes.bulk } else { &lanes.light };
        lane.clone().spawn(async move {
            let ended = poll_fn(|cx| {
                if self.is_heavy() != heavy {
                    return Poll::Ready(false);
                }
                work.as_mut().poll(cx).map(|()| true)
            });
            if !ended.await {
                // What it waits for knows only who has asked last, so it asks again as soon as it is there.
                self.run(lanes, work);
            }
        });
    }

    /// What starts the parts of this connection's work.
    pub fn executor(self: &Arc<Self>) -> Executor {
        Executor(self.clone())
    }
}

/// Starts what HTTP/2 does beside a connection: its calls, for example.
#[derive(Debug, Clone)]
pub struct Executor(Arc<Flow>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, work: F) {
        self.0.spawn(work);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
