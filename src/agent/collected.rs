//! The output of a `Run`: the first and the last half of a bound.

use std::collections::VecDeque;

/// Keeps the head and the tail of a stream.
pub(super) struct Collected {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_bound: usize,
    tail_bound: usize,
    dropped: bool,
}

impl Collected {
    /// Keeps up to `bound` bytes.
    pub(super) fn new(bound: usize) -> Self {
        let tail_bound = bound / 2;
        Self { head: Vec::new(), tail: VecDeque::new(), head_bound: bound - tail_bound, tail_bound, dropped: false }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, data: &[u8]) {
        let (head, rest) = data.split_at(data.len().min(self.head_bound - self.head.len()));
        self.head.extend_from_slice(head);
        let kept = &rest[rest.len().saturating_sub(self.tail_bound)..];
        let surplus = (self.tail.len() + kept.len()).saturating_sub(self.tail_bound);
        self.dropped |= kept.len() < rest.len() || surplus > 0;
        self.tail.drain(..surplus);
        self.tail.extend(kept);
    }

    /// All that is kept, whether something is missing in the middle, and where.
    pub(super) fn finish(mut self) -> (Vec<u8>, bool, i64) {
        let at = if self.dropped { self.head.len() as i64 } else { 0 };
        self.head.extend(self.tail);
        (self.head, self.dropped, at)
    }
}

#[cfg(test)]
mod tests {
    use super::Collected;

    #[test]
    fn the_first_and_the_last_half_are_kept() {
        let mut collected = Collected::new(6);
        for piece in ["ab", "cdef", "g", "hijk"] {
            collected.take(piece.as_bytes());
        }
        assert_eq!(collected.finish(), (b"abcijk".to_vec(), true, 3));
    }

    #[test]
    fn what_fits_is_whole() {
        let mut collected = Collected::new(7);
        collected.take(b"abcdef");
        collected.take(b"g");
        assert_eq!(collected.finish(), (b"abcdefg".to_vec(), false, 0));
        let mut nothing = Collected::new(0);
        nothing.take(b"x");
        assert_eq!(nothing.finish(), (vec![], true, 0));
    }
}
