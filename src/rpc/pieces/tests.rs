use super::*;
use crate::api::v1::{WriteOpen, WriteRequest, write_request::Request};
use futures_util::StreamExt;
use hyper::body::Frame;
use proptest::prelude::*;
use std::collections::VecDeque;

/// A body that comes in parts.
struct Parts(VecDeque<Bytes>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn body(bytes: &[u8], cuts: &[usize]) -> Body {
    let (mut rest, mut parts, mut cuts) = (bytes, VecDeque::new(), cuts.iter().cycle());
    while !rest.is_empty() {
        let (part, left) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
        parts.push_back(Bytes::copy_from_slice(part));
        rest = left;
    }
    Body::new(Parts(parts))
}

fn open() -> WriteRequest {
    let open = WriteOpen { path: "/somewhere".to_owned(), ..WriteOpen::default() };
    WriteRequest { request: Some(Request::Open(open)) }
}

fn data(data: &[u8]) -> WriteRequest {
    WriteRequest { request: Some(Request::Data(Bytes::copy_from_slice(data))) }
}

/// The data of a body, and whether its end was told.
async fn read(body: Body) -> Result<(Option<WriteRequest>, Vec<u8>, bool), Status> {
    let (mut bytewise, mut found, mut is_all) = (Bytewise::new(body), Vec::new(), false);
    let first = bytewise.first().await?;
    let mut pieces = Pieces::after_the_first(bytewise);
    while let Some(piece) = pieces.next().await.transpose()? {
        assert!(!is_all, "something comes after the end");
        match piece {
            Piece::Data(data) => found.extend_from_slice(&data),
            Piece::End => is_all = true,
        }
    }
    Ok((first, found, is_all))
}

proptest! {
    #[test]
    fn pieces_are_read_however_they_are_cut(
        lengths in prop::collection::vec(prop_oneof![0usize..4, 120usize..140, 16_380usize..16_390], 0..8),
        cuts in prop::collection::vec(prop_oneof![1usize..4, 5usize..40, Just(1 << 20)], 1..20),
        missing in 0usize..40,
    ) {
        let pieces: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(at, length)| vec![at as u8; *length]).collect();
        let mut sent = framed(&open()).to_vec();
        for piece in &pieces {
            sent.extend_from_slice(&framed(&data(piece)));
        }
        sent.extend_from_slice(&END);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let whole = runtime.block_on(read(body(&sent, &cuts))).unwrap();
        prop_assert_eq!(whole, (Some(open()), pieces.concat(), true));
        // Where any of it is missing, its end is.
        let cut = &sent[..sent.len() - missing.min(sent.len())];
        let (_, _, is_all) = runtime.block_on(read(body(cut, &cuts))).unwrap();
        prop_assert_eq!(is_all, missing == 0);
    }

    #[test]
    fn the_form_is_that_of_the_decoded_message(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        let message = [&[0], &(bytes.len() as u32).to_be_bytes()[..], &bytes].concat();
        match form(&message) {
            Form::Piece { head, data: length } => {
                prop_assert_eq!(super::message::<WriteRequest>(&message).unwrap(), data(&message[head..]));
                prop_assert_eq!(head + length, message.len());
            }
            Form::Other { bytes } => prop_assert_eq!(bytes, message.len()),
            Form::Cut => prop_assert!(false, "all of it is there"),
        }
        // Less of it never tells something else.
        for length in 0..message.len() {
            let less = form(&message[..length]);
            prop_assert!(less == Form::Cut || less == form(&message), "{:?} after {} bytes", less, length);
        }
    }
}

#[test]
fn what_is_no_piece_is_known() {
    let other = |message: &WriteRequest| matches!(form(&framed(message)), Form::Other { bytes } if bytes == framed(message).len());
    assert!(other(&open()));
    assert!(other(&WriteRequest::default()));
    // The field twice, of which the second counts; another field after it; a length with more bytes than it needs.
    let raw = |bytes: &[u8]| form(&[&[0, 0, 0, 0, bytes.len() as u8], bytes].concat());
    assert_eq!(raw(b"\x12\x01a\x12\x01b"), Form::Other { bytes: 11 });
    assert_eq!(raw(b"\x12\x01a\x18\x01"), Form::Other { bytes: 10 });
    assert_eq!(raw(b"\x12\x81\x00a"), Form::Piece { head: 8, data: 1 });
    // What ends too early, or has a length that never ends.
    assert_eq!(raw(b"\x12"), Form::Other { bytes: 6 });
    assert_eq!(raw(b"\x12\x05a"), Form::Other { bytes: 8 });
    assert_eq!(raw(b"\x12\x81\x81\x81\x81\x81\x81\x00"), Form::Other { bytes: 13 });
    assert_eq!(form(b"\0\0\0\0\x09\x12\x81\x81\x81\x81\x81"), Form::Other { bytes: 14 });
}

#[tokio::test]
async fn a_message_without_data_is_no_piece() {
    let sent = [framed(&open()), framed(&open())].concat();
    assert_eq!(read(body(&sent, &[7])).await.unwrap_err().code(), Code::Internal);
    // Nor is a first message that cannot be decoded one.
    assert_eq!(read(body(b"\0\0\0\0\x02\x0a\x05", &[7])).await.unwrap_err().code(), Code::Internal);
    // One that would never end is not waited for.
    assert_eq!(read(body(b"\0\xff\xff\xff\xff\x0a", &[7])).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(read(Body::empty()).await.unwrap(), (None, Vec::new(), false));
}
