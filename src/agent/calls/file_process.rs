//! The agent's side of the program for files: starts it when it is needed, and hands it connections.

use crate::{
    agent::{
        config::AgentConfig,
        resources::{is_of_resources, out_of_resources},
        shell::own_started,
    },
    error::Error,
    packet,
    sync::lock,
};
use rustix::net::SendFlags;
use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

/// What a connection is sent with; a packet without a byte would mean the end.
const CONNECTION: &[u8] = b"c";

/// Why a connection was not handed over.
pub(super) enum NotGiven {
    /// The program does not run and cannot be started. This is to be told.
    NotStarted(Error),
    /// It runs, or has ended just now, and takes none.
    NotTaken(io::Error),
}

/// The program for files, whether it runs or not.
#[derive(Clone)]
pub(in crate::agent) struct FileProcess(Arc<Inner>);

struct Inner {
    arguments: Vec<OsString>,
    /// Where the one that runs takes connections.
    socket: Mutex<Option<OwnedFd>>,
}

impl FileProcess {
    /// A program that is started with these settings when it is needed.
    pub(in crate::agent) fn new(config: &AgentConfig) -> Self {
        let AgentConfig { working_directory, memory_bytes, user, .. } = config;
        let mut arguments: Vec<OsString> = vec!["files".into()];
        if !working_directory.is_empty() {
            arguments.extend(["--working-directory".into(), working_directory.into()]);
        }
        if let Some(bytes) = memory_bytes {
            arguments.extend(["--memory-bytes".into(), bytes.to_string().into()]);
        }
        if !user.is_empty() {
            arguments.extend(["--user".into(), user.into()]);
        }
        Self(Arc::new(Inner { arguments, socket: Mutex::new(None) }))
    }

    /// Hands a connection over.
    pub(super) fn give(&self, connection: BorrowedFd<'_>) -> Result<(), NotGiven> {
        let mut socket = lock(&self.0.socket);
        if let Some(running) = socket.as_ref() {
            match send(running, connection) {
                // It has ended: whoever killed it did not mean this connection.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                sent => return sent.map_err(NotGiven::NotTaken),
            }
        }
        *socket = None;
        let started = socket.insert(self.start().map_err(|error| NotGiven::NotStarted(not_started(error)))?);
        send(started, connection).map_err(NotGiven::NotTaken)
    }

    /// Whether a connection could be handed over now: the program runs, or can be started, and then is.
    pub(super) fn can_run(&self) -> bool {
        let mut socket = lock(&self.0.socket);
        if socket.is_none() {
            *socket = self.start().ok();
        }
        socket.is_some()
    }

    /// It needs no waiting for: its end shows on the socket, and whatever ends in the sandbox is reaped.
    fn start(&self) -> io::Result<OwnedFd> {
        let (own, theirs) = packet::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0("sandshell")
            .args(&self.0.arguments)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        own_started(child.id() as i32);
        Ok(own)
    }
}

/// The sandbox lacks what a process needs, or something is wrong that nobody has thought of.
fn not_started(error: io::Error) -> Error {
    if is_of_resources(&error) {
        out_of_resources("start the program that works on files", &error)
    } else {
        Error::internal("start the program that works on files", error)
    }
}

fn send(socket: &OwnedFd, connection: BorrowedFd<'_>) -> io::Result<()> {
    packet::send(socket.as_fd(), CONNECTION, &[connection], SendFlags::DONTWAIT)
}
