//! Cuts what comes from a pipe into records that end with NUL. Anybody inside can write to the pipe, so a record has a
//! greatest length: what is longer is dropped up to the next NUL, and no byte is looked at twice.

use bytes::{Buf, BytesMut};

/// Bytes of which records are made.
pub(super) struct Records {
    bytes: BytesMut,
    /// How many of them are known to hold no NUL.
    searched: usize,
    /// The longest record, in bytes without its NUL.
    longest: usize,
    /// Whether what comes belongs to a record that was too long.
    dropping: bool,
}

impl Records {
    /// Nothing yet.
    pub(super) fn new(longest: usize) -> Self {
        Self { bytes: BytesMut::new(), searched: 0, longest, dropping: false }
    }

    /// Adds bytes. To keep memory bounded, all records are to be taken before the next ones are added.
    pub(super) fn add(&mut self, mut data: &[u8]) {
        if self.dropping {
            let Some(end) = data.iter().position(|byte| *byte == 0) else { return };
            data = &data[end + 1..];
            self.dropping = false;
        }
        self.bytes.extend_from_slice(data);
    }

    /// Takes the next record, without its NUL.
    pub(super) fn take(&mut self) -> Option<BytesMut> {
        loop {
            let Some(found) = self.bytes[self.searched..].iter().position(|byte| *byte == 0) else {
                self.searched = self.bytes.len();
                if self.searched > self.longest {
                    // The memory goes too: there may be a shell in each of many sessions.
                    (self.bytes, self.searched, self.dropping) = (BytesMut::new(), 0, true);
                }
                return None;
            };
            let record = self.bytes.split_to(self.searched + found);
            self.bytes.advance(1);
            self.searched = 0;
            if record.len() <= self.longest {
                return Some(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records(longest: usize, pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut records = Records::new(longest);
        let mut all = Vec::new();
        for piece in pieces {
            records.add(piece);
            while let Some(record) = records.take() {
                all.push(record.to_vec());
            }
            assert!(records.bytes.len() <= longest, "no more is kept than one record");
        }
        all
    }

    proptest! {
        #[test]
        fn pieces_make_the_records_that_the_whole_would(
            pieces in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..40), 0..20),
            longest in 0usize..30,
        ) {
            let whole = pieces.concat();
            let mut expected: Vec<_> = whole.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            // What comes after the last NUL is no record yet.
            expected.pop();
            expected.retain(|record| record.len() <= longest);
            prop_assert_eq!(records(longest, &pieces), expected);
        }
    }

    #[test]
    fn a_flood_without_an_end_is_dropped_and_the_next_record_is_whole() {
        let mut records = Records::new(100);
        for _ in 0..1000 {
            records.add(&[b'a'; 4096]);
            assert!(records.take().is_none());
        }
        records.add(b"aaa\0good\0");
        assert_eq!(records.take().unwrap(), "good");
        assert!(records.take().is_none());
    }
}
