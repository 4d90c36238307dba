//! The server's side of the zygote: starting it, giving it orders, and starting another one if it is gone or stuck. Nobody
//! who creates a sandbox blocks a thread here, and only those who need the zygote wait for a new one.

use crate::{
    packet, proc,
    runtime::linux::{
        failure::{Failure, Step},
        wire::{Hello, Order, Welcome},
    },
    sync::lock,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::SendFlags,
    process::Pid,
};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a new zygote may take to copy this program and answer.
const GREETING_SECONDS: i64 = 30;
/// How long a zygote may take to end when its server does: its starters finish what was ordered.
const FAREWELL: Duration = Duration::from_secs(15);
/// How long the kernel may take to end a zygote that was killed.
const DEATH: Duration = Duration::from_secs(5);
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(2);

/// The zygote, or one that is being started.
type Current = Shared<BoxFuture<'static, Result<Arc<Zygote>, Failure>>>;

/// A zygote and how to make another one.
pub(super) struct Client {
    make: Arc<Make>,
    /// Held for an instant, never while a zygote is being started.
    current: Mutex<Current>,
}

/// What every zygote is started with.
struct Make {
    program: PathBuf,
    hello: Hello,
    /// The lock on the data directory, which each zygote gets a copy of.
    lock: File,
}

/// One zygote.
pub(super) struct Zygote {
    /// `None` once it is to end.
    control: Option<OwnedFd>,
    child: Mutex<Child>,
    /// Whether it was killed, so that there is nothing more to wait for.
    is_killed: AtomicBool,
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It ends when its socket does, as soon as its starters have: then it can be reaped.
        drop(self.control.take());
        if !self.is_killed.load(Ordering::Relaxed) && !self.reap(FAREWELL) {
            tracing::warn!(
                "the zygote does not end, because a sandbox that was being started does not; it is left alone"
            );
        }
    }
}

impl Client {
    /// Starts a zygote. Blocks until it is ready.
    pub(super) fn start(program: PathBuf, hello: Hello, lock: File) -> Result<Self, Failure> {
        let make = Arc::new(Make { program, hello, lock });
        let first = Arc::new(make.zygote()?);
        let current: Current = futures_util::future::ready(Ok(first)).boxed().shared();
        // Polled once, so that it can be looked into.
        let _ = current.clone().now_or_never();
        Ok(Self { make, current: Mutex::new(current) })
    }

    pub(super) fn hello(&self) -> &Hello {
        &self.make.hello
    }

    /// The zygote that there is, or a new one if the last one could not be started.
    pub(super) async fn zygote(&self) -> Result<Arc<Zygote>, Failure> {
        self.another_than(None).await
    }

    /// Puts a new zygote in the place of one that is gone or stuck, unless somebody else already has. The old one is killed, so
    /// that it cannot carry out later what was ordered from it; its starters finish what they have.
    pub(super) async fn replace(&self, old: &Arc<Zygote>) -> Result<Arc<Zygote>, Failure> {
        self.another_than(Some(old)).await
    }

    fn another_than(&self, old: Option<&Arc<Zygote>>) -> Current {
        let mut current = lock(&self.current);
        let is_wanted = match current.peek() {
            Some(Ok(zygote)) => old.is_some_and(|old| Arc::ptr_eq(old, zygote)),
            Some(Err(_)) => true,
            // It is being started.
            None => false,
        };
        if is_wanted {
            let (make, old) = (self.make.clone(), old.cloned());
            let started = tokio::task::spawn_blocking(move || {
                if let Some(old) = old {
                    tracing::warn!("the zygote is gone or stuck; another one is started");
                    old.kill();
                }
                make.zygote().map(Arc::new)
            });
            let started = started.map(|done| match done {
                Ok(result) => result,
                Err(error) => Err(Failure::new("start the zygote", &io::Error::other(error))),
            });
            *current = started.boxed().shared();
            // It comes to an end even if all who wait for it go away.
            tokio::spawn(current.clone());
        }
        current.clone()
    }
}

impl Zygote {
    /// Gives it an order; the answers come on the returned pipe. `WouldBlock` when it is far behind: try again later.
    pub(super) fn order(&self, order: &Order, config: &File) -> io::Result<OwnedFd> {
        let text = serde_json::to_vec(order)?;
        let (reply, writer) = io::pipe()?;
        self.send(&text, &[writer.as_fd(), config.as_fd()])?;
        Ok(reply.into())
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let control = self.control.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        packet::send(control.as_fd(), bytes, descriptors, SendFlags::DONTWAIT)
    }

    /// Whether it was stopped, by a signal or a debugger, so that it will not answer by itself. Not if that cannot be seen.
    pub(super) fn is_stopped(&self) -> bool {
        let pid = i32::try_from(lock(&self.child).id()).ok().and_then(Pid::from_raw);
        let state = pid.and_then(|pid| proc::state_and_start(pid).ok());
        matches!(state, Some(('T' | 't', _)))
    }

    fn kill(&self) {
        self.is_killed.store(true, Ordering::Relaxed);
        let killed = lock(&self.child).kill();
        if killed.is_err() || !self.reap(DEATH) {
            tracing::error!(?killed, "a zygote that is of no use any more does not end");
        }
    }

    /// Whether it has ended, or does so in time.
    fn reap(&self, limit: Duration) -> bool {
        let began = Instant::now();
        loop {
            match lock(&self.child).try_wait() {
                Ok(None) if began.elapsed() < limit => {}
                Ok(status) => return status.is_some(),
                // There is nothing to wait for.
                Err(_) => return true,
            }
            thread::sleep(LOOK);
        }
    }
}

impl Make {
    fn zygote(&self) -> Result<Zygote, Failure> {
        let (own, theirs) = packet::pair().step("make a socket pair")?;
        // The socket is handed over as standard input: the one way without a moment in which another thread's child could
        // inherit it too.
        let child = Command::new(&self.program)
            .arg0("sandshell")
            .args(["zygote", "--control-fd", "0"])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .current_dir("/")
            .spawn()
            .step("start the zygote")?;
        let zygote = Zygote { control: Some(own), child: Mutex::new(child), is_killed: AtomicBool::new(false) };
        let greeted = self.greet(&zygote);
        if greeted.is_err() {
            zygote.kill();
        }
        greeted.map(|()| zygote)
    }

    fn greet(&self, zygote: &Zygote) -> Result<(), Failure> {
        let text = serde_json::to_vec(&self.hello).map_err(io::Error::from).step("greet the zygote")?;
        zygote.send(&text, &[self.lock.as_fd()]).step("greet the zygote")?;
        let control = zygote.control.as_ref().ok_or(io::Error::from(io::ErrorKind::BrokenPipe));
        let control = control.step("greet the zygote")?;
        let deadline = Timespec { tv_sec: GREETING_SECONDS, tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(control, PollFlags::IN)], Some(&deadline)) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut)).step("wait for the zygote"),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).step("wait for the zygote"),
            }
        }
        let answer = packet::receive(control.as_fd()).step("wait for the zygote")?;
        if answer.bytes.is_empty() {
            return Err(io::Error::other("it ended at once")).step("start the zygote");
        }
        let welcome: Welcome =
            serde_json::from_slice(&answer.bytes).map_err(io::Error::from).step("wait for the zygote")?;
        welcome.error.map_or(Ok(()), Err)
    }
}
