//! What a process got of the processors, by which one that waits for its turn is told from one that does not end.

use crate::proc::{self, Stat};
use std::time::Duration;

/// Up to a moment of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turns {
    /// How long it has run.
    ran: Duration,
    /// How long it could have run, and another one did.
    waited: Duration,
}

/// What is enough to come to an end, whoever else wants the processors.
const ENOUGH: Duration = Duration::from_millis(200);

impl Turns {
    /// Those of a process. `None` where the kernel does not count them, and when the process is gone.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::parse(&proc::text(pid, "schedstat").ok()??)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().map(Duration::from_nanos));
        Some(Self { ran: numbers.next()?.ok()?, waited: numbers.next()?.ok()? })
    }

    /// Whether in this time, which has passed since then, the process was kept from running rather than ran or slept.
    pub(crate) fn were_too_few_since(&self, pid: i32, time: Duration) -> bool {
        match Self::of(pid) {
            // It is counted only when the wait is over.
            Some(now) if now == *self => matches!(Stat::of(pid), Ok(Some(stat)) if stat.state == 'R'),
            Some(now) => now.fell_short(self, time),
            None => false,
        }
    }

    fn fell_short(&self, before: &Self, time: Duration) -> bool {
        let (ran, waited) = (self.ran.saturating_sub(before.ran), self.waited.saturating_sub(before.waited));
        ran < ENOUGH && waited >= time / 4
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_processor_is_told_from_who_uses_it_and_from_who_sleeps() {
        let second = Duration::from_secs(1);
        let before = Turns::parse("5000000 7000000 3\n").unwrap();
        let after =
            |ran: u64, waited: u64| Turns::parse(&format!("{} {} 9\n", 5_000_000 + ran, 7_000_000 + waited)).unwrap();
        assert!(after(20_000_000, 600_000_000).fell_short(&before, second));
        assert!(!after(20_000_000, 30_000_000).fell_short(&before, second), "it slept");
        assert!(!after(400_000_000, 600_000_000).fell_short(&before, second), "it ran");
    }

    #[test]
    fn the_kernel_counts_them() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Turns::of(own).is_some_and(|turns| turns.ran > Duration::ZERO));
        assert_eq!(Turns::of(i32::MAX), None);
    }
}
