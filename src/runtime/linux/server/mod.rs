//! The server's side: what the runtime is asked for, and what it does with its sandboxes beside starting them.

mod changes;
mod client;
mod config;
mod end;
mod held;
mod home;
mod layer;
mod looks;
mod order;
mod probe;
mod shared;
mod sharing;
mod start;
mod stats;
mod volume;
mod work;

pub use config::LinuxConfig;
pub use looks::{pending_in, storage_at_first, storage_of};

use crate::{
    image::Image,
    runtime::{
        Changes, ChangesWanted, Connection, Created, Inspection, Layer, Limits, Runtime, RuntimeError, SandboxSpec,
        Storage, SupportedLimits, Usage,
        common::is_safe_id,
        linux::{failure::Step, layout::AGENT_SOCKET, record, storage, wire::Order},
    },
};
use futures_util::FutureExt;
use held::Found;
use rustix::{
    fs::{CWD, Mode, OFlags},
    net::sockopt::set_socket_send_buffer_size,
};
use shared::Shared;
use std::{collections::HashMap, io, os::fd::AsRawFd, path::PathBuf, sync::Arc};
use tokio::sync::oneshot;
use work::{blocking, failed, no_references, not_found_or};

/// Bytes on their way to an agent that the kernel may hold for one connection.
const SEND_BUFFER: usize = 1 << 20;

/// Sandboxes on this host.
pub struct LinuxRuntime {
    shared: Arc<Shared>,
    warnings: Vec<String>,
    storage: Storage,
    supported: SupportedLimits,
}

/// Ends a sandbox, unless that is under way already, and waits for it. Goes on without the caller.
async fn remove(shared: &Arc<Shared>, id: &str) -> Result<(), RuntimeError> {
    let removal = shared.removals.join(id, || {
        let (shared, id) = (shared.clone(), id.to_owned());
        async move { end::remove(&shared, &id).await }.boxed()
    });
    match tokio::spawn(removal).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(failed("remove the sandbox", io::Error::other(error))),
    }
}

impl LinuxRuntime {
    /// Takes charge of the data directory, finds out what this host can give, and starts the zygote.
    /// Blocks, for some tens of milliseconds; up to ten seconds while an earlier server's last sandboxes are starting.
    ///
    /// # Errors
    /// If sandboxes cannot be made here: what is missing, and how to get it.
    pub fn start(config: LinuxConfig) -> Result<Self, RuntimeError> {
        let started = start::start(&config)?;
        let supported = SupportedLimits { disk: started.pool.is_some(), ..started.client.hello().cgroups.supported() };
        let (warnings, storage) = (started.warnings.clone(), started.storage.clone());
        let pool = started.pool.as_ref().map(|watched| watched.pool.clone());
        let trash = storage::trash::Trash::start(&started.layout, pool).step("start to delete what is left over")?;
        let shared = Shared::new(started, trash, config.start_limit);
        Ok(Self { shared: Arc::new(shared), warnings, storage, supported })
    }

