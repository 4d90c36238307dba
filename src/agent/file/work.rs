//! Work on files, which blocks, on threads of its own; bounded, and given up when the call is.

use super::{
    super::resources::{is_of_resources, out_of_resources},
    error::Result,
    identity::Identity,
    threads::{Threads, give_way},
};
use crate::error::Error;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::sync::{Semaphore, oneshot};

/// Threads that work at one time.
pub(super) const MOST_AT_ONCE: usize = 16;

/// Where work waits for its turn: a thread is asked for only when one is free.
#[derive(Clone)]
pub(super) struct Work {
    turns: Arc<Semaphore>,
    threads: Threads,
}

/// Tells long work that nobody wants it any more. Who asks lets others run, if that is due.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted(Arc<AtomicBool>);

/// Says so when the call ends, in whichever way.
struct EndsWithCall(Wanted);

impl Drop for EndsWithCall {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}

impl Wanted {
    /// Whether somebody still wants the work.
    pub(super) fn is_wanted(&self) -> bool {
        give_way();
        !self.0.load(Relaxed)
    }

    /// An error once nobody wants the work any more.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_wanted() { Ok(()) } else { Err(given_up(io::Error::from(io::ErrorKind::Interrupted))) }
    }
}

impl Work {
    pub(super) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(MOST_AT_ONCE)), threads: Threads::default() }
    }

    /// The same, for work that goes through many files and so takes a processor for long.
    pub(super) fn that_gives_way(&self) -> Self {
        Self { turns: Arc::clone(&self.turns), threads: Threads::that_give_way() }
    }

    /// Does this on another thread as that user.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        identity: &Identity,
        work: impl FnOnce(&Wanted) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_leaving(identity, move |wanted| work(wanted).map(|done| (done, ()))).await
    }

    /// As [`Self::run`], for work that leaves something whose end takes its time: nobody waits for that.
    pub(super) async fn run_leaving<T: Send + 'static, L>(
        &self,
        identity: &Identity,
        work: impl FnOnce(&Wanted) -> Result<(T, L)> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(given_up)?;
        let wanted = Wanted::default();
        let _ends = EndsWithCall(wanted.clone());
        let identity = identity.clone();
        let (tell, done) = oneshot::channel();
        let job = move || {
            // Until the work has ended, and not only until its call has.
            let _turn = turn;
            let (outcome, _left) = match identity.act(|| work(&wanted)) {
                Ok((done, left)) => (Ok(done), Some(left)),
                Err(error) => (Err(error), None),
            };
            // Nobody may listen any more.
            let _ = tell.send(outcome);
        };
        self.threads.start(Box::new(job)).map_err(not_started)?;
        done.await.map_err(given_up)?
    }
}

fn not_started(error: io::Error) -> Error {
    if is_of_resources(&error) {
        out_of_resources("work on files", &error)
    } else {
        Error::internal("start a thread that works on files", error)
    }
}

fn given_up(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::internal("work on files was given up", source)
}
