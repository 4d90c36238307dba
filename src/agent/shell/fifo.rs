//! Named pipes in a session's private directory: the shell opens them by path, for one command each.

mod input;

use super::{directory::Directory, entries::Nature, sys};
use crate::agent::output::LARGE_READ;
use bytes::Bytes;
use rustix::io::Errno;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::io::unix::AsyncFd;

pub(crate) use input::InputFifo;

/// Size of a pipe whose program prints a lot.
const LARGE_PIPE: usize = 1 << 20;

/// Reads from here on are handed on without a copy.
const HAND_ON: usize = LARGE_READ / 2;

/// The agent has one thread, and needs one buffer to read into.
static SCRATCH: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The reading end of a pipe.
pub(crate) struct ReadEnd {
    fd: AsyncFd<OwnedFd>,
    enlarged: AtomicBool,
    /// Whether it is a pipe, of which a short read takes all there is. A terminal may hold more.
    pipe: bool,
    /// Whether its end, or an error, was returned to whoever waited for bytes. Nothing follows.
    ended: AtomicBool,
}

/// What a read brought.
pub(crate) enum Read {
    /// Bytes.
    Data(Bytes),
    /// Nothing now.
    Empty,
    /// Nobody has the other end open.
    Closed,
}

impl ReadEnd {
    /// Takes a descriptor, which is made non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let pipe = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode).is_fifo();
        Ok(Self { fd: sys::watch(fd)?, enlarged: false.into(), pipe, ended: false.into() })
    }

    /// Reads once, without waiting.
    pub(crate) fn read(&self) -> io::Result<Read> {
        self.read_up_to(LARGE_READ)
    }

    /// As [`Self::read`], and no more than this.
    pub(crate) fn read_up_to(&self, most: usize) -> io::Result<Read> {
        if most < LARGE_READ { self.read_a_little(most) } else { self.read_a_lot() }
    }

    fn read_a_little(&self, most: usize) -> io::Result<Read> {
        let mut data = Vec::with_capacity(most);
        match retry_interrupted(|| rustix::io::read(self.fd.get_ref(), rustix::buffer::spare_capacity(&mut data))) {
            Ok(_) if data.is_empty() => Ok(Read::Closed),
            Ok(_) => {
                data.shrink_to_fit();
                Ok(Read::Data(data.into()))
            }
            Err(error) => no_data(error),
        }
    }

    fn read_a_lot(&self) -> io::Result<Read> {
        let mut scratch = crate::sync::lock(&SCRATCH);
        scratch.clear();
        scratch.reserve(LARGE_READ);
        match retry_interrupted(|| rustix::io::read(self.fd.get_ref(), rustix::buffer::spare_capacity(&mut scratch))) {
            Ok(_) if scratch.is_empty() => Ok(Read::Closed),
            Ok(_) if scratch.len() >= HAND_ON => {
                let mut data = std::mem::take(&mut *scratch);
                // What is kept of output is counted by its length.
                data.shrink_to_fit();
                Ok(Read::Data(data.into()))
            }
            Ok(_) => {
                let data = Bytes::copy_from_slice(&scratch);
                drop(scratch);
                self.enlarge_for(data.len());
                Ok(Read::Data(data))
            }
            Err(error) => no_data(error),
        }
    }

    /// Reads what is there now, and no more: whoever goes on writing does not keep the agent reading.
    pub(crate) fn take_what_is_there(&self, mut take: impl FnMut(Bytes)) {
        let mut left = rustix::io::ioctl_fionread(&self.fd).unwrap_or(0);
        while left > 0 {
            let Ok(Read::Data(data)) = self.read() else { return };
            left = left.saturating_sub(data.len() as u64);
            take(data);
        }
    }

    /// Waits for bytes, or for the other end to be closed. May be cancelled without loss.
    ///
    /// The end and an error are returned once; whoever asks again waits for ever. Both would be ready at once each time,
    /// and a loop over many sources that ignores one of them would take all of the processor.
    pub(crate) async fn data(&self) -> io::Result<Option<Bytes>> {
        self.data_within(|| LARGE_READ).await
    }

    /// As [`Self::data`], and no more than there is room for when bytes are there: nothing at all when that is none.
    pub(crate) async fn data_within(&self, room: impl Fn() -> usize) -> io::Result<Option<Bytes>> {
        if self.ended.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let result = self.wait_for_data(room).await;
        if let Ok(None) | Err(_) = &result {
            self.ended.store(true, Ordering::Relaxed);
        }
        if let Err(error) = &result {
            tracing::error!(%error, "a pipe or terminal cannot be read; nothing more is taken from it");
        }
        result
    }

    async fn wait_for_data(&self, room: impl Fn() -> usize) -> io::Result<Option<Bytes>> {
        loop {
            let mut guard = self.fd.readable().await?;
            let most = room();
            if most == 0 {
                return Ok(Some(Bytes::new()));
            }
            match self.read_up_to(most)? {
                Read::Data(data) => {
                    if self.pipe && data.len() < most.min(LARGE_READ) {
                        // It is empty now, and an event tells of more: no read has to find that out.
                        guard.clear_ready();
                    }
                    return Ok(Some(data));
                }
                Read::Closed => return Ok(None),
                Read::Empty => guard.clear_ready(),
            }
        }
    }

    /// Device and number of what it reads, which its writers see.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        rustix::fs::fstat(&self.fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// The descriptor.
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }

    /// A pipe that is found full of bytes gets larger: fewer wake-ups for program and agent.
    fn enlarge_for(&self, read: usize) {
        if read >= 32 << 10 && !self.enlarged.swap(true, Ordering::Relaxed) {
            // Refused beyond the user's share of pipe memory, which costs speed only.
            let _ = rustix::pipe::fcntl_setpipe_size(self.fd.get_ref(), LARGE_PIPE);
        }
    }
}

