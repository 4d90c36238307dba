//! Tells a client that there is no place for its connection: its first call is answered so, and then the connection ends.

use super::places::Full;
use crate::error::{Error, Reason};
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
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

/// When it is worth trying again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Refuses connections.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    turns: Arc<Semaphore>,
    http: http2::Builder<TokioExecutor>,
}

impl Refusal {
    /// Refuses in HTTP/2 of this kind.
    pub(super) fn new(http: http2::Builder<TokioExecutor>) -> Self {
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
                    Some(tls) => say(&http, tls.accept(io).await?, full).await,
                    None => say(&http, io, full).await,
                }
                Ok::<_, io::Error>(())
            });
            // Whether anybody heard it makes no difference.
            drop(said.await);
            drop(turn);
        });
    }
}

async fn say<IO>(http: &http2::Builder<TokioExecutor>, io: IO, full: Full)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let said = CancellationToken::new();
    let answer = service_fn(|_| {
        said.cancel();
        async move { Ok::<_, Infallible>(Status::from(explain(full)).into_http::<Body>()) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), answer));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = said.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(connection.await);
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
