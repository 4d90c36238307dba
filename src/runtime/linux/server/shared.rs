//! What the server's side of the runtime shares: the way to the zygote, the processes that are held, and what is under way.

use super::{changes, client::Client, held::Processes, sharing::Sharing, stats};
use crate::runtime::{
    Storage, Usage,
    linux::{
        failure::Failure,
        layout::Layout,
        storage::{
            pool::{Pool, Watched},
            trash::Trash,
        },
    },
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// A runtime that has been started.
pub(super) struct Started {
    pub(super) layout: Layout,
    pub(in crate::runtime::linux) pool: Option<Watched>,
    pub(super) client: Client,
    pub(in crate::runtime::linux) warnings: Vec<String>,
    pub(super) storage: Storage,
}

/// What all calls share.
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(in crate::runtime::linux) pool: Option<Watched>,
    pub(super) client: Client,
    pub(super) start_limit: Duration,
    pub(super) processes: Processes,
    /// Removals under way: whoever asks for the same one waits for the same end.
    pub(super) removals: Sharing<Result<(), Failure>>,
    pub(super) trash: Trash,
    pub(super) measurements: Sharing<Result<Usage, Failure>>,
    pub(super) measuring: stats::Turns,
    /// Looks for changes that may be under way.
    pub(super) changes: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(started: Started, trash: Trash, start_limit: Duration) -> Self {
        Self {
            layout: started.layout,
            pool: started.pool,
            client: started.client,
            trash,
            start_limit,
            processes: Processes::default(),
            removals: Sharing::default(),
            measurements: Sharing::default(),
            measuring: stats::Turns::default(),
            changes: Arc::new(Semaphore::new(changes::LOOKS)),
        }
    }

    /// The pool that sandboxes' files are in, if there is one.
    pub(super) fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.as_ref().map(|watched| watched.pool.clone())
    }
}
