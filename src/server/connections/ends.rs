//! When a connection ends that is served, and how its client hears of it.

use crate::server::layers::{stopping::Stopping, traffic::Traffic};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    pin::{Pin, pin},
    time::Duration,
};
use tokio::time::sleep;

/// How long a connection may be silent on which nobody has shown yet that they may call anything: from its beginning to
/// the headers of the first request, and between requests. Afterwards it may be silent for as long as it likes.
pub(super) const STRANGERS_PATIENCE: Duration = Duration::from_secs(30);

/// How long a client may take to hear that the connection ends.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection must do that does not end by itself.
enum Must {
    /// Take no more calls.
    WindUp,
    /// End now.
    Go,
}

/// Serves a connection until it ends or must go.
pub(super) async fn serve<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    wind_up: impl FnOnce(Pin<&mut C>),
    traffic: &Traffic,
    stopping: &Stopping,
) {
    let mut connection = pin!(connection);
    // Looked at when one of them comes, and not whenever something comes on the connection.
    let mut ends: FuturesUnordered<BoxFuture<'_, Must>> = FuturesUnordered::new();
    ends.push(Box::pin(traffic.ended().map(|()| Must::Go)));
    ends.push(Box::pin(outstays(traffic).map(|()| Must::WindUp)));
    ends.push(Box::pin(stopping.begun().map(|()| Must::WindUp)));
    tokio::select! {
        biased;
        must = ends.next() => if let Some(Must::Go) = must { return },
        ended = connection.as_mut() => return note(ended),
    }
    // It takes no more calls, and ends with the last one.
    wind_up(connection.as_mut());
    tokio::select! {
        ended = connection => note(ended),
        () = traffic.ended() => {}
        () = has_nothing_to_wait_for(traffic) => {}
        () = owes_nothing(traffic, stopping) => {}
    }
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Returns when a connection was silent for too long on which nobody was let in.
pub(super) async fn outstays(traffic: &Traffic) {
    loop {
        let quiet = traffic.quiet();
        if traffic.is_known() {
            return std::future::pending().await;
        }
        if quiet >= STRANGERS_PATIENCE {
            return;
        }
        sleep(STRANGERS_PATIENCE - quiet).await;
    }
}

/// Returns when no call has been under way for long enough to say farewell.
async fn has_nothing_to_wait_for(traffic: &Traffic) {
    loop {
        traffic.until(|traffic| !traffic.is_busy()).await;
        sleep(FAREWELL).await;
        if traffic.quiet() >= FAREWELL {
            return;
        }
    }
}

/// Returns when the server stops, every call was answered, and who watches has had time to hear of it. A client that
/// does not take what it is told holds nobody up.
async fn owes_nothing(traffic: &Traffic, stopping: &Stopping) {
    stopping.told().await;
    traffic.until(|traffic| !traffic.owes_answers()).await;
    sleep(FAREWELL).await;
}
