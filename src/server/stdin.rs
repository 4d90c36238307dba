//! A client's input on its way to the agent: each message is checked and passed on unchanged.

use super::validate::StdinRules;
use crate::{
    api::v1::{ExecRequest, ExecStart, exec_request::Request},
    error::Error,
    rpc::status,
};
use futures_util::{FutureExt, Stream, StreamExt, future::Fuse};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

/// The stream that the agent gets. It is read from the client only when the agent takes it.
pub(super) struct Stdin {
    start: Option<ExecStart>,
    client: Streaming<ExecRequest>,
    rules: StdinRules,
    /// Tells the output's side what is wrong; taken by the first violation. The agent hears nothing of it, so the command
    /// goes on as it does for any client that goes away.
    violation: Option<oneshot::Sender<Status>>,
    /// Whether the client is gone.
    lost: bool,
    /// Resolved when the call is over. Without it a client that never ends its stream would keep the agent's open.
    over: oneshot::Receiver<()>,
}

/// The other ends: what was wrong, and to be dropped when the call is over.
/// Fused, because both the call's start and its output ask for what was wrong.
pub(super) type Ends = (Fuse<oneshot::Receiver<Status>>, oneshot::Sender<()>);

impl Stdin {
    /// Takes the start from a client's stream.
    pub(super) async fn start(client: &mut Streaming<ExecRequest>) -> Result<ExecStart, Status> {
        match client.message().await.map_err(status::explain)?.and_then(|message| message.request) {
            Some(Request::Start(start)) => Ok(start),
            _ => Err(Error::invalid("start", "is required: the first message of Exec says what to run").into()),
        }
    }

    /// Sends a start and then what the client sends.
    pub(super) fn new(start: ExecStart, client: Streaming<ExecRequest>) -> (Self, Ends) {
        let (violation, violated) = oneshot::channel();
        let (end, over) = oneshot::channel();
        let rules = StdinRules::after(&start);
        (
            Self { start: Some(start), client, rules, violation: Some(violation), lost: false, over },
            (violated.fuse(), end),
        )
    }
}

/// Whether a client's stream broke, as against one that says something wrong.
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
        if this.lost {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.over).poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(None),
            Poll::Ready(Err(_)) => {
                // The client is gone. An end alone would look like the end of the input, so an empty message, which no
                // client may send, comes first.
                this.lost = true;
                return Poll::Ready(Some(ExecRequest { request: None }));
            }
            Poll::Pending => {}
        }
        if this.violation.is_none() {
            return Poll::Pending;
        }
        let status = match ready!(this.client.poll_next_unpin(cx)) {
            Some(Ok(message)) => match this.rules.check(&message) {
                Ok(()) => return Poll::Ready(Some(message)),
                Err(error) => error.into(),
            },
            // A client that is lost has not ended its input: it may come back with the same request_id.
            Some(Err(status)) if is_lost(&status) => {
                this.violation = None;
                return Poll::Pending;
            }
            Some(Err(status)) => status::explain(status),
            None => return Poll::Ready(None),
        };
        if let Some(violation) = this.violation.take() {
            drop(violation.send(status));
        }
        Poll::Pending
    }
}
