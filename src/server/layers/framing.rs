//! Follows the messages in a request's body. Each is a flag, its length in four bytes, and so many bytes.

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A message says that it is larger than it may be.
    TooLarge,
    /// A message is compressed, or its flag means nothing.
    Compressed,
    /// The body ends within a message.
    Cut,
    /// The body ends before the first message.
    Empty,
}

/// Where in a body the bytes are that came last.
#[derive(Debug)]
pub(super) struct Framing {
    largest: usize,
    /// What came of the flag and the length of a message.
    header: [u8; 5],
    header_bytes: usize,
    /// What is missing of the message after its header.
    left: usize,
    /// What came of the message that came last, whole or not.
    bytes: usize,
    messages: u64,
}

impl Framing {
    /// A body whose messages may be so large.
    pub(super) fn new(largest: usize) -> Self {
        Self { largest, header: [0; 5], header_bytes: 0, left: 0, bytes: 0, messages: 0 }
    }

    /// Follows more bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                bytes = &bytes[part..];
                self.left -= part;
                self.bytes += part;
            } else {
                if self.header_bytes == 0 {
                    self.bytes = 0;
                }
                let part = (self.header.len() - self.header_bytes).min(bytes.len());
                self.header[self.header_bytes..self.header_bytes + part].copy_from_slice(&bytes[..part]);
                bytes = &bytes[part..];
                self.header_bytes += part;
                self.bytes += part;
                if self.header_bytes < self.header.len() {
                    break;
                }
                self.header_bytes = 0;
                let [flag, length @ ..] = self.header;
                self.left = u32::from_be_bytes(length) as usize;
                if flag != 0 {
                    return Err(Fault::Compressed);
                }
                if self.left > self.largest {
                    return Err(Fault::TooLarge);
                }
            }
            if self.left == 0 {
                self.messages += 1;
            }
        }
        Ok(())
    }

    /// How large a message may be.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    /// What came of the message that came last.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more must come: the rest of a message, or the first one.
    pub(super) fn is_unfinished(&self) -> bool {
        self.header_bytes > 0 || self.left > 0 || self.messages == 0
    }

    /// The body has ended.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.header_bytes > 0 || self.left > 0 {
            return Err(Fault::Cut);
        }
        if self.messages == 0 { Err(Fault::Empty) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(length: usize) -> Vec<u8> {
        [&[0], &(length as u32).to_be_bytes()[..], &vec![7; length]].concat()
    }

    proptest! {
        #[test]
        fn messages_are_followed_however_they_are_cut(
            lengths in prop::collection::vec(0usize..300, 1..10),
            cuts in prop::collection::vec(1usize..50, 1..20),
        ) {
            let body: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            let mut framing = Framing::new(300);
            let (mut rest, mut cuts) = (&body[..], cuts.iter().cycle());
            while !rest.is_empty() {
                prop_assert!(framing.bytes() <= 305);
                let (part, left) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                framing.take(part).unwrap();
                rest = left;
                prop_assert!(!rest.is_empty() || !framing.is_unfinished());
            }
            prop_assert_eq!(framing.end(), Ok(()));
            prop_assert_eq!(framing.messages, lengths.len() as u64);
            prop_assert_eq!(framing.bytes(), lengths.last().unwrap() + 5);
            // Cut anywhere else, it is not whole.
            let mut cut = Framing::new(300);
            cut.take(&body[..body.len() - 1]).unwrap();
            prop_assert_eq!(cut.end(), Err(Fault::Cut));
        }
    }

    #[test]
    fn what_is_wrong_is_known_from_the_header() {
        let mut framing = Framing::new(10);
        assert_eq!((framing.is_unfinished(), framing.end()), (true, Err(Fault::Empty)));
        framing.take(&message(10)).unwrap();
        framing.take(&[0, 0, 0, 0]).unwrap();
        assert!(framing.is_unfinished());
        assert_eq!(framing.take(&[11]), Err(Fault::TooLarge));
        assert_eq!(Framing::new(10).take(&[1, 0, 0, 0, 1]), Err(Fault::Compressed));
    }
}
