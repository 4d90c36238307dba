//! Messages on their way in. The first of a call may be large, a text of a few MiB or all of an input, and it is in memory
//! before anybody has looked at it. So it is charged for as soon as its length is known, or refused.

use crate::agent::output::{Budget, Charge};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// What is before each message of gRPC: whether it is compressed, and its length in four bytes.
const HEADER: usize = 5;

/// The body of a request.
pub(in crate::agent) struct Arriving<B, R> {
    body: B,
    charge: Charge,
    header: [u8; HEADER],
    stage: Stage,
    /// Makes the error for a message of this length.
    refuse: R,
}

enum Stage {
    /// So many bytes of the first message's header are here.
    Header(usize),
    /// So many bytes of the first message are to come.
    Message(usize),
    /// The first message is whole, and nobody has taken it yet.
    Whole,
    /// Later messages are short: they are pieces of input, as the server cuts them.
    Taken,
}

impl<B, R> Arriving<B, R> {
    /// A body of which nothing is here yet.
    pub(in crate::agent) fn new(body: B, budget: &Arc<Budget>, refuse: R) -> Self {
        Self { body, charge: budget.nothing(), header: [0; HEADER], stage: Stage::Header(0), refuse }
    }
}

impl<B, E, R: Fn(usize) -> E> Arriving<B, R> {
    fn note(&mut self, mut data: &[u8]) -> Result<(), E> {
        if let Stage::Header(have) = self.stage {
            let (header, rest) = data.split_at(data.len().min(HEADER - have));
            self.header[have..have + header.len()].copy_from_slice(header);
            if have + header.len() < HEADER {
                self.stage = Stage::Header(have + header.len());
                return Ok(());
            }
            let [_, length @ ..] = self.header;
            let length = u32::from_be_bytes(length) as usize;
            if !self.charge.try_grow(length) {
                return Err((self.refuse)(length));
            }
            self.stage = Stage::Message(length);
            data = rest;
        }
        if let Stage::Message(left) = self.stage {
            self.stage = if data.len() < left { Stage::Message(left - data.len()) } else { Stage::Whole };
        }
        Ok(())
    }
}

impl<B: Body<Data = Bytes> + Unpin, R: Fn(usize) -> B::Error + Unpin> Body for Arriving<B, R> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let Stage::Whole = this.stage {
            // Whoever took the message has charged for what is kept of it.
            this.charge.set(0);
            this.stage = Stage::Taken;
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref())
            && let Err(refusal) = this.note(data)
        {
            return Poll::Ready(Some(Err(refusal)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::collections::VecDeque;

    /// A body in pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = usize;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, usize>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn message(length: usize) -> Vec<u8> {
        let header = [&[0][..], &(length as u32).to_be_bytes()].concat();
        [header, vec![b'x'; length]].concat()
    }

    fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Result<Bytes, B::Error>> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).now_or_never();
        let frame = frame.expect("nothing to wait for")?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    proptest::proptest! {
        #[test]
        fn a_first_message_is_charged_until_it_is_taken(
            length in 0_usize..70_000,
            more in 0_usize..70_000,
            piece in 1_usize..20_000,
        ) {
            let budget = Budget::of(100_000);
            let all = [message(length), message(more)].concat();
            let pieces = all.chunks(piece).map(Bytes::copy_from_slice).collect();
            let mut body = Arriving::new(Pieces(pieces), &budget, |length| length);
            let fits = budget.hold(length).is_some();
            let mut taken = 0;
            while let Some(data) = next(&mut body) {
                let Ok(data) = data else {
                    assert!(!fits && data == Err(length));
                    return Ok(());
                };
                let seen = taken..taken + data.len();
                taken = seen.end;
                let charged = seen.end >= HEADER && seen.start < HEADER + length.max(1);
                assert_eq!(budget.used(), if charged { length } else { 0 }, "{seen:?} of {length}");
            }
            assert!(fits && taken == all.len() && budget.used() == 0);
        }
    }
}
