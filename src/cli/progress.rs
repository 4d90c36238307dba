//! One line on a terminal that says how far something is.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};
use tokio::time::Instant;

/// Goes back to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// What takes less time than this needs no line.
const SOON: Duration = Duration::from_secs(1);

/// How often the line changes.
const PACE: Duration = Duration::from_millis(200);

const MEGABYTE: f64 = 1e6;

/// A line of the terminal that is written over and over, and gone with the value.
#[derive(Default)]
pub(super) struct Line {
    shown: bool,
}

impl Line {
    pub(super) fn show(&mut self, text: &str) {
        self.shown = true;
        // A terminal that is gone is nothing to end for.
        let _ = write!(stderr(), "{CLEAR}{text}");
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(stderr(), "{CLEAR}");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Bytes that pass, told on standard error if that is a terminal.
pub(super) struct Progress {
    what: &'static str,
    line: Option<Line>,
    start: Instant,
    next: Instant,
    bytes: u64,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        let start = Instant::now();
        Self { what, line: stderr().is_terminal().then(Line::default), start, next: start + SOON, bytes: 0 }
    }

    /// So many more have passed.
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let now = Instant::now();
        if let Some(line) = self.line.as_mut().filter(|_| now >= self.next) {
            self.next = now + PACE;
            line.show(&describe(self.what, self.bytes, now - self.start));
        }
    }
}

fn describe(what: &str, bytes: u64, time: Duration) -> String {
    let megabytes = bytes as f64 / MEGABYTE;
    format!("{what}: {megabytes:.1} MB, {:.1} MB/s", megabytes / time.as_secs_f64().max(f64::EPSILON))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_described_in_megabytes() {
        assert_eq!(describe("copying", 3_000_000, Duration::from_secs(2)), "copying: 3.0 MB, 1.5 MB/s");
    }
}
