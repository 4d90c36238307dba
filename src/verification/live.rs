//! A verification that is not over: where it is, what its tests have printed, and who follows it.

use super::{
    Verification,
    output::{self, Kept},
};
use crate::{
    error::{Error, Result},
    sync::lock,
};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What those who follow a verification are told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// It, as it is now.
    Verification(Box<Verification>),
    /// Bytes that its tests have printed.
    Output {
        /// Whether it is standard error.
        is_stderr: bool,
        /// The place of the first byte in all that was printed there.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
}

/// Up to where a follower has heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// In which attempt. What an earlier attempt has printed is not kept.
    pub attempt: u32,
    /// Bytes of standard output.
    pub stdout: u64,
    /// Bytes of standard error.
    pub stderr: u64,
}

/// One that is not over.
#[derive(Debug)]
pub(super) struct Live {
    now: Mutex<Now>,
    /// Changes with everything that is worth telling.
    ticks: watch::Sender<u64>,
    /// Somebody wants it cancelled, or the server stops.
    pub(super) gives_up: CancellationToken,
}

#[derive(Debug)]
struct Now {
    verification: Verification,
    stdout: output::Stream,
    stderr: output::Stream,
}

impl Live {
    pub(super) fn new(verification: Verification, gives_up: CancellationToken) -> Arc<Self> {
        let now = Now { verification, stdout: output::Stream::default(), stderr: output::Stream::default() };
        Arc::new(Self { now: Mutex::new(now), ticks: watch::Sender::new(0), gives_up })
    }

    /// It, as it is now.
    pub(super) fn verification(&self) -> Verification {
        lock(&self.now).verification.clone()
    }

    /// It has changed. A final state never does, so what comes late changes nothing.
    pub(super) fn set(&self, verification: Verification) {
        let mut now = lock(&self.now);
        if !now.verification.is_final() {
            now.verification = verification;
        }
        drop(now);
        self.tick();
    }

    /// Its tests have printed something.
    pub(super) fn print(&self, is_stderr: bool, bytes: &[u8]) {
        let mut now = lock(&self.now);
        if is_stderr {
            now.stderr.push(bytes)
        } else {
            now.stdout.push(bytes)
        }
        drop(now);
        self.tick();
    }

    /// What is left of both outputs.
    pub(super) fn printed(&self) -> [Kept; 2] {
        let now = lock(&self.now);
        [now.stdout.keep(), now.stderr.keep()]
    }

    fn tick(&self) {
        self.ticks.send_modify(|tick| *tick = tick.wrapping_add(1));
    }

    /// It now, and each change and all output from then on. The last is its final state, or an error when the server stops before.
    pub(super) fn follow(self: Arc<Self>, heard: Heard, stops: CancellationToken) -> BoxStream<'static, Result<Told>> {
        let ticks = self.ticks.subscribe();
        let follower = Follower { live: self, ticks, heard, told: None, is_over: false };
        let next = async move |mut follower: Follower| loop {
            if let Some(told) = follower.step() {
                return Some((Ok(told), follower));
            }
            if follower.is_over {
                return None;
            }
            tokio::select! {
                changed = follower.ticks.changed() => if changed.is_err() { return None },
                () = stops.cancelled() => {
                    follower.is_over = true;
                    return Some((Err(Error::stopping()), follower));
                }
            }
        };
        let next = Arc::new(next);
        stream::unfold(follower, move |follower| {
            let next = Arc::clone(&next);
            async move { next(follower).await }
        })
        .boxed()
    }
}

struct Follower {
    live: Arc<Live>,
    ticks: watch::Receiver<u64>,
    heard: Heard,
    /// What was told last of it.
    told: Option<Verification>,
    is_over: bool,
}

impl Follower {
    /// The next thing to tell. `None`: nothing now.
    fn step(&mut self) -> Option<Told> {
        if self.is_over {
            return None;
        }
        self.ticks.borrow_and_update();
        let live = Arc::clone(&self.live);
        let now = lock(&live.now);
        if self.heard.attempt != now.verification.attempt {
            self.heard = Heard { attempt: now.verification.attempt, ..Heard::default() };
        }
        let is_new = self.told.as_ref() != Some(&now.verification);
        let is_final = now.verification.is_final();
        // The last word comes after all output.
        if is_new && !is_final {
            return Some(self.tell(now.verification.clone()));
        }
        for (is_stderr, stream, offset) in
            [(false, &now.stdout, &mut self.heard.stdout), (true, &now.stderr, &mut self.heard.stderr)]
        {
            if let Some((at, data)) = stream.from(*offset) {
                *offset = at + data.len() as u64;
                return Some(Told::Output { is_stderr, offset: at, data });
            }
        }
        if is_final {
            self.is_over = true;
            return Some(self.tell(now.verification.clone()));
        }
        None
    }

    fn tell(&mut self, verification: Verification) -> Told {
        self.told = Some(verification.clone());
        Told::Verification(Box::new(verification))
    }
}
