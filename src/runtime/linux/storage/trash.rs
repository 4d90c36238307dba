//! Files of sandboxes that have ended. A sandbox's layers are moved here in one step, whatever is in them, and are deleted behind,
//! by one thread. What a server leaves here, the next one deletes. Layers in the pool are moved to a place there; the same thread
//! removes them.

use super::{
    delete::{Deletion, TURN},
    pool::Pool,
};
use crate::runtime::linux::layout::Layout;
use rustix::io::Errno;
use std::{
    collections::HashSet,
    ffi::OsString,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::spawn_blocking,
    time::timeout,
};

/// Trees that are deleted in turns, so that a large one does not hold small ones up.
const AT_ONCE: usize = 4;
/// With more than these, a removal waits: nobody may make files faster than they are deleted.
const MOST: usize = 64;
/// Root file systems that wait to be unmounted, each a descriptor of the server's.
const MOST_ROOTS: usize = 16;
/// How long it waits at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// When to try again what could not be deleted.
const AGAIN: Duration = Duration::from_secs(60);

/// Moves a directory into the trash. One that is gone is no error. Nothing wakes who deletes it: see [`Trash::catch_up`].
pub(in crate::runtime::linux) fn throw(layout: &Layout, path: &Path) -> io::Result<()> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let name = uuid::Uuid::now_v7().simple().to_string();
    match fs::rename(path, layout.trash().join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => Ok(()),
        other => other,
    }
}

/// The thread that deletes. It ends, after its turn, when this is dropped.
pub(in crate::runtime::linux) struct Trash {
    wake: mpsc::Sender<Option<Root>>,
    left: watch::Receiver<usize>,
    /// How many root file systems it may have before it.
    places: Arc<Semaphore>,
}

/// The root file system of a sandbox that has ended, which is unmounted when this is dropped.
struct Root {
    _root: OwnedFd,
    _place: OwnedSemaphorePermit,
}

impl Trash {
    /// Begins with what is there.
    pub(in crate::runtime::linux) fn start(layout: &Layout, pool: Option<Arc<Pool>>) -> io::Result<Self> {
        let (wake, woken) = mpsc::channel();
        let (told, left) = watch::channel(0);
        let directory = layout.trash();
        thread::Builder::new()
            .name("sandshell-trash".to_owned())
            .spawn(move || work(&directory, pool.as_deref(), &woken, &told))?;
        Ok(Self { wake, left, places: Arc::new(Semaphore::new(MOST_ROOTS)) })
    }

    /// Has deleted what was thrown away, and unmounts the root file system that it was part of, if it still is. Waits only when there
    /// is too much of it.
    pub(in crate::runtime::linux) async fn catch_up(&self, root: Option<OwnedFd>) {
        let root = match root.map(|root| (root, self.places.clone().try_acquire_owned())) {
            Some((root, Ok(place))) => Some(Root { _root: root, _place: place }),
            Some((root, Err(_))) => {
                // Nobody may end sandboxes faster than they are unmounted.
                let _ = timeout(PATIENCE, spawn_blocking(move || drop(root))).await;
                None
            }
            None => None,
        };
        if self.wake.send(root).is_err() {
            tracing::error!("what deletes the files of ended sandboxes has ended; the next server goes on");
        }
        let mut left = self.left.clone();
        let _ = timeout(PATIENCE, left.wait_for(|left| *left <= MOST)).await;
    }
}

