//! The agent's side of the program for files: starts it when it is needed, and hands it connections.

use super::{config::AgentConfig, shell::own_started};
use crate::{packet, sync::lock};
use rustix::net::SendFlags;
use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

/// What a connection is sent with; a packet without a byte would mean the end.
const CONNECTION: &[u8] = b"c";

/// The program for files, whether it runs or not.
#[derive(Clone)]
pub(super) struct FileProcess(Arc<Inner>);

struct Inner {
    arguments: Vec<OsString>,
    /// Where the one that runs takes connections.
    socket: Mutex<Option<OwnedFd>>,
}

impl FileProcess {
    /// A program that is started with these settings when it is needed.
    pub(super) fn new(config: &AgentConfig) -> Self {
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
    pub(super) fn give(&self, connection: &UnixStream) -> io::Result<()> {
        let mut socket = lock(&self.0.socket);
        if let Some(running) = socket.as_ref() {
            match send(running, connection) {
                // It has ended: whoever killed it did not mean this connection.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
        let started = socket.insert(self.start()?);
        send(started, connection)
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

fn send(socket: &OwnedFd, connection: &UnixStream) -> io::Result<()> {
    packet::send(socket.as_fd(), CONNECTION, &[connection.as_fd()], SendFlags::DONTWAIT)
}
