//! Runtimes: they start the agent somewhere, reach it, and end it. Everything else is the agent's.

mod changes;
mod common;
pub mod docker;
mod layer;
pub mod linux;
mod storage;
mod volume;

pub use changes::{ChangeKind, Changes, ChangesWanted, FileChange};
pub use layer::Layer;
pub use storage::{Pending, Storage, StorageKind};
pub use volume::{VolumeMount, VolumeSource};

use crate::image::{Image, ImageNames};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

/// A two-way stream of bytes.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A [`ByteStream`] of any kind.
pub type BoxedStream = Pin<Box<dyn ByteStream>>;

/// A connection to an agent.
pub enum Connection {
    /// A socket of this machine.
    Socket(UnixStream),
    /// Any other way.
    Stream(BoxedStream),
}

/// What starts sandboxes.
#[async_trait::async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Its name, as clients see it: "linux".
    fn name(&self) -> &'static str;

    /// What this host cannot give, and what that weakens: one sentence each, for the operator and for `Sandbox.warnings`.
    fn warnings(&self) -> &[String];

    /// Where sandboxes' files are, for the operator. `None`: it is not for this runtime to say.
    fn storage(&self) -> Option<&Storage> {
        None
    }

    /// Which limits can be kept. A sandbox that asks for another one is refused with [`RuntimeError::NotSupported`], so
    /// defaults must only be given for these. None, unless the runtime says so.
    fn supported_limits(&self) -> SupportedLimits {
        SupportedLimits::default()
    }

    /// What a client may name as image.
    fn image_names(&self) -> ImageNames {
        ImageNames::Files
    }

    /// The images of registries that are here. None, unless the runtime says so.
    async fn images(&self) -> Result<Vec<HeldImage>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Brings an image here that is elsewhere, and tells how far that is. May be dropped at any time. Nothing to do, unless
    /// the runtime says so.
    async fn fetch(&self, _image: &Image, _tell: Tell) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// What tells an image that is here from another one that had the same name before.
    async fn image_version(&self, _image: &Image) -> Result<String, RuntimeError> {
        Err(self.has_no_layers())
    }

    /// Starts a sandbox from an image that is here. When it returns, the agent can be connected to.
    /// An error leaves nothing behind.
    async fn create(&self, spec: SandboxSpec) -> Result<Created, RuntimeError>;

    /// A new byte stream to the agent of a sandbox.
    async fn connect(&self, sandbox_id: &str) -> Result<Connection, RuntimeError>;

    /// Whether the agent of a sandbox lives, and what is known of it. A sandbox that this runtime does not have is
    /// [`Liveness::Dead`]. A look that fails is [`Liveness::Unknown`], never an end.
    async fn inspect(&self, sandbox_id: &str) -> Inspection;

    /// What a sandbox uses now. `NotFound` for a sandbox that this runtime does not have.
    async fn stats(&self, sandbox_id: &str) -> Result<Usage, RuntimeError>;

    /// Sets another limit of a sandbox's files. One that is lower than what they take keeps it from writing more.
    /// `NotFound` for a sandbox that this runtime does not have.
    async fn limit_disk(&self, _sandbox_id: &str, _bytes: u64) -> Result<(), RuntimeError> {
        let message = format!("the {} runtime cannot change it once a sandbox was made", self.name());
        Err(RuntimeError::NotSupported { field: "resources.disk_bytes", message })
    }

    /// How the files of a sandbox differ from its image. `NotFound` for a sandbox that this runtime does not have.
    async fn changes(&self, _sandbox_id: &str, _wanted: ChangesWanted) -> Result<Changes, RuntimeError> {
        let message = format!("the {} runtime does not know what a sandbox has changed", self.name());
        Err(RuntimeError::NotSupported { field: "sandbox_id", message })
    }

    /// Ends a sandbox and keeps the files that it has made as a layer of this name. When it returns there is no such sandbox any more,
    /// and the layer is there as a whole. After an error there is no layer, and what is left of the sandbox is to be removed.
    /// A sandbox that was itself made from a layer cannot be frozen.
    async fn freeze(&self, _sandbox_id: &str, _layer: &str) -> Result<(), RuntimeError> {
        Err(self.has_no_layers())
    }

    /// Whether there is a layer of this name.
    async fn has_layer(&self, _layer: &str) -> Result<bool, RuntimeError> {
        Err(self.has_no_layers())
    }

    /// All layers of this runtime's data directory.
    async fn layers(&self) -> Result<Vec<Layer>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Removes a layer. False if a sandbox that is there was made from it. Removing what is not there is no error.
    async fn remove_layer(&self, _layer: &str) -> Result<bool, RuntimeError> {
        Ok(true)
    }

    /// The error of a runtime that cannot keep what a sandbox has made.
    fn has_no_layers(&self) -> RuntimeError {
        let message =
            format!("the {} runtime cannot begin sandboxes with files that another one has made", self.name());
        RuntimeError::NotSupported { field: "sample", message }
    }

    /// Whether it keeps a volume's files from taking more than they may. Defaults must only be given then.
    fn limits_volumes(&self) -> bool {
        false
    }

    /// Fails with [`RuntimeError::NotSupported`] if a directory of the host cannot be mounted into a sandbox.
    fn check_host_directories(&self) -> Result<(), RuntimeError> {
        Err(self.has_no_volumes("host_directory"))
    }

    /// Makes an empty volume of this id, whose files may take so many bytes. When it returns, the volume survives a power cut. After an
    /// error something of it may be left, which [`Runtime::remove_volume`] removes. Goes on without the caller.
    async fn create_volume(&self, _volume_id: &str, _size_bytes: Option<u64>) -> Result<(), RuntimeError> {
        Err(self.has_no_volumes("name"))
    }

    /// Removes a volume that no sandbox has. Removing what is not there is no error; an error is that it could not be looked at.
    async fn remove_volume(&self, _volume_id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Ids of all volumes of this runtime's data directory.
    async fn volumes(&self) -> Result<Vec<String>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Bytes that the files of volumes take, of those for which that is known without looking at each file.
    async fn volume_bytes(&self, _volume_ids: Vec<String>) -> Result<HashMap<String, u64>, RuntimeError> {
        Ok(HashMap::new())
    }

    /// The error of a runtime that has no volumes.
    fn has_no_volumes(&self, field: &'static str) -> RuntimeError {
        RuntimeError::NotSupported { field, message: format!("the {} runtime has no volumes", self.name()) }
    }

    /// Ids of all sandboxes of this runtime's data directory, dead ones included.
    async fn list(&self) -> Result<Vec<String>, RuntimeError>;

    /// Ends every process of a sandbox and removes all that was made for it. Removing what is not there is no error.
    /// After an error the same call can be made again: what is needed to find the rest of the sandbox goes last.
    async fn remove(&self, sandbox_id: &str) -> Result<(), RuntimeError>;
}

