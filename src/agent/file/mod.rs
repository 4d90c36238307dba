//! The program beside the agent that works on the sandbox's files.
//!
//! It is a process of its own, because the agent forks shells, for which it may have one thread only, and because bulk work
//! must never delay a session. The agent starts it when the first connection that is for files arrives, and hands it that
//! connection and all later ones ([`super::calls::file_process`]). It ends with the agent. Nothing is lost when a program of the
//! sandbox kills it: the calls under way fail, and the next connection starts another.

mod arriving;
mod change;
mod changes;
mod copy;
mod describe;
mod diff;
mod draft;
mod error;
mod events;
mod find;
mod growth;
mod identity;
mod lines;
mod list;
mod moves;
mod nearest;
mod place;
mod read;
mod replace;
mod search;
mod service;
mod telling;
mod threads;
mod trees;
mod watch;
#[cfg(test)]
mod watch_tests;
mod watched;
mod work;
mod write;

pub(in crate::agent) use identity::Identity;

use crate::packet;
use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::ExitCode,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

/// What the program is told when it starts.
#[derive(Debug)]
pub struct Settings {
    /// Where relative paths begin; without it, where the program was started.
    pub working_directory: Option<PathBuf>,
    /// The sandbox's memory limit in bytes.
    pub memory_bytes: Option<u64>,
    /// As whom calls work that name nobody; empty for whom the program itself runs as.
    pub user: String,
}

/// Serves the connections that come through this socket, until the agent is gone.
pub fn main(agent: OwnedFd, settings: &Settings) -> ExitCode {
    super::shell::protect();
    super::shell::keep_memory(kept(settings.memory_bytes));
    // The agent may go before its programs; bulk work may not. A priority that is lower than usual was somebody's wish.
    if rustix::process::getpriority_process(None).is_ok_and(|nice| nice < 0) {
        let _ = rustix::process::setpriority_process(None, 0);
    }
    match serve(agent, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the program for files ends");
            ExitCode::FAILURE
        }
    }
}

/// Bytes of free memory that are kept while there is work. Pieces of a file come and go, and the memory of each would go back to the
/// system and come again page by page, which costs more than the bytes do.
fn kept(memory_bytes: Option<u64>) -> usize {
    const MOST: u64 = 4 << 20;
    const LEAST: u64 = 1 << 20;
    memory_bytes.map_or(MOST, |bytes| (bytes / 128).clamp(LEAST, MOST)) as usize
}

fn serve(agent: OwnedFd, settings: &Settings) -> io::Result<()> {
    // One thread, so that it can be started where the sandbox has no process left but one; what blocks has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let working_directory = settings.working_directory.clone();
    let working_directory = working_directory.or_else(|| std::env::current_dir().ok()).unwrap_or(PathBuf::from("/"));
    rustix::io::ioctl_fionbio(&agent, true)?;
    runtime.block_on(async {
        let agent = super::shell::watch(agent)?;
        let (arrived, connections) = mpsc::channel(1);
        tokio::spawn(async move { take(&agent, &arrived).await });
        service::serve(connections, working_directory, settings).await;
        Ok(())
    })
}

/// Takes connections from the agent until it is gone.
async fn take(agent: &AsyncFd<OwnedFd>, arrived: &mpsc::Sender<UnixStream>) {
    loop {
        let received = agent.async_io(Interest::READABLE, |agent| packet::receive(agent.as_fd()));
        let packet = match received.await {
            Ok(packet) if !packet.bytes.is_empty() => packet,
            Ok(_) | Err(_) => return,
        };
        for connection in packet.descriptors {
            if arrived.send(connection.into()).await.is_err() {
                return;
            }
        }
    }
}
