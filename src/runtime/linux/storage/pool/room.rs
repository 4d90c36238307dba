//! How much the sandboxes may have together: never so much that the host's disk runs full below the pool, because a file system
//! whose own writes fail becomes read-only for all.

use super::{Pool, Size, btrfs};
use crate::runtime::linux::failure::{Failure, Step};
use rustix::fs::statvfs;
use std::{
    io,
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

/// What is left free on the host's disk: this, or a twentieth of it if that is less.
const RESERVE: u64 = 1 << 30;
/// How much the limit may be wrong.
const STEP: u64 = 64 << 20;
/// How fast a disk can be filled, at most, and how often to look at least and at most.
const BYTES_PER_SECOND: u64 = 2 << 30;
const PAUSES: (u64, u64) = (1, 30);

/// Looks after a pool in a thread of its own, which ends when this is dropped.
pub(super) struct Watch {
    _stop: mpsc::Sender<()>,
}

impl Watch {
    pub(super) fn start(pool: Arc<Pool>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let mut last = Told::default();
        let mut look = move || match look(&pool, &mut last) {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "the pool of the sandboxes' files could not be looked at");
                Duration::from_secs(PAUSES.0)
            }
        };
        // The first limit is there before the first sandbox.
        let mut pause = look();
        let work = move || {
            while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                pause = look();
            }
        };
        thread::Builder::new().name("sandshell-pool".to_owned()).spawn(work)?;
        Ok(Self { _stop: stop })
    }
}

/// What was said before.
#[derive(Default)]
struct Told {
    limit: Option<u64>,
    is_tight: bool,
    is_counting: bool,
}

fn look(pool: &Pool, told: &mut Told) -> io::Result<Duration> {
    pool.remove_groups();
    let is_wrong = std::fs::read_to_string(pool.counts.join("inconsistent")).is_ok_and(|text| text.trim() == "1");
    if is_wrong {
        if !told.is_counting {
            tracing::warn!("the sizes of the sandboxes' files are counted anew");
        }
        btrfs::count_anew(&pool.root.root)?;
    }
    told.is_counting = is_wrong;
    let free = free(pool)?;
    let used = pool.used_by_all()?;
    let by_disk = used.saturating_add(free);
    let limit = match pool.size {
        Size::Bytes(bytes) => bytes.min(by_disk),
        Size::Disk | Size::None => by_disk,
    };
    if told.limit.is_none_or(|last| last.abs_diff(limit) > STEP) {
        btrfs::limit_group(&pool.root.root, pool.place.group, Some(limit.max(1)))?;
        told.limit = Some(limit);
    }
    let left = limit.saturating_sub(used);
    let is_tight = left < RESERVE;
    pool.is_tight.store(is_tight, Ordering::Relaxed);
    if is_tight != told.is_tight {
        told.is_tight = is_tight;
        if is_tight {
            tracing::warn!(
                left,
                "the sandboxes' files have little room left: the host's disk or the pool is nearly full"
            );
        }
    }
    Ok(Duration::from_secs((left / BYTES_PER_SECOND).clamp(PAUSES.0, PAUSES.1)))
}

/// What the sandboxes may still take of the host's disk.
fn free(pool: &Pool) -> io::Result<u64> {
    let disk = statvfs(&pool.disk)?;
    let reserve = RESERVE.min(disk.f_blocks * disk.f_frsize / 20);
    Ok((disk.f_bavail * disk.f_frsize).saturating_sub(reserve))
}

impl Pool {
    /// Fails if there is no room for another sandbox.
    pub(in crate::runtime::linux) fn has_room(&self) -> Result<(), Failure> {
        let full = |what: String| {
            let error = io::Error::from_raw_os_error(libc::ENOSPC);
            Err(Failure::new(format!("find room for the sandbox's files ({what})"), &error))
        };
        let look = "look for room for the sandbox's files";
        if free(self).step(look)? == 0 {
            return full(format!("the host's disk below {} is full", self.disk.display()));
        }
        match self.size {
            Size::Bytes(bytes) if self.used_by_all().step(look)?.saturating_add(STEP) > bytes => full(format!(
                "the sandboxes' files take nearly all of the {bytes} bytes that they may, --max-pool-bytes"
            )),
            _ => Ok(()),
        }
    }
}
