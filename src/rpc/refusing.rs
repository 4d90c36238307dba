//! A connection on which every call is refused, for the same reason. Its client hears why, instead of the end of the connection.

use crate::error::Error;
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, pin::pin, time::Duration};
use tokio::{net::UnixStream, sync::Notify, time::timeout};
use tonic::{Status, body::Body};

/// How long the first call may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(10);

/// How long the next one may take.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(2);

/// How long the end may take, in which the client hears of it.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Refuses the calls that come on this connection. It ends after a call when `is_over` says that the reason is gone, or when no call has come
/// for a while, and not before: a call that its client sends just when it hears of the end would be lost.
pub async fn refuse(connection: UnixStream, error: Error, mut is_over: impl FnMut() -> bool) {
    let status = Status::from(error);
    let called = Notify::new();
    let answer = |_: http::Request<Incoming>| {
        called.notify_one();
        let response = status.clone().into_http::<Body>();
        async { Ok::<_, Infallible>(response) }
    };
    let service = hyper::service::service_fn(answer);
    let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service);
    let mut connection = pin!(connection);
    let mut patience = COMES_WITHIN;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            came = timeout(patience, called.notified()) => {
                if came.is_err() || is_over() {
                    break;
                }
            }
        }
        patience = FOLLOWS_WITHIN;
    }
    connection.as_mut().graceful_shutdown();
    // Its end is all that there was to wait for.
    let _ = timeout(ENDS_WITHIN, connection).await;
}
