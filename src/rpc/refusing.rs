//! A connection on which every call is refused, for the same reason. Its client hears why, instead of the end of the connection.

use crate::error::Error;
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, pin::pin, time::Duration};
use tokio::{net::UnixStream, sync::Notify, time::timeout};
use tonic::{Status, body::Body};

/// How long the first call may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(10);

/// How long the end may take, in which the client hears of it.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Refuses the first call that comes on this connection, and those that come with it. The next one makes another connection.
pub(crate) async fn refuse(connection: UnixStream, error: Error) {
    let status = Status::from(error);
    let first = Notify::new();
    let answer = |_: http::Request<Incoming>| {
        first.notify_one();
        let response = status.clone().into_http::<Body>();
        async { Ok::<_, Infallible>(response) }
    };
    let service = hyper::service::service_fn(answer);
    let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = timeout(COMES_WITHIN, first.notified()) => {}
    }
    // With the answer, and not later: a call that its client sends just when it hears of the end would be lost. Those that are on their
    // way are answered yet.
    connection.as_mut().graceful_shutdown();
    // Its end is all that there was to wait for.
    let _ = timeout(ENDS_WITHIN, connection).await;
}
