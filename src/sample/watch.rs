//! Waits for changes of the catalogue's files, in a thread of its own.
//!
//! After each change everything is watched and read anew. Watching comes first, so that a change during the reading is another change.

use super::Catalogue;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Directories that are watched. The kernel has a limit for each user, of which others need a part.
const MOST_WATCHED: usize = 4096;

/// How often everything is read anew where not everything can be watched.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Files change in bursts: they are read when this long nothing has changed, and not later than that.
const QUIET: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(2);

const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// A thread that watches until this is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    /// Closed with the value, which the thread waits for too.
    _open: OwnedFd,
}

impl Watcher {
    /// Reads the catalogue and gives it to `take`, now and after each change. None if there can be no thread: then it stays as it is.
    pub(super) fn start(directories: Vec<PathBuf>, mut take: impl FnMut(Catalogue) + Send + 'static) -> Option<Self> {
        let watches = Watches::new(&directories);
        take(Catalogue::load(&directories));
        let (closed, open) = match pipe_with(PipeFlags::CLOEXEC) {
            Ok(pipe) => pipe,
            Err(error) => {
                tracing::error!(%error, "the catalogue is not watched: changes of samples need a restart");
                return None;
            }
        };
        let run = move || {
            let mut watches = watches;
            while wait(&watches, &closed) {
                watches = Watches::new(&directories);
                take(Catalogue::load(&directories));
            }
        };
        match thread::Builder::new().name("catalogue".to_owned()).spawn(run) {
            Ok(_) => Some(Self { _open: open }),
            Err(error) => {
                tracing::error!(%error, "the catalogue is not watched: changes of samples need a restart");
                None
            }
        }
    }
}

/// What is watched.
struct Watches {
    /// None if the kernel gives none.
    inotify: Option<OwnedFd>,
    /// Whether nothing is left out.
    are_all: bool,
}

impl Watches {
    fn new(directories: &[PathBuf]) -> Self {
        let inotify = match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
            Ok(inotify) => inotify,
            Err(error) => {
                tracing::debug!(%error, "no inotify instance: the catalogue is read every {UNWATCHED:?}");
                return Self { inotify: None, are_all: false };
            }
        };
        let (mut left, mut are_all) = (MOST_WATCHED, true);
        for named in directories {
            let Ok(top) = named.canonicalize() else {
                are_all = false;
                continue;
            };
            let mut waiting = vec![top];
            while let Some(directory) = waiting.pop() {
                if left == 0 {
                    are_all = false;
                    break;
                }
                left -= 1;
                match inotify::add_watch(&inotify, &directory, EVENTS) {
                    // It is gone already, which is an event of the directory above.
                    Err(Errno::NOENT | Errno::NOTDIR) => continue,
                    Err(_) => are_all = false,
                    Ok(_) => {}
                }
                waiting.extend(below(&directory));
            }
        }
        Self { inotify: Some(inotify), are_all }
    }
}

/// The directories to be watched in a directory. Repositories are left out: their commits never change.
fn below(directory: &Path) -> Vec<PathBuf> {
    // One that cannot be read is a mistake of the catalogue, which is told by who reads it.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).filter(|path| !is_repository(path)).take(MOST_WATCHED).collect()
}

fn is_repository(directory: &Path) -> bool {
    fs::symlink_metadata(directory.join("HEAD")).is_ok_and(|about| about.is_file())
        && fs::symlink_metadata(directory.join("objects")).is_ok_and(|about| about.is_dir())
}

/// Waits for changes and until they pause. False when nobody is interested any more.
fn wait(watches: &Watches, closed: &OwnedFd) -> bool {
    let first = if watches.are_all { None } else { Some(UNWATCHED) };
    match look(watches, closed, first) {
        Seen::Closed => return false,
        Seen::Nothing => return true,
        Seen::Change => {}
    }
    let latest = Instant::now() + LATEST;
    while Instant::now() < latest {
        match look(watches, closed, Some(QUIET)) {
            Seen::Closed => return false,
            Seen::Nothing => return true,
            Seen::Change => {}
        }
    }
    true
}

enum Seen {
    Closed,
    Change,
    Nothing,
}

fn look(watches: &Watches, closed: &OwnedFd, most: Option<Duration>) -> Seen {
    let most = most.map(|most| Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() });
    let mut waited = vec![PollFd::new(closed, PollFlags::IN)];
    waited.extend(watches.inotify.as_ref().map(|inotify| PollFd::new(inotify, PollFlags::IN)));
    match poll(&mut waited, most.as_ref()) {
        Ok(0) => return Seen::Nothing,
        Ok(_) => {}
        Err(Errno::INTR) => return Seen::Nothing,
        Err(error) => {
            tracing::error!(%error, "the catalogue is not watched any more: changes of samples need a restart");
            return Seen::Closed;
        }
    }
    if !waited[0].revents().is_empty() {
        return Seen::Closed;
    }
    // Which file it was does not matter. What does not fit is told by another event.
    let mut buffer = [0_u8; 16 << 10];
    if let Some(inotify) = &watches.inotify {
        while rustix::io::read(inotify, &mut buffer).is_ok_and(|read| read > 0) {}
    }
    Seen::Change
}
