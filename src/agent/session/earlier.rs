//! Holders of a session's earlier shells: each lives as long as something that its shell has left behind.

use crate::agent::shell::Holder;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Holders of earlier shells, each with a task of its own that forgets it when nothing of it is left.
#[derive(Default)]
pub(in crate::agent) struct Earlier {
    watched: TaskTracker,
    end: CancellationToken,
}

impl Earlier {
    /// Takes the holder of a shell that has ended.
    pub(in crate::agent) fn push(&self, mut holder: Holder) {
        let end = self.end.clone();
        self.watched.spawn(async move {
            tokio::select! {
                () = holder.gone() => {}
                () = end.cancelled() => holder.end().await,
            }
        });
    }

    /// Ends all that is left of them.
    pub(in crate::agent) async fn end(&mut self) {
        std::mem::take(&mut self.end).cancel();
        self.watched.close();
        self.watched.wait().await;
        self.watched.reopen();
    }
}

impl Drop for Earlier {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
