//! A client's input on its way to the agent: each message is checked and passed on unchanged.

use crate::{
    api::v1::{CloseStdin, ExecRequest, ExecStart, InputAt, exec_request::Request},
    error::Error,
    rpc::status,
    server::request::validate::StdinRules,
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future::Fuse};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{sync::oneshot, time::Sleep};
use tonic::{Status, Streaming};

/// Time in which the answers of a call that was reset are dropped. gRPC libraries show the server a call that was reset,
/// or whose client is gone, as a stream of requests that ended.
const RESET_SHOWS_WITHIN: Duration = Duration::from_millis(20);

/// Input that the agent gets at once. It lives within the sandbox's memory, where a message of the client's may not fit in.
const MOST_IN_A_PIECE: usize = 64 << 10;

/// The stream that the agent gets. It is read from the client only when the agent takes it. It never ends while the call
/// lasts, and its end says nothing: when the input has ended, the agent is told by `close_stdin`.
pub(in crate::server) struct Stdin {
    start: Option<ExecStart>,
    /// What is left of a message with input. The agent gets it in pieces, each only when it asks for it.
    input: Input,
    /// Whether the agent knows input that has a place.
    knows_places: bool,
    client: Client,
    rules: StdinRules,
    /// Tells the output's side what is wrong. The agent hears nothing of it, so the command goes on as it does for any
    /// client that goes away.
    violation: Option<oneshot::Sender<Status>>,
    /// Resolved when the call is over, by its end or because the client is gone. Without it a client that never ends its
    /// stream would keep the agent's open.
    over: oneshot::Receiver<()>,
}

enum Client {
    Speaks(Box<Streaming<ExecRequest>>),
    /// Its stream has ended. If its answers are still wanted after this time, its input has.
    Ended(Pin<Box<Sleep>>),
    /// Nothing more comes.
    Silent,
}

/// The other ends: what was wrong, and to be dropped when the call is over.
/// Fused, because both the call's start and its output ask for what was wrong.
pub(in crate::server) type Ends = (Fuse<oneshot::Receiver<Status>>, oneshot::Sender<()>);

impl Stdin {
    /// Takes the start from a client's stream.
    pub(in crate::server) async fn start(client: &mut Streaming<ExecRequest>) -> Result<ExecStart, Status> {
        match client.message().await.map_err(status::explain)?.and_then(|message| message.request) {
            Some(Request::Start(start)) => Ok(start),
            _ => Err(Error::invalid("start", "is required: the first message of Exec says what to run").into()),
        }
    }

    /// Sends a start and then what the client sends.
    pub(in crate::server) fn new(start: ExecStart, client: Streaming<ExecRequest>, knows_places: bool) -> (Self, Ends) {
        let (violation, violated) = oneshot::channel();
        let (end, over) = oneshot::channel();
        let rules = StdinRules::after(&start);
        (
            Self {
                start: Some(start),
                input: Input::default(),
                knows_places,
                client: Client::Speaks(Box::new(client)),
                rules,
                violation: Some(violation),
                over,
            },
            (violated.fuse(), end),
        )
    }
}

/// Input of one message, and where it belongs if that is known.
#[derive(Default)]
struct Input {
    data: Bytes,
    at: Option<i64>,
    ends: bool,
}

impl Input {
    /// What the agent gets next of it.
    fn next_piece(&mut self) -> Option<ExecRequest> {
        if self.data.is_empty() && !self.ends {
            return None;
        }
        let data = self.data.split_to(self.data.len().min(MOST_IN_A_PIECE));
        let request = match &mut self.at {
            Some(at) => {
                let offset = std::mem::replace(at, at.saturating_add(data.len() as i64));
                let end = self.data.is_empty() && std::mem::take(&mut self.ends);
                Request::InputAt(InputAt { offset, data, end })
            }
            None if data.is_empty() => {
                self.ends = false;
                Request::CloseStdin(CloseStdin {})
            }
            None => Request::Stdin(data),
        };
        Some(ExecRequest { request: Some(request) })
    }
}

/// Whether a client's stream broke, as against one that says something wrong. Its input has not ended: it may come back
/// with the same request_id.
fn is_lost(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::Cancelled | tonic::Code::Unknown | tonic::Code::Unavailable)
}

impl Stream for Stdin {
    type Item = ExecRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ExecRequest>> {
        let this = self.get_mut();
        if let Some(start) = this.start.take() {
            return Poll::Ready(Some(ExecRequest { request: Some(Request::Start(start)) }));
        }
        if Pin::new(&mut this.over).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            if let Some(piece) = this.input.next_piece() {
                return Poll::Ready(Some(piece));
            }
            let status = match &mut this.client {
                Client::Silent => return Poll::Pending,
                Client::Ended(answers_wanted) => {
                    ready!(answers_wanted.as_mut().poll(cx));
                    this.client = Client::Silent;
                    return Poll::Ready(Some(ExecRequest { request: Some(Request::CloseStdin(CloseStdin {})) }));
                }
                Client::Speaks(client) => match ready!(client.poll_next_unpin(cx)) {
                    Some(Ok(message)) => match this.rules.check(&message) {
                        Ok(()) => match message.request {
                            Some(Request::Stdin(data)) => {
                                this.input = Input { data, at: None, ends: false };
                                continue;
                            }
                            Some(Request::InputAt(InputAt { offset, data, end })) => {
                                let at = this.knows_places.then_some(offset);
                                this.input = Input { data, at, ends: end };
                                continue;
                            }
                            request => return Poll::Ready(Some(ExecRequest { request })),
                        },
                        Err(error) => Some(error.into()),
                    },
                    Some(Err(status)) if is_lost(&status) => None,
                    Some(Err(status)) => Some(status::explain(status)),
                    None if this.rules.an_end_closes() => {
                        this.client = Client::Ended(Box::pin(tokio::time::sleep(RESET_SHOWS_WITHIN)));
                        continue;
                    }
                    None => None,
                },
            };
            this.client = Client::Silent;
            if let (Some(status), Some(violation)) = (status, this.violation.take()) {
                drop(violation.send(status));
            }
        }
    }
}
