//! Limits through cgroups: version 1, version 2, or some controllers in each.
//!
//! Everything is made below `sandshell-<instance>` in the server's own cgroup. A sandbox's cgroup is made ahead of
//! time and entered by the process that will start the sandbox, because on version 1 the first move after a quiet
//! time waits for a grace period (7 to 19 ms were measured); its limits are written when they are known.

mod discover;
mod mounts;

pub(super) use discover::discover;

use crate::runtime::{
    Limits, SupportedLimits,
    linux::failure::{Failure, Step},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What a cgroup can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Controller {
    /// Bytes of memory.
    Memory,
    /// Processor time.
    Cpu,
    /// Processes and threads.
    Pids,
    /// Version 1 only. It counts processor time and limits nothing.
    Cpuacct,
    /// Version 1 only, and limits nothing here. Without it and `cpuacct` Java finds no limit at all.
    Cpuset,
}

impl Controller {
    /// Those that limit something.
    pub(super) const LIMITS: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];
    /// Those that programs look for beside them.
    pub(super) const COMPANIONS: [Self; 2] = [Self::Cpuacct, Self::Cpuset];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
            Self::Cpuacct => "cpuacct",
            Self::Cpuset => "cpuset",
        }
    }
}

/// The two interfaces that the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Version {
    /// One tree for each set of controllers.
    V1,
    /// One tree for all.
    V2,
}

/// A tree of cgroups in which sandboxes get theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hierarchy {
    /// The directory that holds a directory for each sandbox.
    pub(super) parent: PathBuf,
    pub(super) version: Version,
    /// What can be limited here.
    pub(super) controllers: Vec<Controller>,
}