    fn check(&self, limits: &Limits) -> Result<(), RuntimeError> {
        let cgroup = "this host gives the server no cgroup in which it could be enforced; see the server's warnings";
        let disk = "this host gives the server no file system that could limit it; see the server's warnings";
        for (wanted, kept, field, message) in [
            (limits.memory_bytes, self.supported.memory, "resources.memory_bytes", cgroup),
            (limits.cpu_millis, self.supported.cpu, "resources.cpu_millis", cgroup),
            (limits.max_processes, self.supported.processes, "resources.max_processes", cgroup),
            (limits.disk_bytes, self.supported.disk, "resources.disk_bytes", disk),
        ] {
            if wanted.is_some() && !kept {
                return Err(RuntimeError::NotSupported { field, message: message.to_owned() });
            }
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Runtime for LinuxRuntime {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn storage(&self) -> Option<&Storage> {
        Some(&self.storage)
    }

    fn supported_limits(&self) -> SupportedLimits {
        self.supported
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Created, RuntimeError> {
        let id = spec.sandbox_id.clone();
        if !is_safe_id(&id) {
            return Err(failed("check the id", io::ErrorKind::InvalidInput.into()));
        }
        self.check(&spec.limits)?;
        let directory = match spec.image {
            Image::Host => None,
            Image::Directory(path) => {
                if !path.is_absolute() {
                    return Err(RuntimeError::Image(format!("{} is not an absolute path", path.display())));
                }
                Some(path)
            }
            Image::Reference(_) => return Err(no_references()),
        };
        if !spec.layer.as_deref().is_none_or(is_safe_id) {
            return Err(failed("check the layer's name", io::ErrorKind::InvalidInput.into()));
        }
        let order = Order::new(spec.sandbox_id, directory, spec.layer, spec.limits, spec.network, spec.volumes);
        let shared = self.shared.clone();
        let (done, result) = oneshot::channel();
        // In a task of its own: a caller that goes away leaves nothing half made.
        tokio::spawn(async move {
            let result = start::create(&shared, order, spec.agent_config).await.map(|()| Created::default());
            let made = result.is_ok();
            if done.send(result).is_err()
                && made
                && let Err(error) = remove(&shared, &id).await
            {
                tracing::error!(sandbox_id = id, %error, "a sandbox that nobody waited for could not be removed");
            }
        });
        result.await.unwrap_or_else(|_| Err(failed("start the sandbox", io::ErrorKind::Interrupted.into())))
    }

    async fn connect(&self, sandbox_id: &str) -> Result<Connection, RuntimeError> {
        let sandbox = self.existing(sandbox_id)?;
        let open =
            || rustix::fs::openat(CWD, &sandbox, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let directory = open().map_err(|error| not_found_or("open the sandbox's directory", error.into()))?;
        // Through the descriptor: the path itself may be longer than a socket address.
        let path = format!("/proc/self/fd/{}/{AGENT_SOCKET}", directory.as_raw_fd());
        let stream =
            tokio::net::UnixStream::connect(path).await.map_err(|error| failed("connect to the agent", error))?;
        // Room for some pieces of a file. Refused, it costs speed only.
        let _ = set_socket_send_buffer_size(&stream, SEND_BUFFER);
        Ok(Connection::Socket(stream))
    }

    async fn inspect(&self, sandbox_id: &str) -> Inspection {
        match self.existing(sandbox_id) {
            Ok(_) => {}
            Err(RuntimeError::NotFound) => return Inspection::dead(Some("it was removed from outside".to_owned())),
            Err(error) => return Inspection::unknown(error.to_string()),
        }
        let ended = match self.shared.processes.find(&self.shared.layout, sandbox_id).await {
            Ok(Found::Held(held)) => held.has_ended(),
            Ok(Found::Ended(_) | Found::NeverRan) => Ok(true),
            Err(failure) => Err(failure),
        };
        match ended {
            Ok(true) => Inspection::dead(None),
            Ok(false) => Inspection::alive(),
            Err(failure) => Inspection::unknown(failure.to_string()),
        }
    }

    async fn stats(&self, sandbox_id: &str) -> Result<Usage, RuntimeError> {
        let sandbox = self.existing(sandbox_id)?;
        let record = self.record(sandbox_id).await?;
        let measurement = self.shared.measurements.join(sandbox_id, || {
            let (layout, turns) = (self.shared.layout.clone(), self.shared.measuring.clone());
            let pool = self.shared.pool();
            async move { stats::of(&layout, pool, &sandbox, record, turns).await }.boxed()
        });
        Ok(measurement.await?)
    }

    async fn limit_disk(&self, sandbox_id: &str, bytes: u64) -> Result<(), RuntimeError> {
        self.existing(sandbox_id)?;
        let made = self.record(sandbox_id).await?.made;
        let (Some(pool), Some(slot), Some(_)) = (self.shared.pool(), made.slot, made.subvolume) else {
            let message = "the sandbox's files are not in a file system that could limit them; see its warnings";
            return Err(RuntimeError::NotSupported { field: "resources.disk_bytes", message: message.to_owned() });
        };
        let work = move || pool.limit(&slot.to_string(), Some(bytes)).step("limit the sandbox's files");
        Ok(blocking(work).await?)
    }

    async fn changes(&self, sandbox_id: &str, wanted: ChangesWanted) -> Result<Changes, RuntimeError> {
        self.existing(sandbox_id)?;
        let record = self.record(sandbox_id).await?;
        let Shared { layout, client, changes, .. } = &*self.shared;
        changes::of(layout, record, client.hello().privileged, wanted, changes).await
    }

    async fn image_version(&self, image: &Image) -> Result<String, RuntimeError> {
        match image {
            // What of the host is copied. Its programs are shown as they are, and a layer holds what differs from them.
            Image::Host => Ok(self.shared.client.hello().skeleton.clone()),
            Image::Directory(path) => layer::version_of(path.clone()).await,
            Image::Reference(_) => Err(no_references()),
        }
    }

    async fn freeze(&self, sandbox_id: &str, layer: &str) -> Result<(), RuntimeError> {
        self.existing(sandbox_id)?;
        layer::freeze(&self.shared, sandbox_id, layer).await
    }

    async fn has_layer(&self, layer: &str) -> Result<bool, RuntimeError> {
        Ok(is_safe_id(layer) && layer::is_there(&self.shared.layout, layer).await?)
    }

    async fn layers(&self) -> Result<Vec<Layer>, RuntimeError> {
        let layout = self.shared.layout.clone();
        Ok(blocking(move || storage::layer::list(&layout)).await?)
    }

    async fn remove_layer(&self, layer: &str) -> Result<bool, RuntimeError> {
        layer::remove(&self.shared, layer).await
    }

    fn limits_volumes(&self) -> bool {
        self.supported.disk
    }

    fn check_host_directories(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn create_volume(&self, volume_id: &str, size_bytes: Option<u64>) -> Result<(), RuntimeError> {
        volume::create(&self.shared, volume_id, size_bytes).await
    }

    async fn remove_volume(&self, volume_id: &str) -> Result<(), RuntimeError> {
        volume::remove(&self.shared, volume_id).await
    }

    async fn volumes(&self) -> Result<Vec<String>, RuntimeError> {
        let layout = self.shared.layout.clone();
        Ok(blocking(move || storage::volume::list(&layout)).await?)
    }

    async fn volume_bytes(&self, volume_ids: Vec<String>) -> Result<HashMap<String, u64>, RuntimeError> {
        volume::measure(&self.shared, volume_ids).await
    }

    async fn list(&self) -> Result<Vec<String>, RuntimeError> {
        let sandboxes = self.shared.layout.sandboxes();
        let paths = blocking(move || storage::list::entries(&sandboxes)).await?;
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
        Ok(names.filter(|name| is_safe_id(name)).map(str::to_owned).collect())
    }

    async fn remove(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        if !is_safe_id(sandbox_id) {
            return Ok(());
        }
        remove(&self.shared, sandbox_id).await
    }
}

impl LinuxRuntime {
    /// What is noted of a sandbox.
    async fn record(&self, sandbox_id: &str) -> Result<record::Record, RuntimeError> {
        match self.shared.processes.find(&self.shared.layout, sandbox_id).await {
            Ok(Found::Held(held)) => Ok(held.record.clone()),
            Ok(Found::Ended(record)) => Ok(record),
            Ok(Found::NeverRan) => Err(RuntimeError::NotFound),
            Err(failure) => Err(RuntimeError::Unavailable(failure.to_string())),
        }
    }

    /// The directory of a sandbox. `NotFound` only if it was seen to be missing.
    fn existing(&self, sandbox_id: &str) -> Result<PathBuf, RuntimeError> {
        if !is_safe_id(sandbox_id) {
            return Err(RuntimeError::NotFound);
        }
        let sandbox = self.shared.layout.sandbox(sandbox_id);
        match std::fs::symlink_metadata(&sandbox) {
            Ok(_) => Ok(sandbox),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(RuntimeError::NotFound),
            Err(error) => Err(RuntimeError::Unavailable(format!("look at the sandbox's directory: {error}"))),
        }
    }
}
