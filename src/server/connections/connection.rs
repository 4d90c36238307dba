//! One connection from its beginning to its end: encryption, HTTP/2, and when it must go.

use super::{
    ends::{FAREWELL, outstays, serve},
    first_bytes::{Spoken, recognize},
    memory::GiveBack,
    places::Place,
    refusal::say_in_http1,
    scheme::{agree, say_that_there_is_no_tls},
};
use crate::{
    rpc::{
        lanes::{Carried, Executor, Lanes},
        transport::MAX_FRAME_BYTES,
    },
    server::{
        layers::{
            calls::{CallService, Calls},
            intake::Memory,
            stopping::Stopping,
            traffic::Traffic,
        },
        web::{self, Web},
    },
};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// Unread input that one call may have under way. Input is small; the output's window is the client's to choose.
const INPUT_WINDOW: u32 = 1 << 20;
/// Unread input of all calls of a connection together. Input that no command reads stays in its window, so a client
/// with this much of it can send nothing more on this connection until some of it is read.
const CONNECTION_INPUT_WINDOW: u32 = 64 << 20;
/// Calls of one connection at one time. Each long-lived stream of a client counts, so there is room for many.
const MAX_STREAMS: u32 = 4096;

/// Calls on one connection that may be cancelled before the server has looked at them; beyond that the connection is closed, with all
/// calls on it. HTTP/2 libraries allow 20 against attackers, which one client that cancels many calls reaches on a busy host. Each may
/// hold its headers, so 256 of them 8 MiB.
const MOST_RESETS: usize = 256;
/// Headers of one request. With more of them the call is refused; with four times as much the connection ends, because
/// that much is not even read.
const MAX_HEADER_BYTES: u32 = 32 << 10;
/// A client that vanished without a word is noticed after both together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the head of a request may take over HTTP/1.1, and how long a connection may be silent between two.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// What all connections of a server share.
#[derive(Clone)]
pub(in crate::server) struct Protocol<S> {
    lanes: Lanes,
    tls: Option<TlsAcceptor>,
    /// Spoken too, if there is one.
    web: Option<Web>,
    service: S,
    stopping: Stopping,
    memory: Arc<Memory>,
    give_back: GiveBack,
}

impl<S: CallService> Protocol<S> {
    pub(in crate::server) fn new(service: S, tls: Option<TlsAcceptor>, stopping: Stopping) -> Self {
        Self {
            lanes: Lanes::default(),
            tls,
            web: None,
            service,
            stopping,
            memory: Arc::default(),
            give_back: GiveBack::default(),
        }
    }

    /// Speaks gRPC-Web too, also over HTTP/1.1.
    pub(in crate::server) fn with_web(self, web: Option<Web>) -> Self {
        Self { web, ..self }
    }

    /// Has work in these lanes.
    pub(in crate::server) fn with_lanes(self, lanes: Lanes) -> Self {
        Self { lanes, ..self }
    }

    /// What connections are encrypted with.
    pub(super) fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.clone()
    }

    /// Serves one connection until it ends. It is counted in `connections`.
    pub(super) fn serve<IO>(self, io: IO, place: Place, connections: &TaskTracker)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (flow, give_back) = (self.lanes.flow(), self.give_back.clone());
        let io = Carried::new(io, flow.clone());
        let executor = flow.executor();
        flow.spawn(connections.track_future(async move {
            self.serve_until_it_ends(io, place, executor).await;
            give_back.soon();
        }));
    }

    async fn serve_until_it_ends<IO>(self, io: IO, place: Place, executor: Executor)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let traffic = place.traffic().clone();
        let http = http(executor);
        let Some(tls) = self.tls.clone() else { return self.speak(io, traffic, &http).await };
        let encrypted = tokio::select! {
            encrypted = agree(&tls, &http, io) => encrypted,
            () = traffic.ended() => return,
            () = self.stopping.begun() => return,
        };
        match encrypted {
            Ok(Some(io)) => self.speak(io, traffic, &http).await,
            Ok(None) => tracing::debug!("a client speaks no TLS"),
            Err(error) => tracing::debug!(%error, "a client did not agree on encryption"),
        }
    }

    async fn speak<IO>(self, io: IO, traffic: Arc<Traffic>, http: &http2::Builder<Executor>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let recognized = tokio::select! {
            // First what is there already: it may be told in order that the server stops.
            biased;
            recognized = recognize(io) => recognized,
            () = traffic.ended() => return,
            () = outstays(&traffic) => return,
            () = self.stopping.begun() => return,
        };
        let Ok((spoken, io)) = recognized else { return };
        let is_web = self.web.is_some();
        let calls = Calls::new(self.service, traffic.clone(), self.memory, self.web);
        match spoken {
            Spoken::Http2 => {
                let connection = http.serve_connection(TokioIo::new(io), calls);
                serve(connection, |connection| connection.graceful_shutdown(), &traffic, &self.stopping).await;
            }
            Spoken::Http1 if is_web => {
                let connection = http1().serve_connection(TokioIo::new(io), calls);
                serve(connection, |connection| connection.graceful_shutdown(), &traffic, &self.stopping).await;
            }
            Spoken::Http1 => {
                // Whether anybody reads it makes no difference.
                drop(timeout(FAREWELL, say_in_http1(io, "505 HTTP Version Not Supported", web::OFF)).await);
            }
            Spoken::Tls => say_that_there_is_no_tls(io).await,
        }
    }
}

