//! The holder of a shell: the process between the agent and a shell that adopts what the shell's descendants leave
//! behind (`setsid`, `nohup`, double forks), so that everything that a session started stays known and can be ended.

use super::sys::{self, Descriptors, Image};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};
use tokio::io::unix::AsyncFd;

/// How long to wait for killed processes before looking again for ones that appeared meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A process that the kernel does not let go (stuck in a device, say) is given up after this many looks.
const MOST_LOOKS: usize = 1000;

/// A holder and, through it, one shell.
pub(crate) struct Holder {
    pid: i32,
    events: AsyncFd<OwnedFd>,
    ended: bool,
}

/// What a holder reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// The shell runs.
    Started(i32),
    /// The shell could not be executed.
    Failed(io::Error),
    /// The shell ended with this wait status.
    Ended(i32),
    /// Neither the shell nor anything that it started is left.
    Gone,
}

impl Holder {
    /// Starts a shell.
    pub(super) fn start(image: &Image, descriptors: Descriptors, events: OwnedFd) -> io::Result<Self> {
        let pid = sys::fork_holder(image, &descriptors)?;
        Ok(Self { pid, events: sys::watch(events)?, ended: false })
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
                sys::FAILED => Event::Failed(io::Error::from_raw_os_error(number)),
                _ => Event::Ended(number),
            });
        }
    }

    /// Ends everything that descends from it, and itself.
    pub(crate) async fn end(&mut self) {
        if self.ended {
            return;
        }
        for _ in 0..MOST_LOOKS {
            for pid in super::processes::descendants(self.pid) {
                sys::kill(pid, libc::SIGKILL);
            }
            let gone = async { while !matches!(self.event().await, Ok(Event::Gone) | Err(_)) {} };
            if tokio::time::timeout(LOOK_AGAIN, gone).await.is_ok() {
                // A holder that was itself killed leaves its processes to the agent.
                super::processes::kill_strays();
                return;
            }
        }
        tracing::warn!(holder = self.pid, "processes of a closed session cannot be ended");
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }
}

/// A pipe for a holder's reports: the end to read, which does not block, and the end to write.
pub(super) fn report_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(read.as_fd(), true)?;
    Ok((read, write))
}