/// What a sandbox is to be.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// Its id: `sbx-` and characters that are safe in a file name.
    pub sandbox_id: String,
    /// Its root file system.
    pub image: Image,
    /// The layer that lies over the image, which was made over the same one.
    pub layer: Option<String>,
    /// Its limits.
    pub limits: Limits,
    /// What it can reach.
    pub network: Network,
    /// Volumes that it is to have.
    pub volumes: Vec<VolumeMount>,
    /// For the agent: passed on as it is.
    pub agent_config: Vec<u8>,
}

/// An image of a registry that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldImage {
    /// One of its names.
    pub name: String,
    /// Bytes that it takes.
    pub size_bytes: u64,
    /// When it was built.
    pub create_time: Option<SystemTime>,
}

/// Hears how far an image is. Called often, so it must not block.
pub type Tell = Arc<dyn Fn(Pull) + Send + Sync>;

/// How much of an image is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pull {
    /// Layers that are there and unpacked.
    pub layers_done: usize,
    /// Layers that are known of.
    pub layers_total: usize,
    /// Bytes received, compressed as the registry has them.
    pub bytes_received: u64,
    /// Bytes to receive, of the layers whose size is known.
    pub bytes_total: u64,
}

/// What is known of a sandbox once it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Created {
    /// Where its image says that sessions start. `None`: it says nothing.
    pub working_directory: Option<String>,
}

/// Limits of one sandbox. `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory and swap of all processes together, in bytes.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    pub max_processes: Option<u64>,
    /// Bytes in its own file system.
    pub disk_bytes: Option<u64>,
}

/// Which of [`Limits`] a runtime keeps on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SupportedLimits {
    /// `memory_bytes`.
    pub memory: bool,
    /// `cpu_millis`.
    pub cpu: bool,
    /// `max_processes`.
    pub processes: bool,
    /// `disk_bytes`.
    pub disk: bool,
}

/// What a sandbox can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Its own loopback.
    None,
    /// The host's network.
    Host,
}

/// Whether an agent lives, as far as its runtime could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It was seen to live.
    Alive,
    /// It was seen to be gone.
    Dead,
    /// It could not be looked at now. Nothing may be deleted, failed or forgotten because of this.
    Unknown,
}

/// What is known of a sandbox from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Whether its agent lives.
    pub liveness: Liveness,
    /// Why an agent ended, why one that lives cannot answer, or why it could not be looked at: "it was stopped, with exit
    /// code 137".
    pub cause: Option<String>,
}

impl Inspection {
    /// It lives, and nothing is known to hinder it.
    pub fn alive() -> Self {
        Self { liveness: Liveness::Alive, cause: None }
    }

    /// It has ended.
    pub fn dead(cause: Option<String>) -> Self {
        Self { liveness: Liveness::Dead, cause }
    }

    /// It could not be looked at.
    pub fn unknown(cause: impl Into<String>) -> Self {
        Self { liveness: Liveness::Unknown, cause: Some(cause.into()) }
    }
}

/// What a sandbox uses. `None`: this host cannot tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its processes, past ones too.
    pub cpu_time: Option<Duration>,
    /// Memory in use now, in bytes, page cache included.
    pub memory_bytes: Option<u64>,
    /// The most it ever was, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Processes and threads now.
    pub processes: Option<u64>,
    /// Bytes in the sandbox's own files.
    pub disk_bytes: Option<u64>,
}

/// What can go wrong in a runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It has no such sandbox.
    #[error("no such sandbox")]
    NotFound,
    /// The image does not exist or cannot be used.
    #[error("{0}")]
    Image(String),
    /// The files of a volume are not there, or cannot be mounted where they should be: which volume, and why.
    #[error("{0}")]
    Volume(String),
    /// An option of the operator's is wrong or unknown: which, and what there is.
    #[error("{0}")]
    Option(String),
    /// This host cannot give what was asked for: which field, why, and what to do.
    #[error("{field}: {message}")]
    NotSupported {
        /// Path of the field: `resources.disk_bytes`.
        field: &'static str,
        /// Why, and what to do.
        message: String,
    },
    /// What makes the sandboxes refused, with its own words. Asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// What makes the sandboxes, or gives the images, does not answer now: which, and what to do.
    #[error("{0}")]
    Unavailable(String),
    /// The sandbox could not be made: at which step.
    #[error("{step}: {source}")]
    Failed {
        /// What was being done.
        step: String,
        /// Why it failed.
        source: io::Error,
    },
}