/// All trees in which a sandbox gets a cgroup. Empty where nothing can be limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cgroups {
    pub(super) hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    fn has(&self, controller: Controller) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(&controller))
    }

    /// The limits that can be kept.
    pub(super) fn supported(&self) -> SupportedLimits {
        SupportedLimits {
            memory: self.has(Controller::Memory),
            cpu: self.has(Controller::Cpu),
            processes: self.has(Controller::Pids),
            disk: false,
        }
    }

    /// Makes a cgroup of this name in every tree and moves the calling process into it. `made` gets each as soon as it exists.
    pub(super) fn enter(&self, name: &str, made: &mut Vec<PathBuf>) -> Result<(), Failure> {
        for hierarchy in &self.hierarchies {
            let path = hierarchy.parent.join(name);
            fs::create_dir(&path).step_with(|| format!("make the cgroup {}", path.display()))?;
            made.push(path.clone());
            // Whatever the umask says: its programs, who are other users on the host, are shown it read-only.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .step_with(|| format!("make the cgroup {}", path.display()))?;
            write(&path, "cgroup.procs", "0").step_with(|| format!("enter the cgroup {}", path.display()))?;
            if hierarchy.version == Version::V1 && hierarchy.controllers.contains(&Controller::Memory) {
                // Also ahead of time, because the first such limit on a host rewrites the kernel's code.
                sockets(&path, SOCKET_BYTES).step("limit the memory of sockets")?;
            }
        }
        Ok(())
    }

    /// Writes a sandbox's limits into its cgroups, which are in the order that [`Cgroups::enter`] made them in.
    pub(super) fn limit(&self, cgroups: &[PathBuf], limits: &Limits) -> Result<(), Failure> {
        for (hierarchy, path) in self.hierarchies.iter().zip(cgroups) {
            for controller in &hierarchy.controllers {
                let result = match controller {
                    Controller::Memory => {
                        limits.memory_bytes.map_or(Ok(()), |bytes| memory(path, hierarchy.version, bytes))
                    }
                    Controller::Cpu => limits.cpu_millis.map_or(Ok(()), |millis| cpu(path, hierarchy.version, millis)),
                    Controller::Pids => {
                        limits.max_processes.map_or(Ok(()), |count| write(path, "pids.max", &count.to_string()))
                    }
                    Controller::Cpuacct | Controller::Cpuset => Ok(()),
                };
                let too_low = result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY));
                let hint = if too_low { ": it is less than a sandbox takes by itself" } else { "" };
                result.step_with(|| format!("set the {} limit{hint}", controller.name()))?;
            }
        }
        Ok(())
    }

    /// The file in which the kernel counts the kills for want of memory: its line `oom_kill N`.
    pub(super) fn kill_count(&self, cgroups: &[PathBuf]) -> Option<OwnedFd> {
        let with_memory = |(hierarchy, _): &(&Hierarchy, &PathBuf)| hierarchy.controllers.contains(&Controller::Memory);
        let (hierarchy, path) = self.hierarchies.iter().zip(cgroups).find(with_memory)?;
        let file = match hierarchy.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        fs::File::open(path.join(file)).ok().map(OwnedFd::from)
    }

    /// Removes what earlier processes made ahead and nobody uses: a cgroup with processes refuses to go.
    pub(super) fn sweep(&self) {
        for hierarchy in &self.hierarchies {
            let Ok(entries) = fs::read_dir(&hierarchy.parent) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                // EBUSY: a living sandbox's.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

impl Cgroups {
    /// Removes all that nobody uses, the common directories too if no sandbox is left. `ended` are starters that have ended
    /// without having started a sandbox: their cgroups must be gone afterwards.
    pub(super) fn close(&self, ended: &[i32]) {
        let began = Instant::now();
        let mut pause = LEAVING.0;
        loop {
            self.sweep();
            let is_left = |hierarchy: &Hierarchy| matches!(remove(&hierarchy.parent), Ok(false));
            let left: Vec<_> = self.hierarchies.iter().filter(|hierarchy| is_left(hierarchy)).collect();
            // What sandboxes use stays. What a starter has used goes, a little after the end of its process: on some kernels
            // it leaves its cgroup only when it has left its processor for the last time.
            if !left.iter().any(|hierarchy| hierarchy.is_being_left(ended)) {
                return;
            }
            if began.elapsed() > LEFT {
                let parents: Vec<_> = left.iter().map(|hierarchy| &hierarchy.parent).collect();
                tracing::warn!(?parents, "the cgroups of processes that have ended do not go");
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LEAVING.1);
        }
    }
}

/// The first and the longest pause between two attempts to remove a cgroup that a process is just leaving.
const LEAVING: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// How long leaving it may take.
const LEFT: Duration = Duration::from_secs(2);

impl Hierarchy {
    /// Whether it has a cgroup whose processes have ended: one that has none, or that one of these starters has made.
    fn is_being_left(&self, starters: &[i32]) -> bool {
        let has_ended = |path: &Path| {
            let starter = path.file_name().and_then(|name| name.to_str()?.rsplit('-').next()?.parse().ok());
            starter.is_some_and(|pid| starters.contains(&pid))
                || fs::read(path.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
        };
        let entries = fs::read_dir(&self.parent).into_iter().flatten().flatten();
        let mut directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.any(|entry| has_ended(&entry.path()))
    }
}

/// Removes a cgroup; `false` while processes are still on their way out.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(true),
        Err(rustix::io::Errno::BUSY) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Bytes that wait in the TCP and UDP sockets of a sandbox, on version 1: there they count to no memory limit but this
/// one, and the kernel lets all of the host have about a tenth of the memory for them. (On version 2 they are memory like
/// any other.)
const SOCKET_BYTES: u64 = 64 << 20;

fn sockets(path: &Path, bytes: u64) -> io::Result<()> {
    optional(write(path, "memory.kmem.tcp.limit_in_bytes", &bytes.to_string()))
}

fn memory(path: &Path, version: Version, limit: u64) -> io::Result<()> {
    let bytes = limit.to_string();
    match version {
        Version::V1 => {
            sockets(path, SOCKET_BYTES.min(limit / 4))?;
            write(path, "memory.limit_in_bytes", &bytes)?;
            // Memory and swap together. Not every kernel counts swap.
            optional(write(path, "memory.memsw.limit_in_bytes", &bytes))
        }
        Version::V2 => {
            write(path, "memory.max", &bytes)?;
            optional(write(path, "memory.swap.max", "0"))
        }
    }
}

fn cpu(path: &Path, version: Version, millis: u64) -> io::Result<()> {
    const PERIOD: u64 = 100_000;
    // The kernel refuses quotas below a millisecond.
    let quota = (millis.saturating_mul(PERIOD) / 1000).max(1000);
    match version {
        Version::V1 => {
            write(path, "cpu.cfs_period_us", &PERIOD.to_string())?;
            write(path, "cpu.cfs_quota_us", &quota.to_string())
        }
        Version::V2 => write(path, "cpu.max", &format!("{quota} {PERIOD}")),
    }
}

/// Writes a value into a cgroup's file, which must exist already: a plain create would fail with a misleading error.
fn write(path: &Path, file: &str, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path.join(file))?;
    io::Write::write_all(&mut file, value.as_bytes())
}

fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
