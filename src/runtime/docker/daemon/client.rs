//! Speaking with a daemon: HTTP over whatever leads to it. The API's types are bollard's; the way there is ours, because
//! only so it is known why one does not get there.

use super::{
    place::{Address, Place},
    ssh::Ssh,
    tls::Tls,
};
use crate::runtime::BoxedStream;
use bollard::{BollardRequest, ClientVersion, Docker, errors::Error as ApiError};
use bytes::Bytes;
use http::{Request, Response, Uri, header::HOST};
use hyper::{
    body::Incoming,
    client::conn::http1,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// How long a connection may take to come about. (`ssh` has a limit of its own.)
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How many connections are kept for the next request where it takes long to make one, and for how long.
const KEPT: usize = 4;
const KEPT_FOR: Duration = Duration::from_secs(30);

/// A client for the daemon at a place. Nothing is sent yet. It takes `answer` seconds for silence.
pub(super) fn new(place: &Place, answer: Duration, version: &ClientVersion) -> Result<Docker, ApiError> {
    let way = Way::to(&place.address);
    let kept = if matches!(way, Way::Ssh(_)) { KEPT } else { 0 };
    let connect = tower::service_fn(move |_: Uri| {
        let way = way.clone();
        Box::pin(async move { way.connect().await.map(|stream| Stream(TokioIo::new(stream))) })
    });
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_max_idle_per_host(kept).pool_idle_timeout(KEPT_FOR);
    let client = builder.build(connect);
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(|error| ApiError::from(io::Error::other(error))) }
    };
    Docker::connect_with_custom_transport(transport, Some(host(&place.address)), answer.as_secs(), version)
}

/// Asks the daemon for something whose length nobody knows, and which is read as it comes. On a connection of its own.
pub(super) async fn get(place: &Place, path: &str) -> io::Result<Response<Incoming>> {
    let stream = Way::to(&place.address).connect().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends when the answer has been read or dropped.
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, host(&place.address).trim_start_matches("http://"));
    let request = request.body(bollard::body_full(Bytes::new())).map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

/// What the daemon is told that it is called. It does not mind, but what stands before it may.
fn host(address: &Address) -> String {
    match address {
        Address::Tcp { host, port, .. } if host.contains(':') => format!("http://[{host}]:{port}"),
        Address::Tcp { host, port, .. } => format!("http://{host}:{port}"),
        Address::Socket(_) | Address::Ssh(_) => "http://docker".to_owned(),
    }
}

/// What it takes to get there.
#[derive(Clone)]
enum Way {
    Socket(PathBuf),
    Tcp(String, u16, Option<Arc<Tls>>),
    Ssh(Ssh),
}

impl Way {
    fn to(address: &Address) -> Self {
        match address.clone() {
            Address::Socket(path) => Self::Socket(path),
            Address::Tcp { host, port, tls } => Self::Tcp(host, port, tls),
            Address::Ssh(address) => Self::Ssh(Ssh::new(address)),
        }
    }

    async fn connect(&self) -> io::Result<BoxedStream> {
        match self {
            Self::Socket(path) => Ok(Box::pin(soon(UnixStream::connect(path)).await?)),
            Self::Tcp(host, port, tls) => {
                let stream = soon(TcpStream::connect((host.as_str(), *port))).await?;
                stream.set_nodelay(true)?;
                match tls {
                    Some(tls) => Ok(Box::pin(soon(tls.connect(host, stream)).await?)),
                    None => Ok(Box::pin(stream)),
                }
            }
            Self::Ssh(ssh) => ssh.connect().await,
        }
    }
}

async fn soon<T>(connect: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT_TIMEOUT, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A connection as hyper wants it.
struct Stream(TokioIo<BoxedStream>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
