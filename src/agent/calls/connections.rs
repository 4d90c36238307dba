//! Connections from the server: each says with its first byte what it is for.

use super::file_process::{FileProcess, NotGiven};
use crate::{
    agent::{line::Connection, peers::Peers},
    rpc::{refusing::refuse, transport::FOR_FILES},
};
use futures_util::Stream;
use rustix::net::{RecvFlags, recv};
use std::{io, os::fd::AsFd, time::Duration};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

/// Bytes on their way to the server that the kernel may hold for one connection.
const SEND_BUFFER: usize = 1 << 20;

/// How long a connection may take to say what it is for.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// A pause after a connection could not be taken, for want of descriptors for one.
const PAUSE: Duration = Duration::from_millis(10);

/// Takes connections: those for files are handed to the program for files, the others are returned.
pub(in crate::agent) fn take(
    listener: UnixListener,
    peers: Peers,
    files: FileProcess,
) -> impl Stream<Item = Connection> {
    let (give, others) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((connection, _)) if peers.allow(&connection) => {
                    tokio::spawn(sort(connection, files.clone(), give.clone()));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(others)
}

async fn sort(connection: UnixStream, files: FileProcess, others: mpsc::Sender<Connection>) {
    let Ok(Ok(first)) = timeout(SAYS_WITHIN, first_byte(&connection)).await else { return };
    enlarge(&connection);
    if first != FOR_FILES {
        // Only an agent that ends takes none.
        let _ = others.send(Connection::new(connection)).await;
        return;
    }
    if let Err(error) = recv(connection.as_fd(), &mut [0_u8; 1], RecvFlags::empty()) {
        tracing::warn!(%error, "a connection for files could not be read");
        return;
    }
    match files.give(connection.as_fd()) {
        Ok(()) => {}
        Err(NotGiven::NotStarted(error)) => refuse(connection, error, || files.can_run()).await,
        Err(NotGiven::NotTaken(error)) => {
            tracing::warn!(%error, "the program for files takes no connection");
        }
    }
}

/// The first byte, which stays where it is.
async fn first_byte(connection: &UnixStream) -> io::Result<u8> {
    let mut byte = [0];
    let look = || Ok(recv(connection.as_fd(), &mut byte, RecvFlags::PEEK)?);
    match connection.async_io(Interest::READABLE, look).await? {
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(byte[0]),
    }
}

/// Gives a connection to the server room for a whole piece of output or of a file, or as much of that as the system allows: the next
/// one is read while the server still takes the last.
fn enlarge(stream: &UnixStream) {
    // Refused, it costs speed only.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER);
}
