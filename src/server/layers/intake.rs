//! What a server takes in before a call is answered: how large each message may be, how long it may be on its way, and
//! how much of them is held at one time.

use super::{
    framing::{Fault, Framing},
    traffic::Traffic,
};
use crate::{
    error::{Error, Reason},
    rpc::transport::{MAX_MESSAGE_BYTES, MESSAGE_ROOM},
};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Code, Status};

/// Where no key is needed nobody has much to say.
const LARGEST_WITHOUT_KEY: usize = 4 << 10;
/// Where a command's text or input is sent, or a patch.
const LARGEST_START: usize = MAX_MESSAGE_BYTES;
/// Elsewhere: environments may have 1 MiB, and labels come on top. A piece of a file has 2 MiB.
const LARGEST: usize = 2 << 20;
const LARGEST_PIECE: usize = (2 << 20) + MESSAGE_ROOM;

/// Messages up to this size are taken whatever is held. There are so many streams on a connection and no more.
const SMALL: usize = 16 << 10;
/// Bytes of larger messages that are held at one time.
const HELD_OF_CONNECTION: usize = 128 << 20;
const HELD_IN_ALL: usize = 512 << 20;

/// How long a message may be on its way: this, and a second for so many bytes that came. Only what is spent waiting
/// for the client counts.
const PATIENCE: Duration = Duration::from_secs(30);
const BYTES_A_SECOND: usize = 16 << 10;

/// How large the messages to a method may be.
pub(super) fn largest(path: &str) -> usize {
    if super::auth::needs_no_key(path) {
        return LARGEST_WITHOUT_KEY;
    }
    match path {
        "/sandshell.v1.SessionService/Run" | "/sandshell.v1.SessionService/Exec" => LARGEST_START,
        "/sandshell.v1.VerificationService/StartVerification" => LARGEST_START,
        "/sandshell.v1.FileService/Write" | "/sandshell.v1.FileService/Import" => LARGEST_PIECE,
        _ => LARGEST,
    }
}

/// What all calls hold together.
#[derive(Debug, Default)]
pub(in crate::server) struct Memory(AtomicUsize);

/// What one call holds: its message, from its first byte until the call is answered or the next message begins.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    traffic: Arc<Traffic>,
    bytes: AtomicUsize,
}

impl Held {
    pub(super) fn nothing(memory: Arc<Memory>, traffic: Arc<Traffic>) -> Arc<Self> {
        Arc::new(Self { memory, traffic, bytes: AtomicUsize::new(0) })
    }

    /// Holds so much from now on, unless that is too much.
    fn hold(&self, bytes: usize) -> Result<(), Error> {
        let bytes = if bytes <= SMALL { 0 } else { bytes };
        let before = self.bytes.swap(bytes, Relaxed);
        if bytes <= before {
            self.give_back(before - bytes);
            return Ok(());
        }
        let more = bytes - before;
        let of_connection = self.traffic.held().fetch_add(more, Relaxed) + more;
        let in_all = self.memory.0.fetch_add(more, Relaxed) + more;
        if of_connection > HELD_OF_CONNECTION || in_all > HELD_IN_ALL {
            return Err(busy());
        }
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        self.traffic.held().fetch_sub(bytes, Relaxed);
        self.memory.0.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.bytes.load(Relaxed));
    }
}

fn busy() -> Error {
    Error::Exhausted {
        reason: Reason::ServerBusy,
        message: "the server holds as many large messages as it may; send fewer at one time, or try again".to_owned(),
        retry_after: Some(Duration::from_secs(1)),
    }
}

/// A request's body, watched.
pub(super) struct Intake<B> {
    body: B,
    framing: Framing,
    held: Arc<Held>,
    waiting: Waiting,
    failed: bool,
}

