//! The holder of a shell: the process between the agent and a shell that adopts what the shell's descendants leave
//! behind (`setsid`, `nohup`, double forks), so that everything that a session started stays known and can be ended.

use super::{
    processes,
    sweep::Sweep,
    sys::{self, Descriptors, Image},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{io::unix::AsyncFd, time::Instant};

/// How long to wait for killed processes before looking again for ones that appeared meanwhile: at first, and at most.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_millis(100);

/// A process that the kernel does not let go (stuck in a device, say) is given up after this time.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// How long a holder may take to notice that nothing is left. After that somebody keeps it from it.
const NOTICES_WITHIN: Duration = Duration::from_millis(500);

/// How often what forks is stopped, at most, before it is killed all the same.
const MOST_STOPS: usize = 20;

/// A holder and, through it, one shell. When it is dropped, everything that descends from it is ended.
pub(crate) struct Holder {
    pid: i32,
    number: u64,
    events: Arc<AsyncFd<OwnedFd>>,
    ended: bool,
    /// Whether it has said itself that nothing is left: then nothing has been left to the agent either.
    alone: bool,
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
    pub(super) fn start(image: &Image, descriptors: Descriptors, events: OwnedFd) -> io::Result<Self> {
        // Nothing may fail once it runs, or nobody would know of it.
        let events = Arc::new(sys::watch(events)?);
        let pid = sys::fork_holder(image, &descriptors)?;
        let number = processes::own_started(pid);
        Ok(Self { pid, number, events, ended: false, alone: false })
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
            let mut guard = self.events.readable().await?;
            let mut record = [0; sys::REPORT_BYTES];
            let Ok(read) = guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut record)?)) else { continue };
            if read? < record.len() {
                self.ended = true;
                return Ok(Event::Gone);
            }
            let number = i32::from_le_bytes([record[1], record[2], record[3], record[4]]);
            return Ok(match record[0] {
                sys::STARTED => Event::Started(number),
                sys::UNPREPARED => Event::Unprepared(io::Error::from_raw_os_error(number)),
                sys::ALONE => {
                    (self.ended, self.alone) = (true, true);
                    Event::Gone
                }
                sys::FAILED => Event::Failed(io::Error::from_raw_os_error(number)),
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

    /// Whether it has said that nothing is left of it.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Ends everything that descends from it, and itself.
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
        while tokio::time::timeout(wait, self.gone()).await.is_err() {
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
        // Without a runtime the agent itself ends, and everything with it.
        if !self.ended
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let mut rest = Self {
                pid: self.pid,
                number: self.number,
                events: Arc::clone(&self.events),
                ended: false,
                alone: false,
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

/// A pipe for a holder's reports: the end to read, which does not block, and the end to write.
pub(super) fn report_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(read.as_fd(), true)?;
    Ok((read, write))
}
