//! What `list` prints: columns for people, words for scripts.

use super::error::CliError;
use std::{
    fmt,
    io::{self, Write},
    time::SystemTime,
};

/// Rows of words in columns.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// No rows but the heading.
    pub(super) fn new(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned)] }
    }

    /// One more row.
    pub(super) fn add(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let padded: Vec<_> = row.iter().zip(widths).map(|(word, width)| format!("{word:width$}")).collect();
            writeln!(f, "{}", padded.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Whether a terminal or a browser obeys a character instead of showing it: control characters, and those that turn the direction of what
/// follows. What a stranger has written is shown without them.
pub(super) fn is_obeyed(character: char) -> bool {
    character.is_control()
        || ('\u{202a}'..='\u{202e}').contains(&character)
        || ('\u{2066}'..='\u{2069}').contains(&character)
}

/// A time in UTC, to the second: `2026-01-31T23:59:59Z`.
pub(super) fn time(time: SystemTime) -> String {
    let mut time = prost_types::Timestamp::from(time);
    time.nanos = 0;
    time.to_string()
}

/// Writes to standard output. Whoever closes it, as `head` does, has seen enough.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    try_print(text).map(drop)
}

/// Writes to standard output. Whether somebody reads it.
pub(super) fn try_print(text: &str) -> Result<bool, CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::io("write to standard output", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn columns_are_as_wide_as_their_longest_word() {
        let mut table = Table::new(["A", "B"]);
        table.add(["long".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "A     B\nlong  x\n");
    }

    #[test]
    fn times_are_to_the_second() {
        assert_eq!(time(UNIX_EPOCH + Duration::from_millis(1_700_000_000_999)), "2023-11-14T22:13:20Z");
    }
}
