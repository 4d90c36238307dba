//! The output of a `Run`: the first and the last half of a bound, or of what the agent has room for.

use super::budget::{Budget, Charge};
use bytes::Bytes;
use std::{collections::VecDeque, sync::Arc};

/// Keeps the head and the tail of a stream.
pub(in crate::agent) struct Collected {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_bound: usize,
    tail_bound: usize,
    dropped: bool,
    charge: Charge,
}

impl Collected {
    /// Keeps up to `bound` bytes, as far as the budget has them.
    pub(in crate::agent) fn new(bound: usize, budget: &Arc<Budget>) -> Self {
        let mut collected = Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            head_bound: 0,
            tail_bound: 0,
            dropped: false,
            charge: budget.nothing(),
        };
        collected.bound(bound);
        collected
    }

    /// Takes the next bytes.
    pub(in crate::agent) fn take(&mut self, data: &[u8]) {
        let kept = self.head.len() + self.tail.len();
        let more = data.len().min(self.head_bound + self.tail_bound - kept);
        let granted = self.charge.grow(more);
        if granted < more {
            self.bound(kept + granted);
        }
        let (head, rest) = data.split_at(data.len().min(self.head_bound - self.head.len()));
        self.head.extend_from_slice(head);
        self.push(rest);
    }

    /// Keeps no more than this from now on. Bytes in the middle go to the tail, or are dropped.
    fn bound(&mut self, bound: usize) {
        self.tail_bound = bound / 2;
        self.head_bound = bound - self.tail_bound;
        if self.head.len() > self.head_bound {
            let middle = self.head.split_off(self.head_bound);
            if self.dropped {
                // They are not what comes before the tail.
                return self.push(&[]);
            }
            let tail = std::mem::replace(&mut self.tail, middle.into());
            self.tail.extend(tail);
        }
        self.push(&[]);
    }

    /// Adds to the tail, and drops what is too much of it.
    fn push(&mut self, data: &[u8]) {
        let kept = &data[data.len().saturating_sub(self.tail_bound)..];
        let surplus = (self.tail.len() + kept.len()).saturating_sub(self.tail_bound);
        self.dropped |= kept.len() < data.len() || surplus > 0;
        self.tail.drain(..surplus);
        self.tail.extend(kept);
    }

    /// All that is kept, whether something is missing in the middle, and where; and the charge for it.
    pub(in crate::agent) fn finish(mut self) -> (Bytes, bool, i64, Charge) {
        let at = if self.dropped { self.head.len() as i64 } else { 0 };
        let (first, second) = self.tail.as_slices();
        self.head.extend_from_slice(first);
        self.head.extend_from_slice(second);
        (self.head.into(), self.dropped, at, self.charge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(collected: Collected) -> (Bytes, bool, i64) {
        let (bytes, dropped, at, _) = collected.finish();
        (bytes, dropped, at)
    }

    #[test]
    fn the_first_and_the_last_half_are_kept() {
        let budget = Budget::of(1 << 20);
        let mut collected = Collected::new(6, &budget);
        for piece in ["ab", "cdef", "g", "hijk"] {
            collected.take(piece.as_bytes());
        }
        assert_eq!(finish(collected), (Bytes::from("abcijk"), true, 3));
    }

    #[test]
    fn what_fits_is_whole() {
        let budget = Budget::of(1 << 20);
        let mut collected = Collected::new(7, &budget);
        collected.take(b"abcdef");
        collected.take(b"g");
        assert_eq!(finish(collected), (Bytes::from("abcdefg"), false, 0));
        let mut nothing = Collected::new(0, &budget);
        nothing.take(b"x");
        assert_eq!(finish(nothing), (Bytes::new(), true, 0));
    }

    proptest::proptest! {
        /// Whatever the budget has: a beginning and an end of the whole, of about the same length, and nothing lost unsaid.
        #[test]
        fn a_beginning_and_an_end_are_kept(
            pieces in proptest::collection::vec(0_usize..2000, 0..40),
            bound in 0_usize..20_000,
            total in 0_usize..40_000,
            others in 0_usize..20_000,
        ) {
            let budget = Budget::of(total);
            let _others = budget.hold(others);
            let mut collected = Collected::new(bound, &budget);
            let all: Vec<u8> = (0..pieces.iter().sum()).map(|at: usize| (at % 251) as u8).collect();
            let mut rest = &all[..];
            for piece in pieces {
                let (now, later) = rest.split_at(piece);
                collected.take(now);
                rest = later;
                assert!(budget.used() <= total);
            }
            let (bytes, dropped, at, charge) = collected.finish();
            assert!(bytes.len() <= bound);
            if dropped {
                let (head, tail) = bytes.split_at(at as usize);
                assert!(all.starts_with(head) && all.ends_with(tail) && bytes.len() < all.len());
                assert!(head.len().abs_diff(tail.len()) <= 1, "{} and {}", head.len(), tail.len());
            } else {
                assert!(bytes == all);
            }
            drop((charge, _others));
            assert_eq!(budget.used(), 0);
        }
    }
}
