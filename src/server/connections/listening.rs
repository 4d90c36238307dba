//! Takes connections for as long as the server runs.

use super::{
    connection::{self, Protocol},
    places::Places,
    refusal::Refusal,
    transport::Transport,
};
use crate::{
    rpc::lanes::{Lanes, Socket},
    server::layers::calls::CallService,
};
use futures_util::{Stream, StreamExt};
use std::{io, pin::pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::TaskTracker;

/// Pauses after a failure that concerns no single connection, as when there are no descriptors: it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Serves every connection that comes in, until there are no more. What serves them is counted in `connections`, and
/// goes on when this is dropped.
pub(in crate::server) async fn serve_all<I, IO, S>(
    incoming: I,
    protocol: Protocol<S>,
    places: Arc<Places>,
    connections: &TaskTracker,
) where
    I: Stream<Item = io::Result<IO>>,
    IO: Transport,
    S: CallService,
{
    let refusal = Refusal::new(connection::http(Lanes::default().flow().executor()));
    let mut incoming = pin!(incoming);
    let mut pause = FIRST_PAUSE;
    while let Some(accepted) = incoming.next().await {
        match accepted {
            Ok(io) => {
                pause = FIRST_PAUSE;
                match places.take(io.peer()) {
                    Ok(place) => protocol.clone().serve::<Socket>(io.into(), place, connections),
                    Err(full) => {
                        tracing::debug!(?full, "a connection was refused");
                        refusal.refuse(io, protocol.tls(), full);
                    }
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "no connection can be taken now");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether a client went away before its connection was taken.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | NotConnected | TimedOut)
}

/// Connections to an address. What is sent goes out at once.
pub(in crate::server) fn tcp(listener: TcpListener) -> impl Stream<Item = io::Result<tokio::net::TcpStream>> {
    TcpListenerStream::new(listener).map(|accepted| {
        accepted.inspect(|stream| {
            // Refused, it costs speed only.
            let _ = stream.set_nodelay(true);
        })
    })
}
