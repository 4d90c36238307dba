//! Two lanes for the work of connections. What moves a lot of bytes has threads of its own: on those of everybody else it would
//! be in the way of each call that comes, for as long as its copying takes, and the kernel would give these threads the
//! processor late, because they have already had so much of it. Where the processors are busy, the threads for much give way.

mod carried;
mod flow;
mod socket;

pub use carried::Carried;
pub use flow::{Executor, Flow};
pub use socket::Socket;

use std::{cell::Cell, io, sync::Arc, time::Duration};
use tokio::runtime::{Builder, Handle, Runtime};

/// Where the work of connections may run. Cheap to clone. By default there is one lane only, and all of it stays there.
#[derive(Debug, Clone, Default)]
pub struct Lanes(Option<Pair>);

#[derive(Debug, Clone)]
struct Pair {
    light: Handle,
    bulk: Handle,
}

impl Lanes {
    /// What is known of a new connection.
    pub fn flow(&self) -> Arc<Flow> {
        Arc::new(Flow::new(self.0.clone()))
    }
}

/// How much nicer the threads of the bulk lane are than the others: they have a third of the weight. A sandbox weighs as much
/// as one thread where the server has no cgroup of its own, so that without it the bytes of one sandbox go before the
/// programs of all others.
const NICER: i32 = 5;

thread_local! {
    static IS_BULK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread of the bulk lane.
fn is_bulk() -> bool {
    IS_BULK.get()
}

/// The threads of the bulk lane.
#[derive(Debug)]
pub struct Bulk(Runtime);

impl Bulk {
    /// Starts so many.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub fn start(threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("bulk").enable_all().on_thread_start(|| {
            IS_BULK.set(true);
            // Of this thread alone. Refused, it costs others a little speed only.
            let _ = rustix::process::nice(NICER);
        });
        builder.build().map(Self)
    }

    /// This lane and the other one: the runtime that this is called on.
    pub fn lanes(&self) -> Lanes {
        Lanes(Some(Pair { light: Handle::current(), bulk: self.0.handle().clone() }))
    }

    /// Ends what still runs there.
    pub fn stop(self, within: Duration) {
        self.0.shutdown_timeout(within);
    }
}

#[cfg(test)]
mod tests;
