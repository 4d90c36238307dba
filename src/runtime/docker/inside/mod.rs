//! The agent's side of its start: taking what the server hands over.

pub(super) mod relay;

use crate::{packet, runtime::docker::paths};
use rustix::{
    fs::{Mode, OFlags},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

/// The kernel's counts of processes killed for memory: control groups of version 2 and 1, as a container sees its own.
const KILL_COUNTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// The most open files of the agent at first. Its programs get fewer (`agent/shell/limits.rs`).
const OPEN_FILES: u64 = 65_536;

/// What the agent was handed.
pub struct Received {
    /// Where the server connects.
    pub listener: UnixListener,
    /// The agent's configuration.
    pub config: File,
    /// What counts processes killed for memory, if there is such a thing.
    pub oom: Option<File>,
    /// Where the agent writes what programs see read-only, if that is so.
    pub private: Option<OwnedFd>,
}

/// Takes everything from the server's socket at this path.
///
/// # Errors
/// When the server is not there any more, and so nobody waits for this agent.
pub fn receive(path: &Path) -> io::Result<Received> {
    // As soon as it connects, the server takes the name away.
    let private = path.with_file_name(paths::PRIVATE);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let private = rustix::fs::open(private, flags, Mode::empty())?;
    let server = UnixStream::connect(path)?;
    let given = packet::receive(server.as_fd())?;
    let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "the server is gone");
    let [listener, config] = <[_; 2]>::try_from(given.descriptors).map_err(|_| gone())?;
    set_limits()?;
    Ok(Received { listener: listener.into(), config: config.into(), oom: kill_count(), private: Some(private) })
}

/// Takes the configuration from a file, and makes a socket beside it. For containers of a daemon elsewhere.
///
/// # Errors
/// When either cannot be done.
pub fn unpack(config: &Path, socket: &Path) -> io::Result<Received> {
    let file = File::open(config)?;
    // It belongs to whoever runs the daemon, so this may not be allowed, and then it stays: it holds nothing that the
    // sandbox's own processes are not told anyway.
    let _ = fs::remove_file(config);
    let listener = UnixListener::bind(socket)?;
    set_limits()?;
    Ok(Received { listener, config: file, oom: kill_count(), private: None })
}

fn kill_count() -> Option<File> {
    KILL_COUNTS.iter().find_map(|path| File::open(path).ok())
}

fn set_limits() -> io::Result<()> {
    // Zero would not keep the kernel from running the host's crash handler outside; one byte does.
    setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) })?;
    let hard = getrlimit(Resource::Nofile).maximum;
    let soft = Some(hard.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: soft, maximum: hard })?)
}
