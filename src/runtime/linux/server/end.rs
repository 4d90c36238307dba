//! Ending sandboxes: their processes, then their cgroups, then their files. The record goes last, so that a removal
//! that was interrupted can be done again.

use super::{
    held::{Found, Held},
    shared::Shared,
    work::blocking,
};
use crate::runtime::{
    common::{hurry, kill_all},
    linux::{
        cgroup,
        failure::{Failure, Step},
        layout::{Layout, RECORD},
        storage::{delete, pool::Pool, trash},
        wire::Made,
    },
};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// How long a killed process may take to end by itself before it is helped, and how often it is helped then.
const SOON: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_millis(500);
/// How long the kernel may take to end killed processes. It waits for their disk writes, for example.
const DEATH: Duration = Duration::from_secs(30);
/// The first and the longest pause between two attempts to remove a cgroup that processes are just leaving.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// From which pause on it is not taken for granted that they are leaving.
const SUSPICIOUS: Duration = Duration::from_millis(16);
/// How long a caller waits for a removal that goes on without it, and the longest pause between its attempts.
const PATIENCE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// How often the rehearsal's cgroup is tried.
const LEAVING: usize = 100;
/// When to give up on that.
const CGROUP: Duration = Duration::from_secs(10);

/// Ends a sandbox. One that is not there is no error. After an error the record is still there, unless somebody else has
/// removed it, and so is all that it names and that could not be removed.
pub(super) async fn remove(shared: &Shared, id: &str) -> Result<(), Failure> {
    let (made, root) = match shared.processes.find(&shared.layout, id).await? {
        Found::Held(held) => {
            // An image that hangs may hold the look up; then it goes the slow way.
            let root = timeout(SOON, held.root()).await.ok().flatten();
            end(&held).await?;
            (held.record.made.clone(), root)
        }
        Found::Ended(record) => (record.made, None),
        Found::NeverRan => (Made::default(), None),
    };
    undo(shared, made, shared.layout.sandbox(id), root).await?;
    shared.processes.release(id);
    Ok(())
}

/// Removes what was made for a sandbox that has no first process any more. What is left of its processes, such as a starter
/// that does not come back, is killed. Nothing else is touched before all of them were seen to be gone. `root` keeps its root file
/// system from being unmounted before that is somebody's task.
pub(super) async fn undo(shared: &Shared, made: Made, sandbox: PathBuf, root: Option<OwnedFd>) -> Result<(), Failure> {
    let (layout, pool) = (shared.layout.clone(), shared.pool());
    let undone = async {
        remove_cgroups(made.cgroups.clone()).await?;
        blocking(move || {
            throw_away(&layout, pool.as_deref(), &made).step("remove the sandbox's files")?;
            remove_directory(&sandbox)
        })
        .await
    };
    let undone = undone.await;
    // Its files may still be there, and it answers before they are gone; but not if more come than can be removed. After an error too its
    // root is let go of there and not here, where it would hold up a thread that serves calls.
    shared.trash.catch_up(root).await;
    undone
}

/// Gives up a sandbox's files: at once, however many they are. The slot goes last, because a subvolume is found by its number.
fn throw_away(layout: &Layout, pool: Option<&Pool>, made: &Made) -> io::Result<()> {
    let Some(slot) = made.slot else { return Ok(()) };
    if let Some(pool) = pool.filter(|_| made.subvolume.is_some()) {
        pool.root().throw(&slot.to_string())?;
    }
    trash::throw(layout, &layout.slot(slot))
}

/// Removes what was made for a sandbox whose start came to nothing, and its first process, if it came that far.
pub(super) async fn undo_start(shared: &Shared, id: &str, made: Made) -> Result<(), Failure> {
    if let Found::Held(held) = shared.processes.find(&shared.layout, id).await? {
        end(&held).await?;
    }
    undo(shared, made, shared.layout.sandbox(id), None).await?;
    shared.processes.release(id);
    Ok(())
}

/// The same, and if it cannot be done now, in a task of its own until it is: a starter may hang in a file system that does not
/// answer, and then even killing it takes as long as that.
pub(super) async fn undo_at_last(shared: &Arc<Shared>, id: &str, made: Made) {
    let (shared, id, first) = (shared.clone(), id.to_owned(), PATIENCE);
    let undone = tokio::spawn(async move {
        let mut pause = first;
        while let Err(failure) = undo_start(&shared, &id, made.clone()).await {
            tracing::error!(sandbox_id = id, error = %failure, "a failed sandbox has left something behind; it is tried again");
            sleep(pause).await;
            pause = LONGEST.min(pause * 2);
        }
    });
    // Usually it takes no time. Who waits for the answer does not have to wait for more.
    let _ = timeout(PATIENCE, undone).await;
}

