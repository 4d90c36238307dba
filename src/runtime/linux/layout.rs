//! Where everything is in the data directory.
//!
//! ```text
//! boot                  the boot of the host that the last server ran in
//! lock                  held by the server, its zygote and their starters
//! instance              this directory's name towards the host (cgroups)
//! images/<skeleton>/    lower directories of the host image
//! mounts/…/             empty; starters mount here, each in its own mount namespace
//! sandboxes/<id>/       agent.sock, agent.log, record.json
//! slots/<n>/            a sandbox's own layers; its number is also its range of host ids
//! ```

use std::path::{Path, PathBuf};

/// The paths of one data directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
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
    pub(super) fn slots(&self) -> PathBuf {
        self.root.join("slots")
    }
    pub(super) fn slot(&self, number: u32) -> PathBuf {
        self.slots().join(number.to_string())
    }
}

/// Whether an id can be a directory's name here. What cannot is unknown, not an error of its own.
pub(super) fn is_safe_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 128
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// The agent's socket in a sandbox's directory.
pub(super) const AGENT_SOCKET: &str = "agent.sock";
/// The agent's own output in a sandbox's directory.
pub(super) const AGENT_LOG: &str = "agent.log";
/// What is known of a sandbox's process, in its directory.
pub(super) const RECORD: &str = "record.json";
/// The same while it is being written.
pub(super) const NEW_RECORD: &str = "record.json.new";

#[cfg(test)]
mod tests {
    use super::is_safe_id;

    #[test]
    fn ids_that_are_not_file_names_are_refused() {
        assert!(is_safe_id("sbx-0192f"));
        for id in ["", ".", "..", "a/b", "../x", "a\0b", ".hidden", "ü"] {
            assert!(!is_safe_id(id), "{id:?}");
        }
    }
}
