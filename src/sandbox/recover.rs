//! Taking over what an earlier server left, however it ended.
//!
//! | row      | sandbox | what is done                                         |
//! |----------|---------|------------------------------------------------------|
//! | none     | there   | removed: nobody was told of it; now and later        |
//! | starting | any     | both are removed: nobody was told of it; now and later |
//! | stopping | any     | the deletion is finished                             |
//! | running  | alive   | it goes on; nothing in it has noticed                |
//! | running  | unknown | it goes on; the next look may tell more              |
//! | running  | dead    | what is left is removed; it is reported as failed    |
//! | failed   | any     | what is left is removed; it is reported as failed    |

use super::{
    Entry, Sandboxes, State,
    create::REQUEST_KEPT,
    delete::{DELETED_KEPT, PARALLEL_REMOVALS},
    keeper,
    life::Event,
    removal::NotRemoved,
    row,
};
use crate::{
    error::{Error, Reason, Result},
    runtime::{Inspection, Liveness, RuntimeError},
    store::{self, SandboxRow, SandboxState},
    sync::lock,
};
use futures_util::{StreamExt, stream};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How long an agent of an earlier server may take to say since when it is idle.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often what is not needed any more is removed from the store.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// What an earlier server left.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Sandboxes that go on.
    pub adopted: usize,
    /// Sandboxes whose agent had died.
    pub failed: usize,
    /// Sandboxes that were half made, half deleted, or of nobody.
    pub removed: usize,
}

impl Sandboxes {
    /// Takes over what an earlier server left, and keeps the store clean from now on. To be called once, before the first
    /// call is served.
    pub async fn recover(&self) -> Result<Recovered> {
        let rows = self.store().sandboxes_of_server(self.server()).await?;
        self.check_runtime(&rows)?;
        let mut recovered = Recovered::default();
        let outcomes = stream::iter(rows).map(|row| self.take_over(row)).buffer_unordered(PARALLEL_REMOVALS);
        for outcome in outcomes.collect::<Vec<_>>().await {
            match outcome? {
                State::Running => recovered.adopted += 1,
                State::Failed => recovered.failed += 1,
                _ => recovered.removed += 1,
            }
        }
        let strays = self.remove_strays().await.map_err(|error| Error::internal("list sandboxes", error))?;
        recovered.removed += strays;
        // After the sandboxes: those that have ended have given up their volumes.
        self.volumes().recover().await?;
        self.clean_now_and_then();
        self.layers().make_room();
        Ok(recovered)
    }

    /// Refuses what another runtime made: to this one they would all be dead.
    fn check_runtime(&self, rows: &[SandboxRow]) -> Result<()> {
        let name = self.runtime().name();
        let lives = |row: &&SandboxRow| !matches!(row.state, SandboxState::Failed | SandboxState::Deleted);
        let mut others = Vec::new();
        for row in rows.iter().filter(lives) {
            others.extend(Some(row::details_of(row)?.runtime).filter(|runtime| runtime != name));
        }
        let Some(other) = others.first() else { return Ok(()) };
        let message = format!(
            "{} of this server's sandboxes were made by the {other} runtime, and {name} cannot take them over; start it with \
             --runtime {other}, or with another --data-dir",
            others.len()
        );
        Err(Error::WrongState { reason: Reason::OnOtherRuntime, message })
    }

