//! What a client sends of a file or an archive, on its way to the agent: its bytes as they come, unless a message has another form than
//! most. The agent must never take a part for the whole: it hears that the client has sent all by one empty message, and only after the
//! client's stream has come to its end in order.

use crate::{
    error::Error,
    rpc::{
        pieces::{self, Bytewise, Form, form, framed},
        status,
    },
};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use prost::Message;
use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::oneshot;
use tonic::Status;

/// Bytes of a piece of data, as its description says.
const MOST_DATA: usize = 2 << 20;

/// Less than this is copied, to be sent on with what comes after it, until it is enough.
const SMALL: usize = 4 << 10;
const ENOUGH: usize = 16 << 10;

/// The refusal of a piece with so many bytes.
fn too_much(bytes: usize) -> Status {
    Error::invalid("data", format!("has {bytes} bytes; at most {MOST_DATA} may come in one message")).into()
}

/// Refuses a piece of data that is too long.
pub(in crate::server) fn check_data(data: &Bytes) -> Result<(), Status> {
    if data.len() > MOST_DATA { Err(too_much(data.len())) } else { Ok(()) }
}

/// The body of a call to the agent.
pub(in crate::server) struct Upload<T> {
    client: Option<Bytewise>,
    /// What may be sent on.
    checked: VecDeque<Bytes>,
    /// What may be sent on after that, and is more of it first: however little comes at one time, it takes no frame of its own on the
    /// connection that all calls for the sandbox's files share.
    small: BytesMut,
    /// What is missing of the data of a message that is on its way.
    left: usize,
    /// The beginning of a message of which more has to come before it is sent on, and with how many bytes it is looked at again. How long a
    /// message may be was seen to before it came here (`layers/intake.rs`).
    begun: BytesMut,
    wanted: usize,
    check: fn(&T) -> Result<(), Status>,
    /// Tells the call's side what is wrong. The agent hears nothing more.
    violation: Option<oneshot::Sender<Status>>,
}

impl<T: Message + Default> Upload<T> {
    /// Sends the first message and then what the client sends, each checked; and where to hear what was wrong.
    pub(in crate::server) fn new(
        first: &T,
        client: Bytewise,
        check: fn(&T) -> Result<(), Status>,
    ) -> (Self, oneshot::Receiver<Status>) {
        let (violation, violated) = oneshot::channel();
        let (checked, small) = (VecDeque::new(), BytesMut::from(framed(first)));
        let (begun, violation) = (BytesMut::new(), Some(violation));
        (Self { client: Some(client), checked, small, left: 0, begun, wanted: 0, check, violation }, violated)
    }

    /// Takes bytes that came.
    fn take(&mut self, came: Bytes) -> Result<(), Status> {
        let bytes = if self.begun.is_empty() {
            came
        } else {
            self.begun.extend_from_slice(&came);
            if self.begun.len() < self.wanted {
                return Ok(());
            }
            self.begun.split().freeze()
        };
        // All before `checked` may be sent on, and was not yet.
        let mut sent = 0;
        let mut checked = self.left.min(bytes.len());
        self.left -= checked;
        while checked < bytes.len() {
            let message = &bytes[checked..];
            let whole = match form(message) {
                Form::Piece { data, .. } if data > MOST_DATA => return Err(too_much(data)),
                Form::Piece { head, data } => {
                    let there = message.len().min(head + data);
                    self.left = head + data - there;
                    checked += there;
                    continue;
                }
                Form::Other { bytes: whole } => whole,
                Form::Cut => message.len() + 1,
            };
            if message.len() < whole {
                self.begun.extend_from_slice(message);
                self.wanted = whole;
                break;
            }
            let decoded = pieces::message(&message[..whole])?;
            (self.check)(&decoded)?;
            self.send(bytes.slice(sent..checked));
            self.send(framed(&decoded));
            checked += whole;
            sent = checked;
        }
        self.send(bytes.slice(sent..checked));
        Ok(())
    }

    fn send(&mut self, bytes: Bytes) {
        if bytes.len() < SMALL {
            self.small.extend_from_slice(&bytes);
            if self.small.len() >= ENOUGH {
                self.send_small();
            }
        } else {
            self.send_small();
            self.checked.push_back(bytes);
        }
    }

    fn send_small(&mut self) {
        if !self.small.is_empty() {
            self.checked.push_back(self.small.split().freeze());
        }
    }
}

