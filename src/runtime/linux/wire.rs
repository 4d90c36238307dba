//! What server, zygote and starters tell each other, as JSON in packets.

use crate::runtime::{
    Limits, Network, VolumeMount,
    linux::{cgroup::Cgroups, failure::Failure, pool_place::Place},
};
use serde::{Deserialize, Serialize};
use std::{io, os::fd::AsFd, path::PathBuf};

/// The first packet to a zygote: everything that is the same for all its sandboxes. With it comes the lock on the
/// data directory, which the zygote and its starters hold as long as one of them could still change something there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    /// The data directory, absolute.
    pub(super) data_dir: PathBuf,
    /// Whether to map a range of ids for each sandbox, with overlays made by the host's root.
    pub(super) privileged: bool,
    /// Where limits are set.
    pub(super) cgroups: Cgroups,
    /// Which skeleton of the host image to use: a name in `images/`.
    pub(super) skeleton: String,
    /// The host's directories that the host image shows, relative to `/`.
    pub(super) host_directories: Vec<PathBuf>,
    /// This boot: a process id and start time mean nothing in another one.
    pub(super) boot_id: String,
    /// How many starters to keep ready.
    pub(in crate::runtime::linux) pool: usize,
    /// The place of subvolumes for sandboxes' layers, if there is one.
    pub(super) disk_pool: Option<Place>,
}

/// The zygote's answer to [`Hello`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// Why it cannot work.
    pub(super) error: Option<Failure>,
}

/// A sandbox to be started. With it come the reply's pipe and the agent's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// The sandbox; its directory exists already.
    pub(super) sandbox_id: String,
    /// A root file system directory; none for the host image.
    pub(super) directory: Option<PathBuf>,
    /// The layer that lies over its image.
    pub(super) layer: Option<String>,
    /// Whether it shares the host's network.
    pub(super) host_network: bool,
    /// Bytes of memory and swap.
    pub(super) memory_bytes: Option<u64>,
    /// Thousandths of a processor.
    pub(super) cpu_millis: Option<u64>,
    /// Processes and threads.
    pub(super) max_processes: Option<u64>,
    /// Bytes in its own layers.
    pub(super) disk_bytes: Option<u64>,
    /// Volumes that it is to have.
    pub(super) volumes: Vec<VolumeMount>,
    /// Only find out whether it would work: everything is done but the agent is not executed.
    pub(super) rehearsal: bool,
}

impl Order {
    pub(super) fn new(
        sandbox_id: String,
        directory: Option<PathBuf>,
        layer: Option<String>,
        limits: Limits,
        network: Network,
        volumes: Vec<VolumeMount>,
    ) -> Self {
        Self {
            sandbox_id,
            directory,
            layer,
            host_network: network == Network::Host,
            memory_bytes: limits.memory_bytes,
            cpu_millis: limits.cpu_millis,
            max_processes: limits.max_processes,
            disk_bytes: limits.disk_bytes,
            volumes,
            rehearsal: false,
        }
    }

    /// What the sandbox may use.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory_bytes,
            cpu_millis: self.cpu_millis,
            max_processes: self.max_processes,
            disk_bytes: self.disk_bytes,
        }
    }
}

/// What comes on the pipe of an order, each as a line of JSON, in this order. A pipe that ends before the last one means that
/// whoever had the order has died.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The zygote has it and is passing it on.
    Accepted,
    /// A starter has it, and has made this ahead: whatever becomes of the starter, it can be removed.
    Taken(Made),
    /// The starter has carried it out, or could not.
    Done(Box<Reply>),
}

impl Answer {
    /// Writes it. It fails when nobody waits for it any more.
    pub(super) fn tell(&self, pipe: impl AsFd) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(&pipe, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A starter's last answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Reply {
    /// What went wrong; none when the agent runs.
    pub(super) failure: Option<Failure>,
    /// What was made outside the sandbox's directory, for removing it after a failure.
    pub(super) made: Made,
    /// The host's directories that could not be made copy-on-write, and are read-only.
    pub(super) read_only: Vec<PathBuf>,
}

/// What exists outside a sandbox's directory because of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Number of its directory of layers, and of its range of ids.
    pub(super) slot: Option<u32>,
    /// Id of the pool's subvolume of the same number, if its layers are there.
    #[serde(default)]
    pub(super) subvolume: Option<u64>,
    /// Its cgroups, one in each hierarchy.
    pub(super) cgroups: Vec<PathBuf>,
}
