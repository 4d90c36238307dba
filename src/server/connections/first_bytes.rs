//! What a client speaks is known from the first bytes of its connection.

use bytes::{Buf, Bytes};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How every connection of HTTP/2 begins.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How every connection with TLS begins: a record of the type of greetings, and the first number of its version.
const TLS: &[u8] = &[22, 3];

/// How requests of HTTP/1.1 begin: so many capital letters.
const LETTERS: usize = 3;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// What gRPC needs, or what is for its library to refuse.
    Http2,
    /// HTTP/1.1 or 1.0.
    Http1,
    /// TLS, of which nothing was taken yet.
    Tls,
}

/// Reads until it is known what the client speaks. What was read is still there.
pub(super) async fn recognize<IO: AsyncRead + Unpin>(mut io: IO) -> io::Result<(Spoken, Read<IO>)> {
    let mut first = [0; HTTP2.len()];
    let mut length = 0;
    let spoken = loop {
        let read = io.read(&mut first[length..]).await?;
        length += read;
        let seen = &first[..length];
        if seen == HTTP2 || read == 0 {
            break Spoken::Http2;
        }
        if seen.starts_with(TLS) {
            break Spoken::Tls;
        }
        if HTTP2.starts_with(seen) || seen.len() < LETTERS {
            continue;
        }
        let is_word = seen[..LETTERS].iter().all(u8::is_ascii_uppercase);
        break if is_word { Spoken::Http1 } else { Spoken::Http2 };
    };
    Ok((spoken, Read { first: Bytes::copy_from_slice(&first[..length]), io }))
}

/// A connection whose first bytes were read ahead.
pub(super) struct Read<IO> {
    first: Bytes,
    io: IO,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Read<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Read<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn spoken(said: &[u8]) -> (Spoken, Vec<u8>) {
        let (spoken, mut io) = recognize(said).await.unwrap();
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.unwrap();
        (spoken, all)
    }

    #[tokio::test]
    async fn it_is_recognized_and_nothing_is_lost() {
        let long = [HTTP2, b"\0\0\0\x04"].concat();
        for (said, wanted) in [
            (&b"POST / HTTP/1.1\r\n"[..], Spoken::Http1),
            (b"PRI / HTTP/1.1\r\n", Spoken::Http1),
            (&long, Spoken::Http2),
            (b"PRI * HTTP", Spoken::Http2),
            (b"\x16\x03\x01\x02\0", Spoken::Tls),
            (b"\x16", Spoken::Http2),
            (b"\x16\x02\x01", Spoken::Http2),
            (b"", Spoken::Http2),
        ] {
            assert_eq!(spoken(said).await, (wanted, said.to_vec()));
        }
    }
}
