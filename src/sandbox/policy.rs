//! What the operator allows and what the host can give: images, networks, limits.

use super::{named_images::NamedImage, references};
use crate::{
    error::{Error, Kind, Reason, Result},
    runtime::{Image, Limits, Network, SupportedLimits},
    volume::Binds,
};
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    time::Duration,
};

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
    /// Root file systems must lie in one of these. Canonical paths.
    pub image_roots: Vec<PathBuf>,
    /// Images of registries that may be named, `*` for any part of a name; all if there is none.
    pub allowed_images: Vec<String>,
    /// What the operator has given names, which clients use as image.
    pub named_images: BTreeMap<String, NamedImage>,
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
            image_roots: Vec::new(),
            allowed_images: Vec::new(),
            named_images: BTreeMap::new(),
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
    /// The image of this host that a client means by a name. Looks at the file system.
    pub(super) fn file(&self, name: &str) -> Result<Image> {
        if name.is_empty() || name == "host" {
            return Ok(Image::Host);
        }
        let path = Path::new(name);
        if !path.is_absolute() {
            let mut hint = "; images are \"host\" and absolute paths of root file system directories".to_owned();
            if references::is_wellformed(name) {
                hint += ", and this runtime has no images of registries: those are for --runtime docker";
            }
            hint += &self.names_there_are();
            return Err(Error::NotFound { kind: Kind::Image, id: name.to_owned(), hint: Some(hint) });
        }
        // Whether something exists is told only of what the operator allows.
        let found = path.canonicalize().ok();
        let climbs = found.is_none() && path.components().any(|part| part == Component::ParentDir);
        if climbs || !self.allows(found.as_deref().unwrap_or(path)) {
            let message = format!(
                "image {name:?} is not in a directory that the operator allows; start the server with --image-root DIR"
            );
            return Err(Error::WrongState { reason: Reason::NotAllowed, message });
        }
        match found {
            Some(directory) if directory.is_dir() => Ok(Image::Directory(directory)),
            _ => Err(Error::NotFound {
                kind: Kind::Image,
                id: name.to_owned(),
                hint: Some("; a root file system is a directory".to_owned()),
            }),
        }
    }

    /// The image of a registry that a client means by a name.
    pub(super) fn reference(&self, name: &str) -> Result<Image> {
        if name.is_empty() {
            return Err(Error::invalid(
                "image",
                "is required on this server: the name of an image, as debian:bookworm",
            ));
        }
        if !references::is_wellformed(name) {
            let hint = "; images are names as debian:bookworm or registry.example.com/team/image@sha256:…".to_owned()
                + &self.names_there_are();
            return Err(Error::NotFound { kind: Kind::Image, id: name.to_owned(), hint: Some(hint) });
        }
        if !self.allowed_images.is_empty() && !self.allowed_images.iter().any(|pattern| references::fits(pattern, name))
        {
            let message = format!(
                "image {name:?} is not one that the operator allows: {}; start the server with --allow-image NAME",
                self.allowed_images.join(", ")
            );
            return Err(Error::WrongState { reason: Reason::NotAllowed, message });
        }
        Ok(Image::Reference(name.to_owned()))
    }

    fn allows(&self, path: &Path) -> bool {
        self.image_roots.iter().any(|root| path.starts_with(root))
    }

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

    #[test]
    fn images_are_confined_to_the_roots_whatever_the_path_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("allowed/one")).unwrap();
        std::fs::create_dir(root.join("secret")).unwrap();
        std::os::unix::fs::symlink(root.join("secret"), root.join("allowed/link")).unwrap();
        let policy = Policy { image_roots: vec![root.join("allowed")], ..Policy::default() };
        let image = |path: &str| policy.file(root.join(path).to_str().unwrap());

        assert_eq!(image("allowed/one").unwrap(), Image::Directory(root.join("allowed/one")));
        assert!(matches!(image("allowed/two"), Err(Error::NotFound { kind: Kind::Image, .. })));
        for outside in ["secret", "allowed/../secret", "allowed/link", "nothing", "allowed/../nothing"] {
            let error = image(outside).unwrap_err();
            assert!(matches!(error, Error::WrongState { reason: Reason::NotAllowed, .. }), "{outside}: {error}");
        }
        assert_eq!(policy.file("").unwrap(), Image::Host);
        assert!(matches!(policy.file("ubuntu:24.04"), Err(Error::NotFound { .. })));
    }
}