/// Settings of HTTP/1.1, which gRPC-Web may come by.
fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(MAX_HEADER_BYTES as usize);
    http
}

/// HTTP/2 settings that suit many long streams.
pub(super) fn http(executor: Executor) -> http2::Builder<Executor> {
    let mut http = http2::Builder::new(executor);
    http.timer(TokioTimer::new())
        .initial_stream_window_size(INPUT_WINDOW)
        .initial_connection_window_size(CONNECTION_INPUT_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_pending_accept_reset_streams(Some(MOST_RESETS))
        // gRPC knows no date.
        .auto_date_header(false)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    http
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            ends::STRANGERS_PATIENCE,
            places::{Most, Places},
        },
        *,
    };
    use bytes::Bytes;
    use http::{Request, Response};
    use std::{convert::Infallible, pin::Pin};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::JoinHandle,
        time::Instant,
    };
    use tonic::body::Body;
    use tower::service_fn;

    /// An HTTP/2 preface and empty settings.
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// A connection to a service that answers nothing.
    fn connect(stopping: &Stopping) -> (DuplexStream, Arc<Traffic>, JoinHandle<()>) {
        let service = service_fn(async |_: Request<Body>| {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let place = Places::new(Most::default()).take(None).unwrap();
        let traffic = place.traffic().clone();
        let (client, server) = duplex(1 << 16);
        let protocol = Protocol::new(service, None, stopping.clone()).with_web(Some(Web::default()));
        let connections = TaskTracker::new();
        protocol.serve(server, place, &connections);
        connections.close();
        (client, traffic, tokio::spawn(async move { connections.wait().await }))
    }

    /// Reads until the end, and says how long that took.
    async fn ends_after(mut client: DuplexStream) -> Duration {
        let start = Instant::now();
        client.read_to_end(&mut Vec::new()).await.unwrap();
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_may_be_silent_for_a_while_only() {
        for said in [&b""[..], &PREFACE[..10], PREFACE, b"POS", b"POST / HTTP/1.1\r\nhost: x\r\n"] {
            let (mut client, ..) = connect(&Stopping::default());
            client.write_all(said).await.unwrap();
            let time = ends_after(client).await;
            assert!(time >= STRANGERS_PATIENCE && time < STRANGERS_PATIENCE + 2 * FAREWELL, "{time:?} after {said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_let_in_may_be_silent_for_long() {
        let (mut client, traffic, _served) = connect(&Stopping::default());
        client.write_all(PREFACE).await.unwrap();
        traffic.now_known();
        // It answers pings, as every client does, and says nothing else.
        let silent = async {
            let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
            loop {
                let length = client.read(&mut piece).await.unwrap();
                assert!(length > 0, "the connection was ended");
                seen.extend(&piece[..length]);
                while let Some(frame) = take_frame(&mut seen) {
                    if frame[3] == 6 && frame[4] == 0 {
                        let answer = [&frame[..4], &[1], &frame[5..]].concat();
                        client.write_all(&answer).await.unwrap();
                    }
                }
            }
        };
        assert!(timeout(Duration::from_secs(3600), silent).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_http1_has_so_much_time() {
        let service = service_fn(async |request: Request<Body>| {
            let mut body = request.into_body();
            let failed = loop {
                match std::future::poll_fn(|cx| hyper::body::Body::poll_frame(Pin::new(&mut body), cx)).await {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => break status,
                    None => panic!("it has not ended"),
                }
            };
            Ok::<_, Infallible>(failed.into_http())
        });
        let place = Places::new(Most::default()).take(None).unwrap();
        let protocol = Protocol::new(service, None, Stopping::default()).with_web(Some(Web::default()));
        place.traffic().now_known();
        let (mut client, server) = duplex(1 << 16);
        protocol.serve(server, place, &TaskTracker::new());
        let head =
            "POST /a HTTP/1.1\r\ncontent-type: application/grpc-web\r\ncontent-length: 50\r\nconnection: close\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&[0, 0, 0, 0, 45, 1, 2]).await.unwrap();
        let (start, mut answer) = (Instant::now(), Vec::new());
        let _ = client.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("grpc-status: 8") && answer.contains("did%20not%20come%20in%20time"), "{answer}");
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    fn take_frame(seen: &mut Vec<u8>) -> Option<Bytes> {
        let length = 9 + usize::from(*seen.get(1)?) * 256 + usize::from(*seen.get(2)?);
        (seen.len() >= length).then(|| seen.drain(..length).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopping_server_waits_for_nobody_who_is_silent() {
        for said in [&b""[..], PREFACE] {
            let stopping = Stopping::default();
            let (mut client, _, served) = connect(&stopping);
            client.write_all(said).await.unwrap();
            stopping.begin();
            let start = Instant::now();
            served.await.unwrap();
            assert!(start.elapsed() <= 2 * FAREWELL, "{:?} after {said:?}", start.elapsed());
            drop(client);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_under_way_keep_a_connection_until_they_are_answered() {
        let stopping = Stopping::default();
        let (mut client, traffic, served) = connect(&stopping);
        client.write_all(PREFACE).await.unwrap();
        let (unanswered, unread) = traffic.call();
        stopping.begin();
        stopping.have_told();
        assert!(timeout(Duration::from_secs(40), traffic.ended()).await.is_err());
        assert!(!served.is_finished());
        drop(unanswered);
        let start = Instant::now();
        served.await.unwrap();
        assert!(start.elapsed() <= 2 * FAREWELL, "what is not read holds nobody up");
        drop(unread);
    }
}
