//! What a client is told that is not served: its first call is answered so, and then the connection ends. There may be no place for its
//! connection, or it speaks what is not spoken here.

use super::places::Full;
use crate::{
    error::{Error, Reason},
    rpc::lanes::Executor,
};
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

/// Refusals under way. Beyond them a connection is closed without a word.
const AT_ONCE: usize = 32;

/// How long a client may take to call something and to hear the answer.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// What may be read of such a client after the answer, and is thrown away.
const UNREAD: u64 = 32 << 10;

/// When it is worth trying again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Refuses connections.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    turns: Arc<Semaphore>,
    http: http2::Builder<Executor>,
}

impl Refusal {
    /// Refuses in HTTP/2 of this kind.
    pub(super) fn new(http: http2::Builder<Executor>) -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), http }
    }

    /// Says why, if that can be had cheaply, and closes the connection.
    pub(super) fn refuse<IO>(&self, io: IO, tls: Option<TlsAcceptor>, full: Full)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(turn) = self.turns.clone().try_acquire_owned() else { return };
        let http = self.http.clone();
        tokio::spawn(async move {
            let said = timeout(HEARD_WITHIN, async {
                match tls {
                    Some(tls) => say(&http, tls.accept(io).await?, explain(full)).await?,
                    None => say(&http, io, explain(full)).await?,
                }
                Ok::<_, io::Error>(())
            });
            // Whether anybody heard it makes no difference.
            drop(said.await);
            drop(turn);
        });
    }
}

/// Answers the first call with an error, and ends the connection.
pub(super) async fn say<IO>(http: &http2::Builder<Executor>, io: IO, error: Error) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let said = CancellationToken::new();
    let status = Status::from(error);
    let answer = service_fn(|_| {
        said.cancel();
        let status = status.clone();
        async move { Ok::<_, Infallible>(status.into_http::<Body>()) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), answer));
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = said.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(io::Error::other)
}

/// Answers in HTTP/1.1, and waits until that was read.
pub(super) async fn say_in_http1(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    status: &str,
    text: &str,
) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/plain\r\n");
    io.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes()).await?;
    io.shutdown().await?;
    // A connection that is closed with something unread is reset, and with it what was said.
    tokio::io::copy(&mut io.take(UNREAD), &mut tokio::io::sink()).await?;
    Ok(())
}

fn explain(full: Full) -> Error {
    let message = match full {
        Full::InAll => "the server has as many connections as it may have (--max-connections); try again later",
        Full::FromAddress => {
            "this address has as many connections as it may have (--max-connections-per-address); close some, or make \
             many calls on one"
        }
    };
    let (reason, retry_after) = (Reason::TooManyConnections, Some(RETRY_AFTER));
    Error::Exhausted { reason, message: message.to_owned(), retry_after }
}
