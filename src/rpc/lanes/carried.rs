//! The bytes of a connection, counted.

use super::Flow;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop,
};

/// So many bytes are as much work as anything else that tokio counts, of which a task may do 128 before it is another's turn: 256 KiB, a
/// piece of a file. Each read or write of a socket would count as one, however large it is, and all of a file that is there would be read
/// before its first piece goes on.
const BYTES_OF_A_STEP: usize = 2 << 10;

/// A connection whose bytes are counted.
#[derive(Debug)]
pub struct Carried<T> {
    io: T,
    flow: Arc<Flow>,
}

impl<T> Carried<T> {
    /// Counts for this flow.
    pub fn new(io: T, flow: Arc<Flow>) -> Self {
        Self { io, flow }
    }

    fn count(&self, bytes: usize, cx: &mut Context<'_>) {
        self.flow.count(bytes);
        for _ in 0..bytes / BYTES_OF_A_STEP {
            if !coop::has_budget_remaining() {
                break;
            }
            if let Poll::Ready(step) = coop::poll_proceed(cx) {
                step.made_progress();
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Carried<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.count(buffer.filled().len() - before, cx);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Carried<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, data))?;
        self.count(written, cx);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, data))?;
        self.count(written, cx);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
