//! The server's side of the zygote: starting it, giving it orders, and starting another one if it is gone.

use super::wire::{Failure, Hello, Order, Reply, Step, Welcome};
use crate::runtime::packet;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::SendFlags,
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
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a new zygote may take to copy this program and answer.
const GREETING_SECONDS: i64 = 30;

/// A zygote and how to make another one.
pub(super) struct Client {
    program: PathBuf,
    hello: Hello,
    /// The lock on the data directory, which each zygote gets a copy of.
    lock: File,
    current: Mutex<Arc<Zygote>>,
}

struct Zygote {
    /// `None` once it is to end.
    control: Option<OwnedFd>,
    child: Child,
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It ends when its socket does, at once: then it can be reaped.
        drop(self.control.take());
        let _ = self.child.wait();
    }
}

impl Client {
    /// Starts a zygote. Blocks until it is ready.
    pub(super) fn start(program: PathBuf, hello: Hello, lock: File) -> Result<Self, Failure> {
        let current = Mutex::new(Arc::new(spawn(&program, &hello, &lock)?));
        Ok(Self { program, hello, lock, current })
    }

    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Gives an order. The reply comes on the returned pipe; an end without one means that the starter died.
    /// `WouldBlock` when the zygote is far behind: try again later.
    pub(super) fn order(&self, order: &Order, config: &File) -> Result<OwnedFd, Failure> {
        let text = serde_json::to_vec(order).map_err(io::Error::from).step("write the order")?;
        let (reply, writer) = io::pipe().step("make a pipe")?;
        let descriptors = [writer.as_fd(), config.as_fd()];
        let zygote = self.current();
        match zygote.send(&text, &descriptors) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN)) => {
                tracing::warn!("the zygote is gone; starting another one");
                self.replace(&zygote)?.send(&text, &descriptors).step("give an order to the zygote")?;
            }
            other => other.step("give an order to the zygote")?,
        }
        Ok(reply.into())
    }

    fn current(&self) -> Arc<Zygote> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new zygote in the place of one that is gone, unless somebody else already has.
    fn replace(&self, gone: &Arc<Zygote>) -> Result<Arc<Zygote>, Failure> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, gone) {
            *current = Arc::new(spawn(&self.program, &self.hello, &self.lock)?);
        }
        Ok(current.clone())
    }
}

impl Zygote {
    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let control = self.control.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        packet::send(control.as_fd(), bytes, descriptors, SendFlags::DONTWAIT)
    }
}

fn spawn(program: &PathBuf, hello: &Hello, lock: &File) -> Result<Zygote, Failure> {
    let (own, theirs) = packet::pair().step("make a socket pair")?;
    // The socket is handed over as standard input: the one way without a moment in which another thread's child could
    // inherit it too.
    let child = Command::new(program)
        .arg0("sandshell")
        .args(["zygote", "--control-fd", "0"])
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .current_dir("/")
        .spawn()
        .step("start the zygote")?;
    let zygote = Zygote { control: Some(own), child };
    greet(&zygote, hello, lock)?;
    Ok(zygote)
}

fn greet(zygote: &Zygote, hello: &Hello, lock: &File) -> Result<(), Failure> {
    let text = serde_json::to_vec(hello).map_err(io::Error::from).step("greet the zygote")?;
    zygote.send(&text, &[lock.as_fd()]).step("greet the zygote")?;
    let control = zygote.control.as_ref().ok_or(io::Error::from(io::ErrorKind::BrokenPipe)).step("greet the zygote")?;
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

/// Reads a reply, waiting for it. For the time before there is an event loop.
pub(super) fn wait_for_reply(pipe: OwnedFd) -> Result<Reply, Failure> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut File::from(pipe), &mut bytes).step("wait for the starter")?;
    parse_reply(&bytes)
}

/// What a reply's bytes say.
pub(super) fn parse_reply(bytes: &[u8]) -> Result<Reply, Failure> {
    if bytes.is_empty() {
        return Err(io::Error::other("it ended without an answer")).step("wait for the starter");
    }
    serde_json::from_slice(bytes).map_err(io::Error::from).step("read the starter's answer")
}

/// How long to wait before a send that would have blocked is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(2);
