//! A connection from the server that tells its calls whether it has ended.
//!
//! A call can be lost in two ways. When its client goes away, the server resets the call, and the connection stays. When the
//! server goes away, the connection ends, and all calls on it are dropped without their clients having any part in that.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// Whether a connection has ended. Each call on it has a copy.
#[derive(Debug, Clone, Default)]
pub(super) struct Line(Arc<AtomicBool>);

impl Line {
    /// Whether the server has closed it, or is gone.
    pub(super) fn has_ended(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Notes the end before anybody is told of it: who is told drops the calls.
    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.0.store(true, Relaxed);
        }
        outcome
    }
}

/// A connection.
pub(super) struct Connection {
    stream: UnixStream,
    line: Line,
}

impl Connection {
    /// A connection on this stream.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, line: Line::default() }
    }

    /// What its calls are told of it.
    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if outcome.is_ok() && room > 0 && buffer.filled().len() == before {
            self.line.0.store(true, Relaxed);
        }
        Poll::Ready(self.line.note(outcome))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.stream).poll_write(cx, data));
        Poll::Ready(self.line.note(outcome))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, data));
        Poll::Ready(self.line.note(outcome))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn its_end_is_known_before_who_reads_or_writes_is_told() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(here);
        let line = connection.line();
        there.write_all(b"x").await.unwrap();
        connection.read_exact(&mut [0]).await.unwrap();
        connection.write_all(b"y").await.unwrap();
        assert!(!line.has_ended());
        drop(there);
        // What is unread on the other side makes the end an error here.
        let read = connection.read(&mut [0]).await;
        assert!(!matches!(read, Ok(1)) && line.has_ended(), "{read:?}");

        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        let mut connection = Connection::new(here);
        let line = connection.line();
        connection.write_all(b"y").await.expect_err("nobody reads it");
        assert!(line.has_ended());
    }
}
