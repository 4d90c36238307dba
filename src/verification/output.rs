//! What tests print: kept in part for whoever asks later, and passed on as it comes to whoever watches.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What is kept of one stream: this much of its beginning, and more of its end, where the failures are.
pub(super) const HEAD: usize = 64 << 10;
pub(super) const TAIL: usize = 192 << 10;

/// Bytes that are passed on at one time.
const PIECE: usize = 64 << 10;

/// One stream of output.
#[derive(Debug, Default)]
pub(super) struct Stream {
    head: BytesMut,
    tail: VecDeque<u8>,
    total: u64,
}

/// What is left of a stream when the tests are over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its bytes, those in the middle left out if there were too many. What is not UTF-8 is U+FFFD.
    pub text: String,
    /// How many bytes there were.
    pub total: u64,
    /// How many of them were left out, in the middle.
    pub left_out: u64,
}

impl Stream {
    /// Takes bytes that follow.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = HEAD - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(TAIL)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// Bytes from an offset on, or, where those are not kept any more, from the next that are. `None`: there are no more.
    pub(super) fn from(&self, offset: u64) -> Option<(u64, Bytes)> {
        if offset >= self.total {
            return None;
        }
        let head = self.head.len() as u64;
        if offset < head {
            let at = usize::try_from(offset).ok()?;
            let end = self.head.len().min(at + PIECE);
            return Some((offset, Bytes::copy_from_slice(&self.head[at..end])));
        }
        let begin = self.total - self.tail.len() as u64;
        let offset = offset.max(begin);
        let skipped = usize::try_from(offset - begin).ok()?;
        let piece: Vec<u8> = self.tail.iter().skip(skipped).take(PIECE).copied().collect();
        Some((offset, piece.into()))
    }

    /// What is left of it.
    pub(super) fn keep(&self) -> Kept {
        let left_out = self.total - (self.head.len() + self.tail.len()) as u64;
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let text = if left_out == 0 {
            // A character may lie across both.
            String::from_utf8_lossy(&[&self.head[..], &tail].concat()).into_owned()
        } else {
            let (head, tail) = (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&tail));
            format!("{head}\n[… {left_out} bytes left out …]\n{tail}")
        };
        // NUL cannot be kept in every database.
        Kept { text: text.replace('\0', "\u{fffd}"), total: self.total, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut stream = Stream::default();
        let all: Vec<u8> = (0..2_000_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
        all.chunks(70_001).for_each(|piece| stream.push(piece));
        let Kept { text, total, left_out } = stream.keep();
        assert_eq!((total, left_out), (2_000_000, 2_000_000 - (HEAD + TAIL) as u64));
        assert!(text.as_bytes().starts_with(&all[..HEAD]) && text.as_bytes().ends_with(&all[all.len() - TAIL..]));
    }

    #[test]
    fn whoever_follows_gets_each_byte_that_is_kept() {
        let mut stream = Stream::default();
        let all: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut got, mut offset) = (Vec::new(), 0);
        for piece in all.chunks(9_999) {
            stream.push(piece);
            while let Some((at, bytes)) = stream.from(offset) {
                assert_eq!(at, offset);
                got.extend_from_slice(&bytes);
                offset += bytes.len() as u64;
            }
        }
        assert!(got == all);
        // Whoever comes late misses the middle, and sees where.
        (0..10).for_each(|_| stream.push(&all));
        let (at, _) = stream.from(HEAD as u64).unwrap();
        assert_eq!(at, stream.total - TAIL as u64);
        assert_eq!(stream.from(stream.total), None);
    }

    #[test]
    fn a_character_at_the_border_stays_whole() {
        let mut stream = Stream::default();
        stream.push(&[&b"x".repeat(HEAD - 1)[..], "é\0".as_bytes()].concat());
        assert!(stream.keep().text.ends_with("xé\u{fffd}"));
    }
}