impl<T: Message + Default> Body for Upload<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.checked.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(client) = &mut this.client else { return Poll::Ready(None) };
            let Poll::Ready(came) = client.poll_bytes(cx) else {
                // There is no more of it for now.
                this.send_small();
                if this.checked.is_empty() {
                    return Poll::Pending;
                }
                continue;
            };
            let taken = match came {
                Some(Ok(came)) => this.take(came),
                Some(Err(status)) => Err(status),
                None if this.left > 0 || !this.begun.is_empty() => Err(Status::unavailable("the call was cut")),
                None => {
                    this.client = None;
                    this.send(pieces::END);
                    this.send_small();
                    Ok(())
                }
            };
            if let Err(wrong) = taken {
                this.client = None;
                this.send_small();
                if let Some(violation) = this.violation.take() {
                    drop(violation.send(status::explain(wrong)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::v1::{WriteOpen, WriteRequest, write_request::Request},
        rpc::pieces::{Piece, Pieces},
    };
    use futures_util::StreamExt;
    use proptest::prelude::*;
    use tonic::body::Body as GrpcBody;

    /// A client that sends these bytes, cut into such parts.
    fn client(bytes: &[u8], cuts: &[usize]) -> Bytewise {
        let (mut rest, mut parts, mut cuts) = (bytes, Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (part, left) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            parts.push(Ok(Bytes::copy_from_slice(part)));
            rest = left;
        }
        Bytewise::new(GrpcBody::new(Sent(parts.into())))
    }

    struct Sent(VecDeque<Result<Bytes, Status>>);

    impl Body for Sent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|bytes| bytes.map(Frame::data)))
        }
    }

    fn check(message: &WriteRequest) -> Result<(), Status> {
        match message.request {
            Some(Request::Data(_)) => Ok(()),
            Some(Request::Open(_)) => Err(Status::invalid_argument("open")),
            None => Err(Status::invalid_argument("nothing")),
        }
    }

    fn open() -> WriteRequest {
        WriteRequest { request: Some(Request::Open(WriteOpen { parents: true, ..WriteOpen::default() })) }
    }

    /// What the agent hears after the first message, whether that is told to be all, and what is wrong.
    async fn upload(client: Bytewise) -> (Vec<u8>, bool, Option<Status>) {
        let (upload, mut violated) = Upload::new(&open(), client, check);
        let mut heard = Bytewise::new(GrpcBody::new(upload));
        assert_eq!(heard.first().await.unwrap(), Some(open()));
        let (mut data, mut is_all) = (Vec::new(), false);
        let mut pieces = Pieces::after_the_first(heard);
        while let Some(piece) = pieces.next().await {
            match piece.unwrap() {
                Piece::Data(bytes) => data.extend_from_slice(&bytes),
                Piece::End => is_all = true,
            }
        }
        (data, is_all, violated.try_recv().ok())
    }

    /// A piece, perhaps written as no client of ours would: with a field that nobody knows, or twice.
    fn piece(length: usize, odd: u8) -> Vec<u8> {
        let data = Bytes::from(vec![length as u8; length]);
        let mut message = WriteRequest { request: Some(Request::Data(data)) }.encode_to_vec();
        match odd {
            0 => message.extend_from_slice(&[0x18, 7]),
            1 => message = [b"\x12\x03not", &message[..]].concat(),
            _ => {}
        }
        [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat()
    }

    proptest! {
        #[test]
        fn all_that_is_sent_arrives_however_it_is_cut(
            sent in prop::collection::vec((prop_oneof![0usize..4, 120usize..140, 16_380usize..16_390], 0u8..6), 0..8),
            cuts in prop::collection::vec(prop_oneof![1usize..4, 5usize..40, Just(1 << 20)], 1..20),
            missing in 0usize..40,
        ) {
            let bytes = sent.iter().flat_map(|&(length, odd)| piece(length, odd)).collect::<Vec<_>>();
            let data = sent.iter().flat_map(|&(length, _)| vec![length as u8; length]).collect::<Vec<_>>();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (arrived, is_all, wrong) = runtime.block_on(upload(client(&bytes, &cuts)));
            prop_assert_eq!((arrived, is_all), (data, true));
            prop_assert!(wrong.is_none());
            // What ends within a message is never told to be all.
            let last = sent.last().map_or(0, |&(length, odd)| piece(length, odd).len());
            let missing = missing.min(last.saturating_sub(1));
            let (_, is_all, wrong) = runtime.block_on(upload(client(&bytes[..bytes.len() - missing], &cuts)));
            prop_assert_eq!((is_all, wrong.is_some()), (missing == 0, missing > 0));
        }

        #[test]
        fn what_may_not_follow_ends_it(cuts in prop::collection::vec(1usize..9, 1..20), length in 0usize..300) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for (wrong, message) in [(framed(&open()), "open"), (pieces::END, "nothing"), (b"\0\0\0\0\x02\x18\x07"[..].into(), "nothing")] {
                let bytes = [&piece(length, 9)[..], &wrong, &piece(length, 9)].concat();
                let (data, is_all, violation) = runtime.block_on(upload(client(&bytes, &cuts)));
                prop_assert!(data.len() <= length && !is_all);
                prop_assert_eq!(violation.unwrap().message().to_owned(), message);
            }
        }
    }

    /// All calls for the files of a sandbox share a connection, on which each frame costs as much, however short it is.
    #[tokio::test]
    async fn what_comes_in_many_parts_goes_on_in_few() {
        let odd = (0..20_000).flat_map(|_| piece(1, 0)).collect::<Vec<_>>();
        for (bytes, cuts) in [(piece(100_000, 9), 1), (odd, 1 << 20)] {
            let (mut upload, _violated) = Upload::new(&open(), client(&bytes, &[cuts]), check);
            let (mut frames, mut length) = (0, 0);
            while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut upload).poll_frame(cx)).await {
                frames += 1;
                length += frame.unwrap().into_data().unwrap().len();
            }
            assert!(length >= 100_000 && frames <= length / ENOUGH + 1, "{length} bytes in {frames} frames");
        }
    }

    #[tokio::test]
    async fn a_piece_has_a_most() {
        let most = |length| upload(client(&piece(length, 9), &[1 << 20]));
        let (data, is_all, wrong) = most(MOST_DATA).await;
        assert!(data.len() == MOST_DATA && is_all && wrong.is_none());
        let (data, is_all, wrong) = most(MOST_DATA + 1).await;
        assert!(data.is_empty() && !is_all && wrong.unwrap().message().contains("data"));
    }

    #[tokio::test]
    async fn a_client_that_breaks_off_has_not_sent_all() {
        let parts = [Ok(Bytes::from(piece(9, 9))), Err(Status::unavailable("gone"))];
        let (data, is_all, violation) = upload(Bytewise::new(GrpcBody::new(Sent(parts.into())))).await;
        assert!(data.len() <= 9 && !is_all);
        assert_eq!(violation.unwrap().message(), "gone");
    }
}
