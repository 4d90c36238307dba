//! Handing the agent what it needs as its container starts, where the daemon is on this host.
//!
//! The server makes the agent's socket in its own directory, where later servers find it too, and gives it away through a
//! second socket in a directory that the container is shown, read-only. That one is gone before anything but the agent runs
//! inside, and with it the program and the writable mount of the agent's own files; so the directory is empty, and neither
//! the agent's socket nor that mount has a name there at all.

use super::home::{AGENT_SOCKET, SHOWN, open_directory, within};
use crate::{packet, runtime::docker::paths};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    net::SendFlags,
};
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Seek, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::{DirBuilderExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

/// Everything that is ready for an agent.
pub(super) struct Handover {
    shown: PathBuf,
    start: UnixListener,
    agent: UnixListener,
    config: File,
}

impl Handover {
    /// Makes a sandbox's directory, which must not be there yet, and all that is in it.
    pub(super) fn prepare(sandbox: &Path, program: &Path, config: &[u8]) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(sandbox)?;
        let shown = sandbox.join(SHOWN);
        fs::create_dir(&shown)?;
        // The image's user may be anybody. Nobody else on this host gets as far as here.
        fs::set_permissions(&shown, Permissions::from_mode(0o755))?;
        fs::hard_link(program, shown.join(paths::PROGRAM))?;
        fs::create_dir(shown.join(paths::PRIVATE))?;
        let agent = UnixListener::bind(within(&open_directory(sandbox)?, AGENT_SOCKET))?;
        let start = UnixListener::bind(within(&open_directory(&shown)?, paths::START_SOCKET))?;
        fs::set_permissions(shown.join(paths::START_SOCKET), Permissions::from_mode(0o666))?;
        start.set_nonblocking(true)?;
        let mut file = File::from(memfd_create("sandshell-agent-config", MemfdFlags::CLOEXEC)?);
        file.write_all(config)?;
        file.rewind()?;
        Ok(Self { shown, start, agent, config: file })
    }

    /// Waits for the agent and gives it its socket and its configuration. Cancelled when the container ends first.
    pub(super) async fn give(&self) -> io::Result<()> {
        let start = tokio::net::UnixListener::from_std(self.start.try_clone()?)?;
        let (agent, _) = start.accept().await?;
        // A new socket has room for this.
        packet::send(agent.as_fd(), b"go", &[self.agent.as_fd(), self.config.as_fd()], SendFlags::DONTWAIT)?;
        for name in [paths::START_SOCKET, paths::PROGRAM] {
            fs::remove_file(self.shown.join(name))?;
        }
        // It is no mount point here, so it can be removed; where it is one, in the container, the mount goes with it. The agent
        // has opened it before it connected.
        fs::remove_dir(self.shown.join(paths::PRIVATE))
    }
}
