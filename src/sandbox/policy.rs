//! What the operator allows and what the host can give: images, networks, limits.

use crate::{
    error::{Error, Reason, Result},
    image::Allowed,
    runtime::{Limits, Network, SupportedLimits},
    volume::Binds,
};
use std::time::Duration;

/// A sandbox that nobody uses is most often one that was forgotten.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;
const DEFAULT_MAX_PROCESSES: u64 = 1024;
const DEFAULT_DISK_BYTES: u64 = 10 << 30;
const DEFAULT_LAYER_BYTES: u64 = 20 << 30;

/// What the operator allows.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Most sandboxes at one time.
    pub max_sandboxes: usize,
    /// Images that clients may ask for.
    pub images: Allowed,
    /// Directories of the host that clients may make volumes of.
    pub binds: Binds,
    /// Whether a sandbox may use the host's network.
    pub allow_host_network: bool,
    /// Bytes in the files of a sandbox that does not ask for a limit, where the runtime can limit them. `None` is no limit.
    pub default_disk_bytes: Option<u64>,
    /// How long sandboxes live.
    pub lifetimes: Lifetimes,
    /// Sandboxes being started at the same moment; more only slow down one another.
    pub creations_at_once: usize,
    /// Creations that may wait for their turn.
    pub waiting_creations: usize,
    /// Bytes that the layers of samples may take together, apart from those that sandboxes use.
    pub max_layer_bytes: u64,
}

/// How long sandboxes live. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Time to live of who does not ask for one.
    pub default_ttl: Option<Duration>,
    /// The longest that may be asked for.
    pub max_ttl: Option<Duration>,
    /// Idle time of who does not ask for one.
    pub default_idle_timeout: Option<Duration>,
    /// The longest that may be asked for.
    pub max_idle_timeout: Option<Duration>,
}

impl Lifetimes {
    /// No limits at all.
    pub const fn unlimited() -> Self {
        Self { default_ttl: None, max_ttl: None, default_idle_timeout: None, max_idle_timeout: None }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { default_idle_timeout: Some(DEFAULT_IDLE_TIMEOUT), ..Self::unlimited() }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            max_sandboxes: 1000,
            images: Allowed::default(),
            binds: Binds::default(),
            allow_host_network: false,
            default_disk_bytes: Some(DEFAULT_DISK_BYTES),
            lifetimes: Lifetimes::default(),
            creations_at_once: (2 * processors).max(4),
            waiting_creations: 256,
            max_layer_bytes: DEFAULT_LAYER_BYTES,
        }
    }
}

impl Policy {
    /// The network, if it is allowed.
    pub(super) fn network(&self, wanted: Network) -> Result<Network> {
        if wanted == Network::Host && !self.allow_host_network {
            let message = "network.mode: HOST is not allowed on this server; start it with --allow-host-network, \
                           or ask for NONE";
            return Err(Error::WrongState { reason: Reason::NotAllowed, message: message.to_owned() });
        }
        Ok(wanted)
    }
}

/// The limits in force: what was asked for, and defaults that this host can enforce.
pub(super) fn limits(wanted: Limits, can: SupportedLimits, default_disk_bytes: Option<u64>) -> Result<Limits> {
    let fields = [
        ("resources.memory_bytes", wanted.memory_bytes, can.memory),
        ("resources.cpu_millis", wanted.cpu_millis, can.cpu),
        ("resources.max_processes", wanted.max_processes, can.processes),
        ("resources.disk_bytes", wanted.disk_bytes, can.disk),
    ];
    let missing: Vec<_> =
        fields.iter().filter(|(_, value, can)| value.is_some() && !can).map(|(name, ..)| *name).collect();
    if !missing.is_empty() {
        let message = format!(
            "{}: this host cannot enforce it; leave it out; `sandshell doctor` says what is missing",
            missing.join(", ")
        );
        return Err(Error::WrongState { reason: Reason::NotSupportedByHost, message });
    }
    Ok(Limits {
        memory_bytes: wanted.memory_bytes.or(can.memory.then_some(DEFAULT_MEMORY_BYTES)),
        max_processes: wanted.max_processes.or(can.processes.then_some(DEFAULT_MAX_PROCESSES)),
        disk_bytes: wanted.disk_bytes.or(default_disk_bytes.filter(|_| can.disk)),
        ..wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: SupportedLimits = SupportedLimits { memory: true, cpu: true, processes: true, disk: true };

    #[test]
    fn defaults_are_only_what_the_host_can_enforce() {
        let all = limits(Limits::default(), ALL, Some(5)).unwrap();
        assert_eq!((all.memory_bytes, all.max_processes, all.disk_bytes), (Some(2 << 30), Some(1024), Some(5)));
        let wanted = Limits { disk_bytes: Some(7), ..Limits::default() };
        assert_eq!(limits(wanted, ALL, None).unwrap().disk_bytes, Some(7));
        let none = limits(Limits::default(), SupportedLimits::default(), Some(5)).unwrap();
        assert_eq!(none, Limits::default());
    }

    #[test]
    fn a_limit_that_cannot_be_enforced_is_refused_by_name() {
        let wanted = Limits { disk_bytes: Some(1), cpu_millis: Some(1), ..Limits::default() };
        let error = limits(wanted, SupportedLimits { disk: false, ..ALL }, None).unwrap_err();
        assert!(error.to_string().starts_with("resources.disk_bytes: "), "{error}");
    }
}
