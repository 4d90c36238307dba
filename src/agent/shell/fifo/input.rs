//! The named pipe of a command's input.

use super::super::{directory::Directory, sys};
use rustix::{fs::OFlags, io::Errno};
use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{io::unix::AsyncFd, time::Instant};

/// Name of the FIFO of a command's input.
const INPUT: &str = "in";

/// A named pipe that the agent writes.
///
/// The agent is its only writer, so that its reader sees the end when the agent closes it; and it can be opened for
/// writing only once the shell has it open, so nothing is lost when the client closes its input at once.
pub(crate) struct InputFifo {
    directory: Arc<Directory>,
    path: PathBuf,
    fd: Option<AsyncFd<OwnedFd>>,
    /// Once it was written to the end: when to help those who open it, and how long to wait then.
    closed: Option<(Instant, Duration)>,
}

/// How long whoever opens a FIFO that was written to its end waits: at first and at most.
const HELP_AFTER: Duration = Duration::from_millis(2);
const HELP_AFTER_AT_MOST: Duration = Duration::from_millis(256);

impl InputFifo {
    /// Makes one.
    pub(crate) fn create(directory: &Arc<Directory>) -> io::Result<Self> {
        directory.make_fifo(INPUT)?;
        Ok(Self { directory: Arc::clone(directory), path: directory.path_of(INPUT), fd: None, closed: None })
    }

    /// Whether the shell has it open, or had.
    pub(crate) fn is_open(&self) -> bool {
        self.fd.is_some() || self.closed.is_some()
    }

    /// Whether its input has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Ends the input.
    pub(crate) fn close(&mut self) {
        self.fd = None;
        self.closed = Some((Instant::now() + HELP_AFTER, HELP_AFTER));
    }

    /// Once it is closed, lets those go on who wait in opening it; before that this waits for ever. May be cancelled.
    ///
    /// A program that opens its standard input by name (`/dev/stdin`) waits in the kernel until somebody has the FIFO open for
    /// writing, even if there is something in it. No event tells of that.
    pub(crate) async fn help(&mut self) {
        let Some((at, pause)) = self.closed else { return std::future::pending().await };
        tokio::time::sleep_until(at).await;
        // Open for an instant. Nobody reads it any more when that is refused.
        drop(self.directory.open_fifo(INPUT, OFlags::WRONLY));
        let pause = HELP_AFTER_AT_MOST.min(pause * 2);
        self.closed = Some((Instant::now() + pause, pause));
    }

    /// Waits until the shell has it open. May be cancelled.
    pub(crate) async fn opened(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        while self.fd.is_none() {
            match self.directory.open_fifo(INPUT, OFlags::WRONLY) {
                Ok((fd, _)) => self.fd = Some(sys::watch(fd)?),
                // There is no event for "somebody opened a FIFO".
                Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.fd.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for InputFifo {
    fn drop(&mut self) {
        self.directory.remove(INPUT);
    }
}
