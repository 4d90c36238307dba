//! Gives memory back to the system some time after connections ended: what they held is free then, but scattered.

use super::sys;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::sleep;

/// How long after the end of a connection. All that end meanwhile count as one.
const AFTER: Duration = Duration::from_secs(5);

/// What gives memory back.
#[derive(Debug, Clone, Default)]
pub(super) struct GiveBack(Arc<AtomicBool>);

impl GiveBack {
    /// A connection has ended.
    pub(super) fn soon(&self) {
        if self.0.swap(true, Relaxed) {
            return;
        }
        let due = self.0.clone();
        tokio::spawn(async move {
            sleep(AFTER).await;
            due.store(false, Relaxed);
            // Not on a thread that serves.
            drop(tokio::task::spawn_blocking(sys::give_back_memory).await);
        });
    }
}
