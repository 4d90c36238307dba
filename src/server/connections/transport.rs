//! What a connection may come over.

use crate::rpc::lanes::Socket;
use std::net::IpAddr;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// A stream of bytes that a client speaks over.
pub trait Transport: Into<Socket> + AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Where it comes from. None for this process's own, which no limit keeps out.
    fn peer(&self) -> Option<IpAddr>;
}

impl Transport for TcpStream {
    fn peer(&self) -> Option<IpAddr> {
        // A client that is already gone has no address any more; it must not count as one of ours.
        Some(self.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip()))
    }
}

impl Transport for UnixStream {
    fn peer(&self) -> Option<IpAddr> {
        None
    }
}
