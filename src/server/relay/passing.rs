//! A stream of an agent's answers on its way to one client, whatever it holds. It is read from the agent only when the client
//! takes it.

use super::{answers::failure, streams::OpenStream};
use crate::{
    error::Error,
    sandbox::{Reached, Watching},
};
use futures_util::{Stream, StreamExt, future::BoxFuture};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::{Status, Streaming};

/// An agent's answers.
pub(in crate::server) struct Passing<T> {
    state: State<T>,
    reached: Reached,
    /// Ends the call when the server stops.
    server_stops: BoxFuture<'static, ()>,
    _watching: Watching,
    _stream: OpenStream,
}

enum State<T> {
    Open(Box<Streaming<T>>),
    Failing(BoxFuture<'static, Status>),
    Closed,
}

impl<T> Passing<T> {
    pub(in crate::server) fn new(agent: Streaming<T>, reached: Reached, stream: OpenStream) -> Self {
        let (_watching, server_stops) = (reached.watch(), Box::pin(reached.server_stops()));
        Self { state: State::Open(Box::new(agent)), reached, server_stops, _watching, _stream: stream }
    }
}

impl<T> Stream for Passing<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Closed => return Poll::Ready(None),
                State::Failing(failure) => {
                    let status = ready!(failure.as_mut().poll(cx));
                    this.state = State::Closed;
                    return Poll::Ready(Some(Err(status)));
                }
                State::Open(agent) => {
                    if this.server_stops.as_mut().poll(cx).is_ready() {
                        this.state = State::Closed;
                        return Poll::Ready(Some(Err(Error::stopping().into())));
                    }
                    match ready!(agent.poll_next_unpin(cx)) {
                        Some(Ok(message)) => return Poll::Ready(Some(Ok(message))),
                        None => this.state = State::Closed,
                        Some(Err(status)) => {
                            let reached = this.reached.clone();
                            this.state = State::Failing(Box::pin(async move { failure(&reached, status).await }));
                        }
                    }
                }
            }
        }
    }
}
