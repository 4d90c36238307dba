//! An answer that is held until the server has taken it. A large one of `Run` is encoded at once, and then waits in memory
//! for as long as nobody reads it.

use crate::agent::output::Charge;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// What an answer holds. It goes with the response to where its body is.
#[derive(Clone)]
pub(in crate::agent) struct Held {
    _charges: Arc<[Charge; 3]>,
}

/// The body of an answer that holds something. HTTP/2 asks for its end when there was room for all that is before it.
pub(in crate::agent) struct Holding<B> {
    body: B,
    _held: Held,
}

impl Held {
    /// What the streams of an answer hold.
    pub(in crate::agent) fn new(charges: [Charge; 3]) -> Self {
        Self { _charges: Arc::new(charges) }
    }

    /// The body with it.
    pub(in crate::agent) fn by<B>(self, body: B) -> Holding<B> {
        Holding { body, _held: self }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Holding<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
