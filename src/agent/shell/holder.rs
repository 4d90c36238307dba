//! The holder of a shell: the process between the agent and a shell that adopts what the shell's descendants leave
//! behind (`setsid`, `nohup`, double forks), so that everything that a session started stays known and can be ended. One that
//! holds nothing any more waits for another shell.

mod standing;

use super::{
    hold,
    order::{Descriptors, Image},
    processes,
    sweep::Sweep,
    sys,
};
use crate::packet;
use rustix::net::SendFlags;
use standing::{Files, Standing};
use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, timeout},
};

/// How long to wait for killed processes before looking again for ones that appeared meanwhile: at first, and at most.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_millis(100);

/// A process that the kernel does not let go (stuck in a device, say) is given up after this time.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// How long a holder may take to notice that nothing is left. After that somebody keeps it from it.
const NOTICES_WITHIN: Duration = Duration::from_millis(500);

/// Usually a program leaves nothing behind, and its holder says so at once.
const NOTHING_LEFT_WITHIN: Duration = Duration::from_millis(2);

thread_local! {
    /// A holder that waits for its next order. One is enough for programs that come one after another; where several run at
    /// one time, those that are over first end.
    static IDLE: Cell<Option<Idle>> = const { Cell::new(None) };
}

/// How often what forks is stopped, at most, before it is killed all the same.
const MOST_STOPS: usize = 20;

/// A holder and, through it, one shell. When it is dropped, everything that descends from it is ended.
pub(crate) struct Holder {
    pid: i32,
    number: u64,
    /// It reports there, and ends when this does.
    line: Arc<AsyncFd<OwnedFd>>,
    ended: bool,
    /// Whether it has said itself that nothing is left: then nothing has been left to the agent either.
    alone: bool,
    /// What it had when it was forked.
    born: Arc<Standing>,
    /// What `/proc` says of it, once it has waited for an order.
    files: Option<Arc<Files>>,
}

/// A holder that holds nothing.
struct Idle {
    pid: i32,
    line: Arc<AsyncFd<OwnedFd>>,
    born: Arc<Standing>,
    files: Arc<Files>,
}

impl Idle {
    /// Gives it an order. False when it is gone, or the order is too long for it.
    fn take(&self, image: &Image, descriptors: &Descriptors) -> bool {
        // Somebody inside may have killed it meanwhile, changed it, or stopped it.
        if !processes::is_own(self.pid) || self.files.is_dying() || !self.born.is_of(self.pid, &self.files) {
            return false;
        }
        sys::kill(self.pid, libc::SIGCONT);
        let line = self.line.get_ref().as_fd();
        let order = image.to_bytes(descriptors.has_terminal());
        order.is_some_and(|order| packet::send(line, &order, &descriptors.all(), SendFlags::DONTWAIT).is_ok())
    }
}

/// Which holder, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HolderName {
    pid: i32,
    number: u64,
}

impl HolderName {
    /// Its process id, if it lives.
    pub(crate) fn pid(self) -> Option<i32> {
        processes::holder_lives(self.pid, self.number).then_some(self.pid)
    }
}

/// What a holder reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// The shell runs.
    Started(i32),
    /// What comes before the execution of the shell has failed.
    Unprepared(io::Error),
    /// The shell could not be executed.
    Failed(io::Error),
    /// The shell ended with this wait status.
    Ended(i32),
    /// Neither the shell nor anything that it started is left.
    Gone,
}

impl Holder {
    /// Starts a shell, or another program.
    pub(super) fn start(image: &Image, descriptors: &Descriptors) -> io::Result<Self> {
        if let Some(Idle { pid, line, born, files }) = IDLE.take().filter(|idle| idle.take(image, descriptors)) {
            // Another number, so that it is not taken for the holder of a session that has ended.
            let number = processes::own_started(pid);
            return Ok(Self { pid, number, line, ended: false, alone: false, born, files: Some(files) });
        }
        let (line, theirs) = packet::pair()?;
        rustix::io::ioctl_fionbio(&line, true)?;
        // Nothing may fail once it runs, or nobody would know of it.
        let line = Arc::new(sys::watch(line)?);
        let born = Arc::new(Standing::of_a_child());
        let pid = hold::fork_holder(image, descriptors, &theirs)?;
        let number = processes::own_started(pid);
        Ok(Self { pid, number, line, ended: false, alone: false, born, files: None })
    }

    /// As one that waits for an order. Without a look at it, it could not be given one.
    fn idle(&self) -> Option<Idle> {
        let files = self.files.clone().or_else(|| Files::open(self.pid).map(Arc::new).ok())?;
        Some(Idle { pid: self.pid, line: Arc::clone(&self.line), born: Arc::clone(&self.born), files })
    }