fn retry_interrupted(mut read: impl FnMut() -> rustix::io::Result<usize>) -> rustix::io::Result<usize> {
    loop {
        match read() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What an error of a read means.
fn no_data(error: Errno) -> io::Result<Read> {
    match error {
        Errno::AGAIN => Ok(Read::Empty),
        // The master of a terminal says this when nobody has the terminal open.
        Errno::IO => Ok(Read::Closed),
        error => Err(error.into()),
    }
}

/// A named pipe that the agent reads. While `placeholder` is open it is never at its end.
pub(crate) struct Fifo {
    directory: Arc<Directory>,
    name: &'static str,
    path: PathBuf,
    /// The end to read.
    pub(crate) reader: ReadEnd,
    placeholder: Option<OwnedFd>,
    /// Whether the name may still be its own.
    named: bool,
    nature: Nature,
}

impl Fifo {
    /// Makes one.
    pub(super) fn create(directory: &Arc<Directory>, name: &'static str) -> io::Result<Self> {
        let (reader, placeholder, nature) = directory.make_pipe(name)?;
        Ok(Self {
            directory: Arc::clone(directory),
            name,
            path: directory.path_of(name),
            reader: ReadEnd::new(reader)?,
            placeholder: Some(placeholder),
            named: true,
            nature,
        })
    }

    /// From now on its end is reached when nobody else has it open.
    pub(crate) fn let_end(&mut self) {
        self.placeholder = None;
    }

    /// As [`Self::let_end`], and its name goes.
    pub(crate) fn release(&mut self) {
        // A later one may have the name by now.
        if self.named && self.directory.has(self.name, &self.nature) {
            self.directory.remove(self.name);
        }
        self.named = false;
        self.placeholder = None;
    }

    /// Makes it as good as new, when it is at its end: nobody has it open, and nothing is in it. False when it cannot be.
    ///
    /// This must follow on the read that found the end, without a wait in between: the end, once the runtime has seen it
    /// as an event, is for ever.
    pub(crate) fn renew(&mut self) -> bool {
        // The memory of a large pipe is not kept for a command that may print nothing.
        if !self.named || self.reader.enlarged.load(Ordering::Relaxed) {
            return false;
        }
        self.placeholder = self.directory.reopen_fifo(self.name, &self.nature).ok().flatten();
        self.placeholder.is_some()
    }

    /// The name that it has in its directory.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether its name is still its own, and it may be opened. A shell that finds it gone makes a file of that name.
    pub(crate) fn is_there(&self) -> bool {
        self.directory.keeps(self.name, &self.nature)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its device and number, which its writers see.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.nature.identity()
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        self.release();
    }
}

/// Writes some of `data` to a descriptor that does not block; waits while it is full.
pub(crate) async fn write(fd: &AsyncFd<OwnedFd>, data: &[u8]) -> io::Result<usize> {
    loop {
        let mut guard = fd.writable().await?;
        match rustix::io::write(fd.get_ref(), data) {
            Ok(written) => return Ok(written),
            Err(Errno::AGAIN) => guard.clear_ready(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes all of `data` to a descriptor that does not block. What the kernel takes in part is written on for as long as
/// there is room; `WriteZero` says that only a part was written.
pub(super) fn write_whole(fd: impl AsFd, data: &[u8]) -> io::Result<()> {
    let mut rest = data;
    while !rest.is_empty() {
        match rustix::io::write(&fd, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(_) if rest.len() < data.len() => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
