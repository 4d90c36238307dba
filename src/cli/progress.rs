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

/// A line on standard error, if that is a terminal, for what takes long: it comes after a while, and changes a few times in a second.
pub(super) struct Paced {
    line: Option<Line>,
    next: Instant,
}

impl Paced {
    pub(super) fn new() -> Self {
        Self { line: stderr().is_terminal().then(Line::default), next: Instant::now() + SOON }
    }

    /// Shows the text if it is time for it.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        let Some(line) = &mut self.line else { return };
        let now = Instant::now();
        if now >= self.next {
            self.next = now + PACE;
            line.show(&text());
        }
    }

    /// Makes room for what is printed at the end.
    pub(super) fn clear(&mut self) {
        if let Some(line) = &mut self.line {
            line.clear();
        }
    }
}

/// Bytes that pass, told on standard error if that is a terminal.
pub(super) struct Progress {
    what: &'static str,
    line: Paced,
    start: Instant,
    bytes: u64,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, line: Paced::new(), start: Instant::now(), bytes: 0 }
    }

    /// So many more have passed.
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.line.show(|| describe(self.what, self.bytes, self.start.elapsed()));
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
