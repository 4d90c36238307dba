//! gRPC on connections that come from the server: to an agent, and to the program that works on files.

use super::{
    lanes::{Carried, Lanes},
    transport::{CONNECTION_WINDOW, MAX_FRAME_BYTES},
};
use futures_util::{Stream, StreamExt};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, pin::pin};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;

/// What a connection may do.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Unread bytes that one call may have under way.
    pub stream_window: u32,
    /// Calls under way.
    pub most_calls: u32,
}

/// Calls that may be cancelled before anybody has looked at them. HTTP/2 takes many of these for an attack, libraries more than 20, and
/// ends the connection with everybody's calls on it; but they come from the server, whose clients may cancel whatever they like.
const MOST_RESETS: usize = 1 << 16;

/// Serves connections for as long as there may be more of them. `answering` makes what answers the calls of one.
pub async fn serve<IO, A, F>(connections: impl Stream<Item = IO>, terms: Terms, answering: impl Fn(&IO) -> A)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Body>) -> F + Send + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .initial_stream_window_size(terms.stream_window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_concurrent_streams(terms.most_calls)
        .max_pending_accept_reset_streams(MOST_RESETS)
        // For the same reason. They would be counted for as long as the connection lasts.
        .max_local_error_reset_streams(None)
        // gRPC knows no date, and the server would read one with each answer.
        .auto_date_header(false);
    let mut connections = pin!(connections);
    while let Some(connection) = connections.next().await {
        let answer = answering(&connection);
        let service = service_fn(move |request: Request<Incoming>| answer(request.map(Body::new)));
        // Of many bytes a part is worked on before the next one is read, and not all of them are read first.
        let connection = Carried::new(connection, Lanes::default().flow());
        let connection = http.serve_connection(TokioIo::new(connection), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
}
