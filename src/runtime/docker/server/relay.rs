//! Reaching an agent whose daemon is elsewhere: for each connection the daemon starts a small program of ours inside, which
//! carries bytes between its standard streams and the agent's socket.
//!
//! That socket has a name inside, so the agent looks at who connects to it: only what was started from outside is let in.

use super::upload;
use crate::runtime::{
    BoxedStream, RuntimeError,
    docker::{daemon::Daemon, work::failed},
};
use bollard::{
    container::LogOutput,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The agent's socket, as processes inside see it.
pub(super) const SOCKET: &str = "/run/sandshell/agent.sock";

/// Bytes at a time.
const BLOCK: usize = 64 << 10;

/// Opens a stream to the agent of a container.
pub(super) async fn connect(daemon: &Daemon, name: &str) -> Result<BoxedStream, RuntimeError> {
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some([upload::PROGRAM, "relay", SOCKET].map(str::to_owned).to_vec()),
        ..ExecConfig::default()
    };
    let explain = |error| daemon.explain("reach the agent in the container", error);
    let exec = daemon.docker().create_exec(name, config).await.map_err(explain)?;
    let options = StartExecOptions { output_capacity: Some(BLOCK), ..StartExecOptions::default() };
    match daemon.docker().start_exec(&exec.id, Some(options)).await.map_err(explain)? {
        StartExecResults::Attached { output, input } => {
            Ok(Box::pin(Relayed { output: output.boxed(), rest: Bytes::new(), input }))
        }
        StartExecResults::Detached => Err(failed("reach the agent", io::ErrorKind::NotConnected)),
    }
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// The standard streams of a relay as one stream.
struct Relayed {
    output: Output,
    /// What was received and not yet read.
    rest: Bytes,
    input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl AsyncRead for Relayed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match std::task::ready!(self.output.poll_next_unpin(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(LogOutput::StdOut { message })) => self.rest = message,
                // Its own words, when it fails.
                Some(Ok(other)) => tracing::debug!(said = %other, "a relay"),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let part = self.rest.len().min(into.remaining());
        into.put_slice(&self.rest[..part]);
        self.rest.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Relayed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}
