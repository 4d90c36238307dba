//! The fields of `/proc/PID/stat`. A process gives itself its name, and so it may hold anything that separates fields.

use super::text::text;
use std::{fmt::Display, io};

/// `/proc/PID/stat`, by the numbers that proc(5) gives its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// One letter.
    pub state: char,
    /// From the fourth field on: what is no such number is negative.
    numbers: Vec<Option<u64>>,
}

impl Stat {
    /// Of a process; `None` when there is none of this number.
    pub fn of(pid: impl Display) -> io::Result<Option<Self>> {
        let Some(text) = text(pid, "stat")? else { return Ok(None) };
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "unknown form of /proc/PID/stat");
        Self::parse(&text).map(Some).ok_or_else(unknown)
    }

    /// The second field, the name, stands in parentheses and may hold some: the others begin after the last one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        Some(Self { state, numbers: fields.map(|field| field.parse().ok()).collect() })
    }

    /// A field that is a number and not negative, from the fourth on.
    pub fn number(&self, field: usize) -> Option<u64> {
        *self.numbers.get(field.checked_sub(4)?)?
    }

    /// A field that is the id of something: of a process, a group, a session.
    pub fn id(&self, field: usize) -> Option<i32> {
        self.number(field)?.try_into().ok()
    }

    /// When it began, in clock ticks since the host booted.
    pub fn start_time(&self) -> Option<u64> {
        self.number(22)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_moves_no_field() {
        let stat = Stat::parse("7 (a) b) (S 9) R 1 2 3 4 -1 6 7 8 9 10 11 12 13 14 15 16 17 18 424242 20 21").unwrap();
        assert_eq!((stat.state, stat.id(4), stat.number(8), stat.start_time()), ('R', Some(1), None, Some(424_242)));
        assert_eq!(Stat::parse("7 (x) S 0 (y) S 41 7 7").unwrap().id(4), Some(41));
        assert_eq!(Stat::parse("7"), None);
    }

    #[test]
    fn a_process_whose_name_is_no_text_is_seen() {
        let named = std::thread::spawn(|| {
            std::fs::write("/proc/thread-self/comm", b"\xff) R").unwrap();
            let (own, status) = (Stat::of("thread-self").unwrap().unwrap(), text("thread-self", "status").unwrap());
            (own.id(4), status.is_some_and(|status| status.contains("\nPPid:")))
        });
        let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get());
        assert_eq!(named.join().unwrap(), (parent, true));
    }

    #[test]
    fn a_number_of_nobody_is_told_from_a_look_that_failed() {
        assert_eq!(Stat::of(i32::MAX).unwrap(), None);
        // A directory cannot be read as a text.
        assert!(text("self", "fd").is_err());
    }
}
