//! Ending sandboxes: their processes, then their cgroups, then their files. The record goes last, so that a removal
//! that was interrupted can be done again.

use super::{
    blocking, cgroup, delete,
    layout::{Layout, RECORD},
    process,
    record::Record,
    sys,
    wire::{Failure, Made, Step},
};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// How long the kernel may take to end killed processes. It waits for their disk writes, for example.
const DEATH: Duration = Duration::from_secs(30);
/// The first and the longest pause between two attempts to remove a cgroup that processes are just leaving.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// When to give up on that.
const CGROUP: Duration = Duration::from_secs(10);

/// Ends a sandbox. One that is not there is no error.
pub(super) async fn remove(layout: &Layout, id: &str) -> Result<(), Failure> {
    let sandbox = layout.sandbox(id);
    let path = sandbox.clone();
    let record = blocking(move || Record::read(&path).step("read the sandbox's record")).await?;
    let made = match record {
        Some(record) => {
            if let Some(pidfd) = process::open(&record.process).step("find the sandbox's process")? {
                kill(pidfd).await?;
            }
            record.made
        }
        None => Made::default(),
    };
    undo(layout, made, sandbox).await
}

/// Removes what was made for a sandbox that has no process any more.
pub(super) async fn undo(layout: &Layout, made: Made, sandbox: PathBuf) -> Result<(), Failure> {
    let leaving = remove_cgroups(&made.cgroups).await;
    let slot = made.slot.map(|slot| layout.slot(slot));
    blocking(move || remove_files(slot.as_deref(), &sandbox)).await?;
    leaving
}

/// Kills the first process of a pid namespace and waits for its end, which comes after that of all others in it.
async fn kill(pidfd: OwnedFd) -> Result<(), Failure> {
    process::kill(&pidfd).step("kill the sandbox's processes")?;
    let pidfd = sys::watch(pidfd).step("watch the sandbox's process")?;
    match timeout(DEATH, pidfd.readable()).await {
        Ok(ready) => ready.map(drop).step("watch the sandbox's process"),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)).step("wait for the end of the sandbox's processes"),
    }
}

async fn remove_cgroups(cgroups: &[PathBuf]) -> Result<(), Failure> {
    let mut pause = PAUSES.0;
    let mut left = cgroups.to_vec();
    let remove = async {
        loop {
            let mut busy = Vec::new();
            for path in left {
                if !cgroup::remove(&path).step_with(|| format!("remove the cgroup {}", path.display()))? {
                    busy.push(path);
                }
            }
            if busy.is_empty() {
                return Ok(());
            }
            left = busy;
            // Processes leave their cgroup a little after their parent is told of their end.
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    };
    match timeout(CGROUP, remove).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::ResourceBusy)).step("remove the sandbox's cgroups"),
    }
}

fn remove_files(slot: Option<&Path>, sandbox: &Path) -> Result<(), Failure> {
    if let Some(slot) = slot {
        delete::tree(slot).step("remove the sandbox's files")?;
    }
    // The record after everything else.
    let entries = match fs::read_dir(sandbox) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.step("remove the sandbox's directory")?,
    };
    for entry in entries.flatten().filter(|entry| entry.file_name() != RECORD) {
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
pub(super) fn remove_at_start(layout: &Layout, made: &Made, sandbox: &Path) {
    let slot = made.slot.map(|slot| layout.slot(slot));
    if let Err(failure) = remove_files(slot.as_deref(), sandbox) {
        tracing::warn!(error = %failure, "the rehearsal left something behind");
    }
    for path in &made.cgroups {
        // Its starter may still be leaving. Then the next sweep removes it.
        let _ = cgroup::remove(path);
    }
}
