//! A stream of messages of which the first says what is to be done, and each that follows has a piece of data: what `Write` and `Import`
//! take. It is read here without copying the pieces. A message is a flag, its length in four bytes, and what it holds; one that has a piece
//! holds the number and the length of one field, and then the piece.

use super::{codec::decode, transport::MAX_MESSAGE_BYTES};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use hyper::body::Body as _;
use prost::Message;
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::{Code, Status, body::Body};

/// The methods of `FileService` whose requests are read so.
pub const BYTEWISE: &[&str] = &["Write", "Import"];

/// The field `data` of each of these messages, which has number 2, as it is written before its bytes.
const DATA: u8 = 2 << 3 | 2;

/// What is before each message.
const HEADER: usize = 5;

/// The longest that a length can be: each byte has seven bits of it.
const LONGEST_LENGTH: usize = 5;

/// What the first bytes of a message tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Nothing yet; there are too few.
    Cut,
    /// It has so many bytes of data, after so many other ones, and nothing else.
    Piece { head: usize, data: usize },
    /// Something else, or nothing. With all that is before it, it has so many bytes.
    Other { bytes: usize },
}

/// The form of the message that begins here.
pub fn form(bytes: &[u8]) -> Form {
    let Some((&[_, a, b, c, d], message)) = bytes.split_first_chunk::<HEADER>() else { return Form::Cut };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let other = Form::Other { bytes: HEADER + length };
    if length == 0 {
        return other;
    }
    let message = &message[..message.len().min(length)];
    let Some((&field, rest)) = message.split_first() else { return Form::Cut };
    if field != DATA {
        return other;
    }
    let mut data = 0;
    for (at, &byte) in rest.iter().take(LONGEST_LENGTH).enumerate() {
        data |= usize::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            let head = 1 + at + 1;
            return if head + data == length { Form::Piece { head: HEADER + head, data } } else { other };
        }
    }
    if rest.len() < LONGEST_LENGTH && message.len() < length { Form::Cut } else { other }
}

/// What the server sends to a program inside a sandbox when its client has sent all: a message that holds nothing.
pub const END: Bytes = Bytes::from_static(&[0; HEADER]);

/// A message of which all is here.
///
/// # Errors
/// If it is no such message.
pub fn message<T: Message + Default>(bytes: &[u8]) -> Result<T, Status> {
    decode(&bytes[HEADER.min(bytes.len())..])
}

/// A message as it is sent.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.push(0);
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.into()
}

/// The first message of a body, if it has one, and then its bytes as they come.
#[derive(Debug)]
pub struct Bytewise {
    body: Body,
    /// What came with the first message.
    came: Bytes,
}

impl Bytewise {
    /// Of this body.
    pub fn new(body: Body) -> Self {
        Self { body, came: Bytes::new() }
    }

    /// The first message; `None` if the body ends before it does. To be asked for once, before anything else.
    ///
    /// # Errors
    /// Those of the body, and if it is no such message or longer than any may be.
    pub async fn first<T: Message + Default>(&mut self) -> Result<Option<T>, Status> {
        let mut bytes = BytesMut::new();
        loop {
            if let Some(&[_, a, b, c, d]) = bytes.first_chunk::<HEADER>() {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if length > MAX_MESSAGE_BYTES {
                    return Err(Status::out_of_range("the first message is longer than any may be"));
                }
                if bytes.len() - HEADER >= length {
                    bytes.advance(HEADER);
                    let message = decode(bytes.split_to(length))?;
                    self.came = bytes.freeze();
                    return Ok(Some(message));
                }
            }
            let Some(more) = poll_fn(|cx| self.poll_bytes(cx)).await.transpose()? else { return Ok(None) };
            bytes.extend_from_slice(&more);
        }
    }

    /// The next bytes, which may begin and end anywhere in a message.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if !self.came.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.came))));
        }
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? {
                None => return Poll::Ready(None),
                Some(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                    // Nothing, or what a client says beside its messages.
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }
}

/// What follows the first message of a body that the server sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// So much of the data. Where a message begins or ends says nothing.
    Data(Bytes),
    /// The client has sent all.
    End,
}

/// The pieces of a body that comes from the server, as they come: of a message that is on its way, what is there of it.
#[derive(Debug)]
pub struct Pieces {
    bytewise: Bytewise,
    bytes: Bytes,
    /// What is missing of the data of a message.
    left: usize,
}

impl Pieces {
    /// What follows the first message.
    pub fn after_the_first(bytewise: Bytewise) -> Self {
        Self { bytewise, bytes: Bytes::new(), left: 0 }
    }
}

impl Stream for Pieces {
    type Item = Result<Piece, Status>;

    /// Without an [`Piece::End`] before it, the end means that the client is gone.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.left > 0 && !this.bytes.is_empty() {
                let data = this.bytes.split_to(this.left.min(this.bytes.len()));
                this.left -= data.len();
                return Poll::Ready(Some(Ok(Piece::Data(data))));
            }
            if this.left == 0 {
                match form(&this.bytes) {
                    Form::Cut => {}
                    Form::Piece { head, data } => {
                        this.bytes.advance(head);
                        this.left = data;
                        continue;
                    }
                    Form::Other { bytes } if bytes == END.len() => {
                        this.bytes.advance(bytes);
                        return Poll::Ready(Some(Ok(Piece::End)));
                    }
                    Form::Other { .. } => {
                        return Poll::Ready(Some(Err(Status::internal("the server sent a message that has no data"))));
                    }
                }
            }
            this.bytes = match ready!(this.bytewise.poll_bytes(cx)) {
                Some(Ok(more)) if this.bytes.is_empty() => more,
                // After the first bytes of a message, which were too few.
                Some(Ok(more)) => [&this.bytes[..], &more].concat().into(),
                // The call was given up.
                Some(Err(status)) if status.code() == Code::Cancelled => return Poll::Ready(None),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            };
        }
    }
}

#[cfg(test)]
mod tests;