fn work(directory: &Path, pool: Option<&Pool>, woken: &mpsc::Receiver<Option<Root>>, told: &watch::Sender<usize>) {
    let mut turns = Turns { directory: directory.to_owned(), ..Turns::default() };
    let mut is_settled = true;
    let mut is_first = true;
    loop {
        let in_pool = pool.and_then(|pool| turns.list_pool(pool));
        let left = turns.list() + in_pool.as_ref().map_or(0, |gone| gone.left);
        if std::mem::take(&mut is_first) && left > 0 {
            tracing::info!(left, "the files of sandboxes that earlier servers have deleted are being removed");
        }
        told.send_replace(left);
        if left == 0 {
            if !std::mem::replace(&mut is_settled, true)
                && let Some(Err(error)) = pool.map(Pool::settle)
            {
                tracing::error!(%error, "the room of what was removed in the pool is given back late");
            }
            let next = if turns.failed.is_empty() {
                woken.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                woken.recv_timeout(AGAIN)
            };
            match next {
                Ok(root) => {
                    is_settled &= root.is_none();
                    drop(root);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => turns.failed.clear(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            continue;
        }
        is_settled = false;
        turns.take();
        if let Some((pool, gone)) = pool.zip(in_pool) {
            turns.clear(pool, gone.next);
        }
        loop {
            match woken.try_recv() {
                Ok(root) => drop(root),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
    }
}

/// What is to be removed in the pool.
struct Gone {
    next: OsString,
    left: usize,
}

/// What is being deleted.
#[derive(Default)]
struct Turns {
    directory: PathBuf,
    under_way: Vec<(OsString, Deletion)>,
    /// What could not be deleted. It is tried again after a while.
    failed: HashSet<OsString>,
}

impl Turns {
    /// Begins with as many as may be under way. Returns how many there are in all, but for those that have failed.
    fn list(&mut self) -> usize {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, "the files of ended sandboxes cannot be looked for");
                return 0;
            }
        };
        let mut left = 0;
        for name in entries.flatten().map(|entry| entry.file_name()) {
            if self.failed.contains(&name) {
                continue;
            }
            left += 1;
            if self.under_way.len() >= AT_ONCE || self.under_way.iter().any(|(known, _)| *known == name) {
                continue;
            }
            match Deletion::of(&self.directory.join(&name)) {
                Ok(Some(deletion)) => self.under_way.push((name, deletion)),
                Ok(None) => {}
                Err(error) => self.give_up(name, &error),
            }
        }
        left
    }

    /// What was given up in the pool. None, if there is nothing or it cannot be looked for.
    fn list_pool(&mut self, pool: &Pool) -> Option<Gone> {
        let names = match pool.gone() {
            Ok(names) => names,
            Err(error) => {
                tracing::error!(%error, "the files of ended sandboxes cannot be looked for in the pool");
                return None;
            }
        };
        let mut names = names.into_iter().map(OsString::from).filter(|name| !self.failed.contains(name));
        let next = names.next()?;
        Some(Gone { next, left: 1 + names.count() })
    }

    /// Removes one of these.
    fn clear(&mut self, pool: &Pool, name: OsString) {
        let removed = pool.clear(&name.to_string_lossy());
        if let Err(error) = removed {
            self.give_up(name, &error);
        }
    }

    /// Gives each its turn.
    fn take(&mut self) {
        for (name, mut deletion) in std::mem::take(&mut self.under_way) {
            match deletion.go_on(Instant::now() + TURN) {
                Ok(true) => {}
                Ok(false) => self.under_way.push((name, deletion)),
                Err(error) => self.give_up(name, &error),
            }
        }
    }

    fn give_up(&mut self, name: OsString, error: &io::Error) {
        tracing::error!(%error, name = %name.display(), "files of an ended sandbox could not be deleted; it is tried again");
        self.failed.insert(name);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn layout(dir: &Path) -> Layout {
        let layout = Layout::new(dir.to_owned());
        fs::create_dir(layout.trash()).unwrap();
        layout
    }

    fn tree(path: &Path, directories: usize) {
        for number in 0..directories {
            fs::create_dir_all(path.join(number.to_string())).unwrap();
            fs::write(path.join(format!("{number}/file")), "x").unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_thrown_away_is_deleted_and_what_was_there_before_too() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        for number in 0..10 {
            let path = dir.path().join(number.to_string());
            tree(&path, 50);
            throw(&layout, &path).unwrap();
            assert!(!path.exists());
            throw(&layout, &path).unwrap();
        }
        let trash = Trash::start(&layout, None).unwrap();
        let last = dir.path().join("last");
        tree(&last, 5);
        throw(&layout, &last).unwrap();
        trash.catch_up(None).await;
        let mut left = trash.left.clone();
        while fs::read_dir(layout.trash()).unwrap().count() > 0 {
            timeout(Duration::from_secs(60), left.changed()).await.unwrap().unwrap();
        }
        // An empty directory takes no detour.
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        throw(&layout, &empty).unwrap();
        assert!(!empty.exists() && fs::read_dir(layout.trash()).unwrap().count() == 0);
    }
}
