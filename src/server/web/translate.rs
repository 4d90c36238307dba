//! The bodies of gRPC-Web: trailers as the last piece, and all of it as text if the client wants that.

use crate::error::Error;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use hyper::body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::Status;

/// The flag of the piece that has the trailers.
const IS_TRAILERS: u8 = 0x80;

/// Characters that stand for three bytes.
const QUARTET: usize = 4;

/// How bodies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Encoding {
    /// As they are.
    Binary,
    /// As base64.
    Text,
}

impl Encoding {
    /// That of a request, if it is one of gRPC-Web.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.as_bytes().strip_prefix(b"application/grpc-web")?;
        let (encoding, rest) = match value.strip_prefix(b"-text") {
            Some(rest) => (Self::Text, rest),
            None => (Self::Binary, value),
        };
        let rest = rest.strip_prefix(b"+proto").unwrap_or(rest);
        (rest.is_empty() || rest.starts_with(b";")).then_some(encoding)
    }

    pub(super) fn content_type(self) -> HeaderValue {
        match self {
            Self::Binary => HeaderValue::from_static("application/grpc-web+proto"),
            Self::Text => HeaderValue::from_static("application/grpc-web-text+proto"),
        }
    }

    /// A frame of an answer, as it is sent.
    pub(in crate::server) fn encode(self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => piece_of(&trailers),
                Err(frame) => return frame,
            },
        };
        Frame::data(match self {
            Self::Binary => data,
            Self::Text => BASE64.encode(data).into(),
        })
    }
}

fn piece_of(trailers: &HeaderMap) -> Bytes {
    let mut piece = BytesMut::from(&[IS_TRAILERS, 0, 0, 0, 0][..]);
    for (name, value) in trailers {
        piece.put(name.as_str().as_bytes());
        piece.put_u8(b':');
        piece.put(value.as_bytes());
        piece.put(&b"\r\n"[..]);
    }
    let length = u32::try_from(piece.len() - 5).unwrap_or_default();
    piece[1..5].copy_from_slice(&length.to_be_bytes());
    piece.freeze()
}

fn not_base64() -> Status {
    Error::invalid("message", "is not base64, as the content type says").into()
}

/// The body of a request, as gRPC has it.
pub(in crate::server) struct WebBody<B> {
    body: B,
    encoding: Encoding,
    /// Whether the body's end is the client's word: HTTP/1.1 tells a body that was cut off by an error.
    end_is_sure: bool,
    has_ended: bool,
    /// Characters that wait for the rest of their quartet.
    rest: Vec<u8>,
}

impl<B> WebBody<B> {
    pub(in crate::server) fn new(body: B, encoding: Encoding, end_is_sure: bool) -> Self {
        Self { body, encoding, end_is_sure, has_ended: false, rest: Vec::new() }
    }

    fn decode(&mut self, data: Bytes) -> Result<Bytes, Status> {
        if self.encoding == Encoding::Binary {
            return Ok(data);
        }
        self.rest.extend_from_slice(&data);
        let whole = self.rest.len() / QUARTET * QUARTET;
        let mut decoded = Vec::with_capacity(whole / QUARTET * 3);
        // A client may encode each piece of its own, so padding may be anywhere.
        let mut text = &self.rest[..whole];
        while !text.is_empty() {
            let padded =
                text.iter().position(|character| *character == b'=').map(|at| at / QUARTET * QUARTET + QUARTET);
            let (part, after) = text.split_at(padded.unwrap_or(text.len()));
            BASE64.decode_vec(part, &mut decoded).map_err(|_| not_base64())?;
            text = after;
        }
        self.rest.drain(..whole);
        Ok(decoded.into())
    }
}

impl<B> Body for WebBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(this.decode(data).map(Frame::data).map_err(Into::into)),
                Err(frame) => Some(Ok(frame)),
            },
            Some(Err(error)) => Some(Err(error.into())),
            None if !this.rest.is_empty() => {
                this.rest.clear();
                Some(Err(not_base64().into()))
            }
            None => {
                this.has_ended = this.end_is_sure;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        // Characters that wait for others are a fault, which is told by the end.
        self.rest.is_empty() && (self.has_ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoding(content_type: &'static str) -> Option<Encoding> {
        Encoding::of(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]))
    }

    #[test]
    fn the_content_type_says_how_it_is_written() {
        for binary in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web;charset=utf-8"] {
            assert_eq!(encoding(binary), Some(Encoding::Binary));
        }
        assert_eq!(encoding("application/grpc-web-text+proto"), Some(Encoding::Text));
        for other in
            ["application/grpc", "application/grpc+proto", "application/grpc-web+json", "application/grpc-website"]
        {
            assert_eq!(encoding(other), None, "{other}");
        }
    }

    #[test]
    fn trailers_are_the_last_piece() {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        let frame = Encoding::Binary.encode(Frame::trailers(trailers)).into_data().unwrap();
        assert_eq!(&frame[..], b"\x80\0\0\0\x0fgrpc-status:0\r\n");
    }

    proptest! {
        #[test]
        fn text_is_read_however_it_is_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            cuts in prop::collection::vec(1usize..9, 1..10),
        ) {
            let text: String = pieces.iter().map(|piece| BASE64.encode(piece)).collect();
            let mut body = WebBody::new((), Encoding::Text, true);
            let (mut rest, mut cuts, mut read) = (text.as_bytes(), cuts.iter().cycle(), Vec::new());
            while !rest.is_empty() {
                let (part, left) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                read.extend(body.decode(Bytes::copy_from_slice(part)).unwrap());
                rest = left;
            }
            prop_assert_eq!(read, pieces.concat());
            prop_assert!(body.rest.is_empty());
        }
    }

    /// A body that comes at once.
    struct Sent(Option<Bytes>);

    impl Body for Sent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_none()
        }
    }

    #[tokio::test]
    async fn text_that_ends_within_a_quartet_is_not_whole() {
        for (text, is_whole) in [("AAAA", true), ("AAAAA", false), ("AAAAAA", false), ("AAAAAAA", false)] {
            let mut body = WebBody::new(Sent(Some(text.into())), Encoding::Text, true);
            let mut next = async || std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            assert!(next().await.is_some_and(|frame| frame.is_ok()), "{text}");
            assert_eq!(next().await.is_none(), is_whole, "{text}");
            assert!(next().await.is_none(), "{text}");
            assert!(body.is_end_stream(), "{text}");
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        let mut body = WebBody::new((), Encoding::Text, true);
        assert!(body.decode(Bytes::from_static(b"AAAA????")).is_err());
    }
}