/// Kills the first process of a pid namespace and waits for its end, which comes after that of all others in it.
pub(super) async fn end(held: &Held) -> Result<(), Failure> {
    held.kill()?;
    if let Ok(ended) = timeout(SOON, held.ended()).await {
        return ended;
    }
    let began = Instant::now();
    loop {
        let (pid, cgroups) = (held.record.process.pid, held.record.made.cgroups.clone());
        let helped = blocking(move || {
            hurry(pid, &cgroups);
            cgroups.iter().try_for_each(|cgroup| kill_all(cgroup)).step("kill the sandbox's processes")
        });
        if let Err(failure) = helped.await {
            tracing::warn!(error = %failure, "a sandbox takes long to end and cannot be helped");
        }
        match timeout(AGAIN, held.ended()).await {
            Ok(ended) => return ended,
            Err(_) if began.elapsed() < DEATH => {}
            Err(_) => {
                return Err(io::Error::from(io::ErrorKind::TimedOut))
                    .step("wait for the end of the sandbox's processes");
            }
        }
    }
}

pub(super) async fn remove_cgroups(cgroups: Vec<PathBuf>) -> Result<(), Failure> {
    let (began, mut pause, mut left) = (Instant::now(), PAUSES.0, cgroups);
    while !left.is_empty() {
        let suspicious = pause >= SUSPICIOUS;
        left = blocking(move || {
            let mut busy = Vec::new();
            for path in left {
                if suspicious {
                    kill_all(&path).step("kill what is left of the sandbox's processes")?;
                }
                if !cgroup::remove(&path).step_with(|| format!("remove the cgroup {}", path.display()))? {
                    busy.push(path);
                }
            }
            Ok(busy)
        })
        .await?;
        if left.is_empty() {
            break;
        }
        if began.elapsed() > CGROUP {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy)).step("remove the sandbox's cgroups");
        }
        // Processes leave their cgroup a little after their parent is told of their end.
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    Ok(())
}

/// The same before there is an event loop, for cgroups that nobody has a record of. Returns whether they are gone.
pub(super) fn end_strays(cgroups: &[PathBuf]) -> Result<bool, Failure> {
    let (began, mut left) = (std::time::Instant::now(), cgroups.to_vec());
    loop {
        let mut busy = Vec::new();
        for path in left {
            let processes = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            processes
                .lines()
                .filter_map(|pid| pid.parse().ok())
                .for_each(|pid| hurry(pid, std::slice::from_ref(&path)));
            kill_all(&path).step_with(|| format!("kill the processes in {}", path.display()))?;
            if !cgroup::remove(&path).step_with(|| format!("remove the cgroup {}", path.display()))? {
                busy.push(path);
            }
        }
        if busy.is_empty() || began.elapsed() > CGROUP {
            return Ok(busy.is_empty());
        }
        left = busy;
        std::thread::sleep(PAUSES.1);
    }
}

/// Removes a sandbox's directory, the record after everything else.
fn remove_directory(sandbox: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(sandbox) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.step("remove the sandbox's directory")?,
    };
    for entry in entries {
        let entry = entry.step("remove the sandbox's directory")?;
        if entry.file_name() == RECORD {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).step("remove the sandbox's directory");
            }
            _ => {}
        }
    }
    delete::tree(sandbox).step("remove the sandbox's directory")
}

/// The same for the rehearsal, before there is an event loop. What it has to leave, the next start sweeps up.
pub(super) fn remove_at_start(layout: &Layout, pool: Option<&Pool>, made: &Made, sandbox: &Path) {
    let slot = throw_away(layout, pool, made).step("remove its files");
    if let Err(failure) = slot.and_then(|()| remove_directory(sandbox)) {
        tracing::warn!(error = %failure, "the rehearsal left something behind");
    }
    for path in &made.cgroups {
        // Its starter may still be leaving. If that takes longer, the next start removes it.
        for _ in 0..LEAVING {
            if !matches!(cgroup::remove(path), Ok(false)) {
                break;
            }
            std::thread::sleep(PAUSES.0);
        }
    }
}
