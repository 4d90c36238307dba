//! What is in the data directory.
//!
//! ```text
//! docker/instance             this directory's word towards the daemon
//! docker/program-…            a copy of this program, for containers to be shown; it outlives updates of the original
//! docker/sandboxes/<id>/      agent.sock
//! docker/sandboxes/<id>/in/   what the container is shown while it starts; empty afterwards
//! ```

use crate::runtime::{
    RuntimeError,
    common::is_safe_id,
    docker::work::{blocking, failed},
};
use rustix::fs::{CWD, Mode, OFlags};
use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixStream;

/// The agent's socket in a sandbox's directory.
pub(super) const AGENT_SOCKET: &str = "agent.sock";
/// What the container is shown, in a sandbox's directory.
pub(super) const SHOWN: &str = "in";

/// The room's part of the data directory.
pub(super) struct Home {
    root: PathBuf,
    instance: String,
    program: PathBuf,
}

impl Home {
    /// Makes what is not there yet.
    pub(super) fn open(data_dir: &Path, program: &Path) -> Result<Self, RuntimeError> {
        let open = || {
            let root = data_dir.join("docker");
            fs::create_dir_all(root.join("sandboxes"))?;
            // The daemon is told this path, and knows nothing of our working directory or links.
            let root = root.canonicalize()?;
            fs::set_permissions(&root, Permissions::from_mode(0o700))?;
            let instance = instance(&root)?;
            let program = copy_program(&root, program)?;
            Ok(Self { root, instance, program })
        };
        open().map_err(|error: io::Error| failed("prepare the data directory", error))
    }

    /// The word that only this data directory has.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// The copy of our program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// The name of a sandbox's container.
    pub(super) fn name(&self, id: &str) -> String {
        format!("sandshell-{}-{id}", self.instance)
    }

    pub(super) fn sandbox(&self, id: &str) -> PathBuf {
        self.root.join("sandboxes").join(id)
    }

    /// Whether a sandbox was seen to have no directory here.
    pub(super) fn is_missing(&self, id: &str) -> bool {
        matches!(fs::symlink_metadata(self.sandbox(id)), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Sandboxes that have a directory here.
    pub(super) async fn ids(&self) -> Result<Vec<String>, RuntimeError> {
        let sandboxes = self.root.join("sandboxes");
        let names = blocking("list the sandboxes' directories", move || {
            fs::read_dir(sandboxes)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let names = names.await?.into_iter().filter_map(|name| name.into_string().ok());
        Ok(names.filter(|name| is_safe_id(name)).collect())
    }

    /// Removes a sandbox's directory.
    pub(super) async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let path = self.sandbox(id);
        blocking("remove the sandbox's directory", move || match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// Connects to the agent's socket.
    pub(super) async fn connect(&self, id: &str) -> Result<UnixStream, RuntimeError> {
        let directory = open_directory(&self.sandbox(id)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RuntimeError::NotFound,
            _ => failed("open the sandbox's directory", error),
        })?;
        let stream = UnixStream::connect(within(&directory, AGENT_SOCKET)).await;
        stream.map_err(|error| failed("connect to the agent", error))
    }
}

impl Drop for Home {
    /// Without sandboxes the copy is of no use to anybody, and it is large.
    fn drop(&mut self) {
        let is_empty = fs::read_dir(self.root.join("sandboxes")).is_ok_and(|mut sandboxes| sandboxes.next().is_none());
        if is_empty && let Err(error) = fs::remove_file(&self.program) {
            tracing::warn!(%error, "the copy of the agent's program could not be removed");
        }
    }
}

/// Opens a directory for [`within`].
pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A short path of something in a directory: the whole one may be longer than a socket address.
pub(super) fn within(directory: &OwnedFd, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into()
}

/// Whether an id can be a directory's and a container's name. What cannot is unknown, not an error of its own.
fn instance(root: &Path) -> io::Result<String> {
    let path = root.join("instance");
    if let Ok(word) = fs::read_to_string(&path)
        && word.len() == 16
        && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(word);
    }
    let word = uuid::Uuid::new_v4().simple().to_string().split_off(16);
    fs::write(&path, &word)?;
    Ok(word)
}

/// Copies our program, unless that was done before: containers that run it must not notice an update, and a container's
/// root must never hold the original in its hands.
fn copy_program(root: &Path, program: &Path) -> io::Result<PathBuf> {
    let meta = fs::metadata(program)?;
    let name = format!("program-{:x}-{:x}-{:x}", meta.len(), meta.mtime(), meta.mtime_nsec());
    let path = root.join(&name);
    for entry in fs::read_dir(root)?.flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        if found.starts_with("program-") && found != name {
            fs::remove_file(entry.path())?;
        }
    }
    if !path.exists() {
        // Renamed into place: a half-written copy is no program.
        let new = root.join("program-new");
        io::copy(&mut File::open(program)?, &mut File::create(&new)?)?;
        fs::set_permissions(&new, Permissions::from_mode(0o555))?;
        fs::rename(&new, &path)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_keeps_its_word_and_one_program() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "one").unwrap();
        let home = Home::open(dir.path(), &program).unwrap();
        let (word, copy) = (home.instance().to_owned(), home.program().to_owned());
        fs::create_dir(home.sandbox("sbx-1")).unwrap();
        drop(home);
        assert!(copy.exists(), "a sandbox may still need it");
        fs::write(&program, "another").unwrap();
        let home = Home::open(dir.path(), &program).unwrap();
        assert_eq!(home.instance(), word);
        assert!(!copy.exists());
        assert_eq!(fs::read_to_string(home.program()).unwrap(), "another");
        fs::remove_dir(home.sandbox("sbx-1")).unwrap();
        let copy = home.program().to_owned();
        drop(home);
        assert!(!copy.exists());
    }
}
