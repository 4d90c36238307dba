//! Files of records, as benchmarks and predictions have them: a JSON object in each line, or one array of objects.

use super::error::CliError;
use serde_json::Value;
use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// Bytes of one record. One has a task and two patches.
pub(super) const MOST_RECORD: u64 = 64 << 20;

/// What some editors write before the first byte of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where a record is in its file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Line(u64),
    Entry(u64),
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(formatter, "line {number}"),
            Self::Entry(number) => write!(formatter, "entry {number}"),
            Self::Row(number) => write!(formatter, "row {number}"),
        }
    }
}

/// Gives each record of a file with where it is, or with why it is none. The error is for what ends the reading.
pub(super) fn each(
    path: &Path,
    source: impl Read,
    mut take: impl FnMut(Place, Result<Value, String>),
) -> Result<(), CliError> {
    let failed = |error| CliError::io("read the records", error);
    let mut reader = BufReader::new(source);
    if reader.fill_buf().map_err(failed)?.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    if reader.fill_buf().map_err(failed)?.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let all: Vec<Value> = serde_json::from_reader(reader.take(16 * MOST_RECORD))
            .map_err(|error| CliError::option(format!("{}: {error}", path.display())))?;
        for (record, number) in all.into_iter().zip(1..) {
            take(Place::Entry(number), Ok(record));
        }
        return Ok(());
    }
    for number in 1_u64.. {
        let mut line = Vec::new();
        reader.by_ref().take(MOST_RECORD + 1).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 > MOST_RECORD {
            return Err(CliError::option(format!(
                "{}: line {number} has more than {MOST_RECORD} bytes",
                path.display()
            )));
        }
        if !line.trim_ascii().is_empty() {
            take(Place::Line(number), serde_json::from_slice(&line).map_err(|error| format!("is not JSON: {error}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let take = |place: Place, record: Result<Value, String>| {
            found.push(format!("{place}: {}", record.map_or_else(|wrong| wrong, |record| record.to_string())));
        };
        each(Path::new("file"), text.as_bytes(), take).map_err(|error| error.to_string())?;
        Ok(found)
    }

    #[test]
    fn lines_and_arrays_are_read_with_and_without_a_byte_order_mark() {
        for mark in ["", "\u{feff}"] {
            assert_eq!(read(&format!("{mark}{{\"a\":1}}\n\n 5")).unwrap(), ["line 1: {\"a\":1}", "line 3: 5"]);
            assert_eq!(read(&format!("{mark} \n[{{\"a\":1}}, 5]")).unwrap(), ["entry 1: {\"a\":1}", "entry 2: 5"]);
            assert_eq!(read(mark).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        assert!(read("{}\nno").unwrap()[1].starts_with("line 2: is not JSON: "));
        assert!(read("[{}").unwrap_err().starts_with("file: "));
    }
}