/// The time that was spent waiting for the message that comes.
#[derive(Default)]
struct Waiting {
    spent: Duration,
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<B> Intake<B> {
    pub(super) fn new(body: B, largest: usize, held: Arc<Held>) -> Self {
        Self { body, framing: Framing::new(largest), held, waiting: Waiting::default(), failed: false }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), Status> {
        self.framing.take(data).map_err(|fault| explain(fault, self.framing.largest()))?;
        self.held.hold(self.framing.bytes()).map_err(Status::from)
    }

    fn fail<T>(&mut self, status: Status) -> Poll<Option<Result<T, BoxError>>> {
        self.failed = true;
        Poll::Ready(Some(Err(status.into())))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client has given the call up, or is gone. Not `cancelled`, which gRPC takes for an ordinary end.
fn gone() -> Status {
    Status::unavailable("the call was given up before all of it was sent")
}

fn explain(fault: Fault, largest: usize) -> Status {
    let invalid = |description: &str| Error::invalid("message", description);
    match fault {
        Fault::TooLarge => {
            let message = format!("the message is larger than the {largest} bytes that this method takes");
            Error::exhausted(Reason::MessageTooLarge, message)
        }
        Fault::Compressed => invalid("is compressed, which this server does not take"),
        Fault::Cut => invalid("is not valid protobuf: it ends before its length"),
        Fault::Empty => invalid("is required"),
    }
    .into()
}

impl Waiting {
    /// Whether the client has taken too long.
    fn poll_too_long(&mut self, came: usize, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let allowed = PATIENCE + Duration::from_secs((came / BYTES_A_SECOND) as u64);
        let left = allowed.saturating_sub(self.spent + since.elapsed());
        self.alarm.get_or_insert_with(|| Box::pin(sleep(left))).as_mut().poll(cx)
    }

    fn something_came(&mut self) {
        self.alarm = None;
        if let Some(since) = self.since.take() {
            self.spent += since.elapsed();
        }
    }
}

impl<B> Body for Intake<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        let Poll::Ready(came) = Pin::new(&mut this.body).poll_frame(cx) else {
            if !this.framing.is_unfinished() {
                return Poll::Pending;
            }
            ready!(this.waiting.poll_too_long(this.framing.bytes(), cx));
            let message = "the message did not come in time; send it without pausing".to_owned();
            return this.fail(Error::exhausted(Reason::MessageTooSlow, message).into());
        };
        this.waiting.something_came();
        match came {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if let Err(status) = this.take(data) {
                        return this.fail(status);
                    }
                    if !this.framing.is_unfinished() {
                        this.waiting = Waiting::default();
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // A client that cancels its call resets the stream, or over HTTP/1.1 the connection, which is an unknown error. tonic takes a
            // cancelled call for the end of the messages, and a part of a file would be taken for the whole.
            Some(Err(error)) => match Status::from_error(error.into()) {
                status if matches!(status.code(), Code::Cancelled | Code::Unknown) => this.fail(gone()),
                status => this.fail(status),
            },
            // A stream that was reset may also look like one whose body has ended; only its own end is the client's word.
            None if !this.body.is_end_stream() => this.fail(gone()),
            None => match this.framing.end() {
                Ok(()) => Poll::Ready(None),
                Err(fault) => this.fail(explain(fault, this.framing.largest())),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        // An empty body is a fault, which is told by its end.
        self.failed || self.body.is_end_stream() && self.framing.end().is_ok()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::sync::mpsc;
    use tonic_types::StatusExt;

    /// What a client sends, frame by frame.
    struct Sent(mpsc::UnboundedReceiver<Bytes>);

    impl Body for Sent {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_closed() && self.0.is_empty()
        }
    }

    struct Kit {
        memory: Arc<Memory>,
        traffic: Arc<Traffic>,
    }

    impl Kit {
        fn new() -> Self {
            Self { memory: Arc::default(), traffic: Arc::new(Traffic::new(None)) }
        }

        fn body(&self) -> (mpsc::UnboundedSender<Bytes>, Intake<Sent>) {
            let (send, sent) = mpsc::unbounded_channel();
            let held = Held::nothing(self.memory.clone(), self.traffic.clone());
            (send, Intake::new(Sent(sent), LARGEST_START, held))
        }
    }

    fn begin(length: u32) -> Bytes {
        [&[0], &length.to_be_bytes()[..]].concat().into()
    }

    async fn next(body: &mut Intake<Sent>) -> Result<(), String> {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => {
                let status = Status::from_error(error);
                Err(status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
            }
            None => Err("the end".into()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unfinished_message_has_so_much_time() {
        let (send, mut body) = Kit::new().body();
        send.send(begin(1 << 20)).unwrap();
        next(&mut body).await.unwrap();
        let start = Instant::now();
        assert_eq!(next(&mut body).await.unwrap_err(), "MESSAGE_TOO_SLOW");
        assert_eq!(start.elapsed(), PATIENCE);
        assert_eq!(next(&mut body).await.unwrap_err(), "the end");
    }

    #[tokio::test(start_paused = true)]
    async fn dripping_gains_no_time_and_moving_on_does() {
        for (piece, outcome) in [(1, "MESSAGE_TOO_SLOW"), (16 << 10, "the end")] {
            let (send, mut body) = Kit::new().body();
            send.send(begin(200 * piece)).unwrap();
            tokio::spawn(async move {
                for _ in 0..200 {
                    sleep(Duration::from_secs(1)).await;
                    let _ = send.send(vec![0; piece as usize].into());
                }
            });
            let ended = loop {
                if let Err(reason) = next(&mut body).await {
                    break reason;
                }
            };
            assert_eq!(ended, outcome);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn between_messages_a_client_may_be_silent_and_so_may_we() {
        let (send, mut body) = Kit::new().body();
        send.send([&begin(2)[..], b"ab"].concat().into()).unwrap();
        next(&mut body).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(3600), next(&mut body)).await.is_err(), "silence");
        // What is not asked for is not late.
        send.send(begin(2)).unwrap();
        next(&mut body).await.unwrap();
        sleep(Duration::from_secs(3600)).await;
        send.send(Bytes::from_static(b"ab")).unwrap();
        next(&mut body).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_bounded_and_given_back() {
        let kit = Kit::new();
        let mut bodies = Vec::new();
        let piece = Bytes::from(vec![0; 4 << 20]);
        let refused = loop {
            let (send, mut body) = kit.body();
            send.send(begin(32 << 20)).unwrap();
            send.send(piece.clone()).unwrap();
            next(&mut body).await.unwrap();
            if let Err(reason) = next(&mut body).await {
                break reason;
            }
            bodies.push((send, body));
            assert!(bodies.len() <= 32);
        };
        assert_eq!((refused.as_str(), bodies.len()), ("SERVER_BUSY", 31));
        // Small ones are always taken.
        let (send, mut small) = kit.body();
        send.send([&begin(2)[..], b"ab"].concat().into()).unwrap();
        next(&mut small).await.unwrap();
        bodies.pop();
        let (send, mut body) = kit.body();
        send.send(begin(4 << 20)).unwrap();
        send.send(piece.clone()).unwrap();
        next(&mut body).await.unwrap();
        next(&mut body).await.unwrap();
        drop((bodies, body));
        assert_eq!((kit.memory.0.load(Relaxed), kit.traffic.held().load(Relaxed)), (0, 0));
    }

    /// A stream that was reset.
    struct Reset;

    impl Body for Reset {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(Some(Err(Status::cancelled("reset"))))
        }
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_has_not_ended_in_order() {
        let kit = Kit::new();
        let mut body = Intake::new(Reset, LARGEST, Held::nothing(kit.memory, kit.traffic));
        let came = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let status = Status::from_error(came.expect("not the end").expect_err("no bytes"));
        assert_eq!(status.code(), Code::Unavailable, "tonic makes an end of CANCELLED");
    }

    #[test]
    fn each_method_takes_what_it_needs() {
        assert_eq!(largest("/grpc.health.v1.Health/Check"), LARGEST_WITHOUT_KEY);
        assert_eq!(largest("/sandshell.v1.SessionService/Exec"), LARGEST_START);
        assert_eq!(largest("/sandshell.v1.SandboxService/CreateSandbox"), LARGEST);
    }
}