    /// Takes over the sandbox of one row. Returns its state.
    async fn take_over(&self, row: SandboxRow) -> Result<State> {
        let id = row.id.clone();
        match row.state {
            SandboxState::Starting => {
                self.remove_half_made(&id).await;
                return Ok(State::Gone);
            }
            SandboxState::Stopping | SandboxState::Deleted => {
                if let Err(error) = self.removals().remove(&id).await {
                    tracing::warn!(sandbox = id, %error, "a deletion could not be finished; it is tried again");
                    let (about, status) = row::read(row)?;
                    let entry = Arc::new(Entry::new(about, status, self.link(&id)));
                    entry.was_not_removed(error);
                    self.registry().take_back(id, entry.clone());
                    self.keep(entry);
                    return Ok(State::Failed);
                }
                self.store().set_sandbox_state(&id, SandboxState::Deleted, self.clock().now()).await?;
                return Ok(State::Gone);
            }
            SandboxState::Running | SandboxState::Failed => {}
        }
        let (about, mut status) = row::read(row)?;
        if status.state == State::Running {
            let Inspection { liveness, cause } = self.inspect(&id).await;
            if liveness == Liveness::Dead {
                self.store().set_sandbox_state(&id, SandboxState::Failed, self.clock().now()).await?;
                status.apply(&Event::AgentEnded(cause));
            }
        }
        let state = status.state;
        if state == State::Failed {
            self.remove_left(&id).await;
        }
        let entry = Arc::new(Entry::new(about, status, self.link(&id)));
        let asked = Instant::now();
        if state == State::Running
            && let Ok(Ok(activity)) = timeout(ANSWER_TIMEOUT, entry.link.activity()).await
        {
            lock(&entry.sessions).answer(&activity, asked, Instant::now());
            match keeper::idle(&activity) {
                Some(idle) => entry.idle_since_at_most(idle),
                None => entry.commands_idle(None),
            }
        }
        self.registry().take_back(id, entry.clone());
        self.keep(entry);
        Ok(state)
    }

    async fn remove_left(&self, id: &str) {
        if let Err(error) = self.removals().remove(id).await {
            tracing::warn!(sandbox = id, %error, "what an earlier server left could not be removed");
        }
    }

    /// Removes what the runtime has and nobody asked for. It may come into being when the server that did is gone already.
    async fn remove_strays(&self) -> Result<usize, RuntimeError> {
        let there = self.runtime().list().await?;
        // Whatever is being made is in the registry before it is there, and until it is not.
        let strays: Vec<_> = there.into_iter().filter(|id| self.registry().get(id).is_none()).collect();
        let count = strays.len();
        let remove = async |id: String| {
            tracing::warn!(sandbox = id, "a sandbox that nobody asked for is removed");
            self.remove_left(&id).await;
        };
        stream::iter(strays).for_each_concurrent(PARALLEL_REMOVALS, remove).await;
        Ok(count)
    }

    /// Removes sandboxes that are being made as far as the store knows, and by nobody: their rows were committed when whoever
    /// made them had given them up. Who makes one has it in the registry before it has a row.
    async fn remove_all_half_made(&self) -> store::Result<()> {
        let ids = self.store().starting_sandboxes_of_server(self.server()).await?;
        let orphans: Vec<_> = ids.into_iter().filter(|id| self.registry().get(id).is_none()).collect();
        stream::iter(orphans).for_each_concurrent(PARALLEL_REMOVALS, async |id| self.remove_half_made(&id).await).await;
        Ok(())
    }

    /// Removes a sandbox that nobody was told of. As long as that fails its row stays, and it is tried again.
    async fn remove_half_made(&self, id: &str) {
        let removed = match self.removals().remove(id).await {
            Ok(()) => self.store().forget_sandbox(id).await.map_err(NotRemoved::from),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(sandbox = id, %error, "a sandbox that was being made could not be removed; it is tried again");
        }
    }

    fn clean_now_and_then(&self) {
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                let now = this.clock().now();
                if let Err(error) = this.store().clean(now - DELETED_KEPT, now - REQUEST_KEPT).await {
                    tracing::warn!(%error, "the store could not be cleaned");
                }
                sleep(CLEAN_EVERY).await;
                if let Err(error) = this.remove_strays().await {
                    tracing::warn!(%error, "sandboxes could not be listed");
                }
                if let Err(error) = this.remove_all_half_made().await {
                    tracing::warn!(%error, "sandboxes that are being made could not be listed");
                }
            }
        });
    }
}
