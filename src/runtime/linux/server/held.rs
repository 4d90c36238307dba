//! The first process of each sandbox, held by a descriptor. As long as it is held, no look at `/proc` is needed to know
//! whether the sandbox lives, nor to end it, so a full descriptor table cannot be mistaken for a dead sandbox.

use super::work::blocking;
use crate::{
    proc,
    runtime::linux::{
        failure::{Failure, Step},
        layout::Layout,
        record::Record,
        sys,
    },
    sync::lock,
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};
use tokio::io::unix::AsyncFd;

/// The first process of a sandbox.
pub(super) struct Held {
    /// What the sandbox's directory says, or said before somebody removed it.
    pub(super) record: Record,
    process: AsyncFd<OwnedFd>,
}

impl Held {
    /// Whether it has ended. It is the last of its sandbox's processes to do so.
    pub(super) fn has_ended(&self) -> Result<bool, Failure> {
        proc::has_ended(self.process.get_ref()).step("look at the sandbox's process")
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> Result<(), Failure> {
        self.process.readable().await.map(drop).step("watch the sandbox's process")
    }

    /// Its root directory, if it can be had. As long as somebody has it, the sandbox's root file system is not unmounted. The kernel
    /// does that else within the end of the process, which takes it half a second for a hundred thousand files.
    pub(super) async fn root(self: &Arc<Self>) -> Option<OwnedFd> {
        let held = self.clone();
        let open = move || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = openat(CWD, format!("/proc/{}/root", held.record.process.pid), flags, Mode::empty());
            // Looked at afterwards: until here its number was no other process's.
            Ok(root.ok().filter(|_| matches!(held.has_ended(), Ok(false))))
        };
        blocking(open).await.ok().flatten()
    }

    /// Kills it, and with it every process of its sandbox.
    pub(super) fn kill(&self) -> Result<(), Failure> {
        proc::kill(self.process.get_ref()).step("kill the sandbox's processes")
    }
}

/// What was found of a sandbox.
pub(super) enum Found {
    /// A process that is held. It may have ended since.
    Held(Arc<Held>),
    /// Its process was seen to be gone; this is what it has left.
    Ended(Record),
    /// It has no record, so no program of it ever ran.
    NeverRan,
}

/// The processes that are held, by their sandbox's id.
#[derive(Default)]
pub(super) struct Processes(Mutex<HashMap<String, Arc<Held>>>);

impl Processes {
    /// Finds a sandbox's process and holds it from now on. After an error nothing is known of it.
    pub(super) async fn find(&self, layout: &Layout, id: &str) -> Result<Found, Failure> {
        let held = lock(&self.0).get(id).cloned();
        if let Some(held) = held {
            return Ok(Found::Held(held));
        }
        let sandbox = layout.sandbox(id);
        let found = blocking(move || {
            let path = sandbox.display();
            let Some(record) = Record::read(&sandbox).step_with(|| format!("read the record in {path}"))? else {
                return Ok(None);
            };
            let process = proc::open(&record.process).step("look for the sandbox's process")?;
            Ok(Some((record, process)))
        });
        match found.await? {
            None => Ok(Found::NeverRan),
            Some((record, None)) => Ok(Found::Ended(record)),
            Some((record, Some(process))) => self.hold(id, record, process).map(Found::Held),
        }
    }

    fn hold(&self, id: &str, record: Record, process: OwnedFd) -> Result<Arc<Held>, Failure> {
        let process = sys::watch(process).step("watch the sandbox's process")?;
        let held = Arc::new(Held { record, process });
        let held = lock(&self.0).entry(id.to_owned()).or_insert(held).clone();
        // Its removal may have been finished between the look and this: then nobody would ever let go of it.
        if held.has_ended()? {
            self.release(id);
        }
        Ok(held)
    }

    /// Lets go of a sandbox's process.
    pub(super) fn release(&self, id: &str) {
        lock(&self.0).remove(id);
    }
}
