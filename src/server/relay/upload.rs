//! What a client sends in a stream, on its way to the agent. The agent must never take a part for the whole: it hears that the
//! client has sent all by one empty message, and only after the client's stream has come to its end in order.

use crate::rpc::status;
use futures_util::{Stream, StreamExt};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

/// Messages of one call.
pub(in crate::server) struct Upload<T> {
    first: Option<T>,
    client: Option<Streaming<T>>,
    check: fn(&T) -> Result<(), Status>,
    /// Tells the call's side what is wrong. The agent hears nothing more.
    violation: Option<oneshot::Sender<Status>>,
}

impl<T> Upload<T> {
    /// Sends the first message and then what the client sends, each checked; and where to hear what was wrong.
    pub(in crate::server) fn new(
        first: T,
        client: Streaming<T>,
        check: fn(&T) -> Result<(), Status>,
    ) -> (Self, oneshot::Receiver<Status>) {
        let (violation, violated) = oneshot::channel();
        (Self { first: Some(first), client: Some(client), check, violation: Some(violation) }, violated)
    }
}

impl<T: Default + Unpin> Stream for Upload<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        let Some(client) = &mut this.client else { return Poll::Ready(None) };
        let wrong = match ready!(client.poll_next_unpin(cx)) {
            Some(Ok(message)) => match (this.check)(&message) {
                Ok(()) => return Poll::Ready(Some(message)),
                Err(status) => status,
            },
            Some(Err(status)) => status::explain(status),
            None => {
                this.client = None;
                return Poll::Ready(Some(T::default()));
            }
        };
        this.client = None;
        if let Some(violation) = this.violation.take() {
            drop(violation.send(wrong));
        }
        Poll::Ready(None)
    }
}
