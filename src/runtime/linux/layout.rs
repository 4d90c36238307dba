//! Where everything is in the data directory.
//!
//! ```text
//! boot                  the boot of the host that the last server ran in
//! lock                  held by the server, its zygote and their starters
//! instance              this directory's name towards the host (cgroups)
//! images/<skeleton>/    lower directories of the host image
//! layers/<name>/        what a sandbox has made, for others to begin with: layer.json, and, if there is no pool, files/
//! mounts/…/             empty; starters mount here, each in its own mount namespace
//! sandboxes/<id>/       agent.sock, agent.log, record.json
//! slots/<n>/            its number is a range of host ids; a sandbox's own layers, if there is no pool
//! pool.img              the file system in which sandboxes have their layers, see [`super::storage::pool`]
//! pool.json             there instead of it, where the data directory's own file system is used: see [`super::storage::pool`]
//! pool/<n>/             these layers; of a pool in a file seen by starters only. What was kept for others to begin with is there too: frozen-…, and volumes: vol-…
//! volumes/<id>/         volume.json, and, if there is no pool, files/: what outlives sandboxes
//! storage.json          where sandboxes' files are and why, as the last server has said
//! trash/                layers of sandboxes that have ended, on their way out
//! ```

use crate::runtime::linux::wire::Made;
use std::path::{Path, PathBuf};

/// The paths of one data directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    /// Where this process sees the pool.
    pool: PathBuf,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        let pool = root.join("pool");
        Self { root, pool }
    }
    /// The same for a process that sees the pool elsewhere.
    pub(super) fn with_pool_at(self, pool: PathBuf) -> Self {
        Self { pool, ..self }
    }
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
    pub(super) fn instance(&self) -> PathBuf {
        self.root.join("instance")
    }
    pub(super) fn boot(&self) -> PathBuf {
        self.root.join("boot")
    }
    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }
    pub(super) fn skeleton(&self, name: &str) -> PathBuf {
        self.images().join(name)
    }
    pub(super) fn mounts(&self) -> PathBuf {
        self.root.join("mounts")
    }
    pub(super) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }
    pub(super) fn sandbox(&self, id: &str) -> PathBuf {
        self.sandboxes().join(id)
    }
    /// What was kept of sandboxes that have ended.
    pub(super) fn frozen(&self) -> PathBuf {
        self.root.join("layers")
    }
    pub(super) fn layer(&self, name: &str) -> PathBuf {
        self.frozen().join(name)
    }
    /// What outlives sandboxes.
    pub(super) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }
    pub(super) fn volume(&self, id: &str) -> PathBuf {
        self.volumes().join(id)
    }
    /// A subvolume of the pool, where this process sees it.
    pub(super) fn in_pool(&self, name: &str) -> PathBuf {
        self.pool.join(name)
    }
    pub(super) fn slots(&self) -> PathBuf {
        self.root.join("slots")
    }
    pub(super) fn slot(&self, number: u32) -> PathBuf {
        self.slots().join(number.to_string())
    }
    pub(super) fn pool_file(&self) -> PathBuf {
        self.root.join("pool.img")
    }
    /// That the pool is in the data directory's own file system, and how that counts it.
    pub(super) fn pool_note(&self) -> PathBuf {
        self.root.join("pool.json")
    }
    /// Where sandboxes' files are, as the last server has said.
    pub(super) fn storage_note(&self) -> PathBuf {
        self.root.join("storage.json")
    }
    /// Where starters mount the pool, or where it is.
    pub(super) fn pool_mount(&self) -> PathBuf {
        self.root.join("pool")
    }
    pub(super) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }
    /// A sandbox's own layers.
    pub(super) fn layers(&self, made: &Made) -> Option<PathBuf> {
        let slot = made.slot?;
        Some(if made.subvolume.is_some() { self.pool.join(slot.to_string()) } else { self.slot(slot) })
    }
}

/// The agent's socket in a sandbox's directory.
pub(super) const AGENT_SOCKET: &str = "agent.sock";
/// The agent's own output in a sandbox's directory.
pub(super) const AGENT_LOG: &str = "agent.log";
/// What is known of a sandbox's process, in its directory.
pub(super) const RECORD: &str = "record.json";
/// The same while it is being written.
pub(super) const NEW_RECORD: &str = "record.json.new";