    /// Which one it is, for those who look at what descends from it.
    pub(crate) fn name(&self) -> HolderName {
        HolderName { pid: self.pid, number: self.number }
    }

    /// The next event; may be cancelled. Pending for ever after `Gone`.
    pub(crate) async fn event(&mut self) -> io::Result<Event> {
        if self.ended {
            std::future::pending::<()>().await;
        }
        loop {
            let mut guard = self.line.readable().await?;
            let mut record = [0; hold::REPORT_BYTES];
            let Ok(read) = guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut record)?)) else { continue };
            // What was killed before it has read its order resets the line.
            if !read.is_ok_and(|read| read == record.len()) {
                self.ended = true;
                return Ok(Event::Gone);
            }
            let number = i32::from_le_bytes([record[1], record[2], record[3], record[4]]);
            return Ok(match record[0] {
                hold::STARTED => Event::Started(number),
                hold::UNPREPARED => Event::Unprepared(io::Error::from_raw_os_error(number)),
                hold::ALONE => {
                    (self.ended, self.alone) = (true, true);
                    Event::Gone
                }
                hold::FAILED => Event::Failed(io::Error::from_raw_os_error(number)),
                _ => Event::Ended(number),
            });
        }
    }

    /// Has it go on, if somebody inside has stopped it: it reports nothing as long as it is. (It ignores every signal that
    /// a process can ignore.)
    pub(crate) fn wake(&self) {
        if !self.ended {
            sys::kill(self.pid, libc::SIGCONT);
        }
    }

    /// Kills the holder alone, which says `Gone` for it. Only for one that does not answer: what descends from it belongs to
    /// no session any more then.
    pub(crate) fn abandon(&self) {
        if !self.ended {
            sys::kill(self.pid, libc::SIGKILL);
        }
    }

    /// Waits until nothing of it is left.
    pub(crate) async fn gone(&mut self) {
        while !self.ended && !matches!(self.event().await, Ok(Event::Gone) | Err(_)) {}
    }

    /// Ends what its program, which is over, has left behind.
    pub(crate) async fn end_leftovers(&mut self) {
        if timeout(NOTHING_LEFT_WITHIN, self.gone()).await.is_err() || !self.alone {
            self.end().await;
        }
    }

    /// Ends everything that descends from it.
    pub(crate) async fn end(&mut self) {
        if !self.ended && !self.end_descendants().await {
            tracing::warn!(holder = self.pid, "processes of a closed session cannot be ended");
        }
        self.ended = true;
        if !self.alone {
            end_strays().await;
        }
    }

    /// False when it has to be given up.
    async fn end_descendants(&mut self) -> bool {
        let began = Instant::now();
        let mut sweep = Sweep::below(Some(self.pid));
        // Most sessions have a handful of processes, which one look finds.
        let _ = sweep.signal(libc::SIGKILL).await;
        self.wake();
        let mut wait = LOOK_AGAIN;
        let mut empty_since = None;
        while timeout(wait, self.gone()).await.is_err() {
            if began.elapsed() > GIVE_UP_AFTER {
                return false;
            }
            wait = LOOK_AGAIN_AT_MOST.min(wait * 2);
            // Killing frees places for what forks without end, and what is stopped cannot fork: so all of it is stopped
            // first. A process that was signalled before the look in which nothing is new cannot have forked since.
            for _ in 0..MOST_STOPS {
                if sweep.signal(libc::SIGSTOP).await.map_or(true, |found| found.new == 0) {
                    break;
                }
            }
            match sweep.signal(libc::SIGKILL).await {
                Ok(found) if found.alive == 0 => {
                    if empty_since.get_or_insert_with(Instant::now).elapsed() > NOTICES_WITHIN {
                        self.abandon();
                    }
                }
                // Not to be able to look does not mean that nothing is there.
                Ok(_) | Err(_) => empty_since = None,
            }
            self.wake();
        }
        true
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.alone {
            IDLE.set(IDLE.take().or_else(|| self.idle()));
        }
        // Without a runtime the agent itself ends, and everything with it.
        if !self.ended
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let mut rest = Self {
                pid: self.pid,
                number: self.number,
                line: Arc::clone(&self.line),
                ended: false,
                alone: false,
                born: Arc::clone(&self.born),
                files: None,
            };
            runtime.spawn(async move { rest.end().await });
        }
    }
}

/// Ends the agent's children that are no holders: they were left by a holder that somebody has killed.
async fn end_strays() {
    let mut sweep = Sweep::below(None);
    for _ in 0..MOST_STOPS {
        match processes::has_strays() {
            Ok(false) => return,
            Ok(true) | Err(_) => {
                let _ = sweep.signal(libc::SIGKILL).await;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}
