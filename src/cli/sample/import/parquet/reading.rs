//! The process that reads a Parquet file for another one: the file is its standard input, and each row a line of its standard output.

use super::{
    super::{MOST_RECORD, record},
    Line,
    columns::{is_read, is_unpacked, value},
};
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    schema::types::Type,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Map, Value};
use std::{
    fs::File,
    io::{self, BufWriter, Write, stdout},
    process::ExitCode,
    sync::Arc,
};

/// Memory, and processor time, of reading one file.
pub(super) const MOST_MEMORY: u64 = 2 << 30;
pub(super) const MOST_SECONDS: u64 = 600;

/// How much is given of a file. A few bytes of it can be a great many rows, and a short row a great many bytes.
struct Bounds {
    rows: u64,
    /// Bytes of one row as JSON, and of all of them.
    row: u64,
    all: u64,
}

const BOUNDS: Bounds = Bounds { rows: 500_000, row: MOST_RECORD, all: 2 << 30 };

/// Names of columns that an error tells, and how many characters of each.
const MOST_TOLD: usize = 40;
const MOST_NAME: usize = 60;

/// Characters of what the reader says. It may repeat a value.
const MOST_WORDS: usize = 300;

/// Rows that are held at one time, of each column. Values are large here.
const AT_ONCE: usize = 16;

/// Does it.
pub(in super::super::super) fn main() -> ExitCode {
    if limit().is_err() {
        return ExitCode::FAILURE;
    }
    let mut out = BufWriter::new(stdout().lock());
    let file = rustix::io::dup(rustix::stdio::stdin()).map(File::from);
    let told = match file.map_err(Ended::from).and_then(|file| rows(file, &mut out, &BOUNDS)) {
        Ok(()) => Ok(()),
        Err(Ended::Wrong(why)) => {
            let line = line(&Line::Wrong(why.chars().take(MOST_WORDS).collect()));
            line.map_err(io::Error::from).and_then(|line| out.write_all(&line))
        }
        Err(Ended::Alone(error)) => Err(error),
    };
    // Whoever does not take it needs no word about it.
    match told.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Why no more rows are given.
enum Ended {
    /// Something is wrong with the file.
    Wrong(String),
    /// Nobody takes them.
    Alone(io::Error),
}

impl<T: ToString> From<T> for Ended {
    fn from(why: T) -> Self {
        Self::Wrong(why.to_string())
    }
}

/// What the kernel holds, whatever is in the file.
fn limit() -> io::Result<()> {
    let to = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, to(MOST_MEMORY))?;
    // A second more: at the lower limit the signal says which limit it was.
    setrlimit(Resource::Cpu, Rlimit { current: Some(MOST_SECONDS), maximum: Some(MOST_SECONDS + 1) })?;
    setrlimit(Resource::Core, to(0))?;
    Ok(())
}

fn rows(file: File, out: &mut impl Write, bounds: &Bounds) -> Result<(), Ended> {
    let reader = SerializedFileReader::new(file)?;
    let about = reader.metadata().file_metadata();
    let root = about.schema();
    let names: Vec<_> = root.get_fields().iter().map(|field| field.name()).collect();
    if let Some(missing) = record::missing(&names) {
        return Err(format!("it has {missing}; its columns are {}", told(&names)).into());
    }
    let (read, left): (Vec<_>, Vec<_>) = root.get_fields().iter().partition(|field| is_read(field));
    let count = about.num_rows().max(0).unsigned_abs();
    if count > bounds.rows {
        return Err(format!("it has {count} rows, and at most {} are read", bounds.rows).into());
    }
    let is_wanted = |name: Option<&String>| read.iter().any(|field| Some(field.name()) == name.map(String::as_str));
    let columns = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    let packed = columns.filter(|column| is_wanted(column.column_path().parts().first()));
    if let Some(compression) = packed.map(|column| column.compression()).find(|used| !is_unpacked(*used)) {
        return Err(format!(
            "it is compressed by {compression}, and what is read is Snappy, gzip, zstd or not compressed"
        )
        .into());
    }
    let read = Type::group_type_builder(root.name()).with_fields(read.into_iter().map(Arc::clone).collect()).build()?;
    let rows = reader.get_row_iter(Some(read))?.with_batch_size(AT_ONCE);
    let (mut count, mut bytes) = (0, 0);
    for row in rows {
        count += 1;
        let row = row.map_err(|error| format!("row {count}: {error}"))?;
        // What is not read is there all the same, and the record's reader says what becomes of it.
        let mut record: Map<_, _> = left.iter().map(|field| (field.name().to_owned(), Value::Bool(true))).collect();
        record.extend(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))));
        let line = line(&Line::Row(record))?;
        bytes += line.len() as u64;
        if line.len() as u64 > bounds.row {
            return Err(format!("row {count} has more than {} bytes", bounds.row).into());
        }
        if count > bounds.rows {
            return Err(format!("it has more than {} rows", bounds.rows).into());
        }
        if bytes > bounds.all {
            return Err(format!("its rows have more than {} bytes", bounds.all).into());
        }
        out.write_all(&line).map_err(Ended::Alone)?;
    }
    Ok(())
}

fn line(line: &Line) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

/// Names, for people.
fn told(names: &[&str]) -> String {
    let first = names.iter().take(MOST_TOLD).map(|name| name.chars().take(MOST_NAME).collect::<String>());
    let mut told = first.collect::<Vec<_>>().join(", ");
    if names.len() > MOST_TOLD {
        told += &format!(" and {} more", names.len() - MOST_TOLD);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::{
        data_type::{ByteArray, ByteArrayType},
        file::writer::SerializedFileWriter,
        schema::parser::parse_message_type,
    };

    /// A file in which each of these columns has the same value in each row.
    fn file(columns: &[&str], value: &str, count: usize) -> File {
        let fields: String = columns.iter().map(|name| format!("required binary {name} (UTF8); ")).collect();
        let schema = Arc::new(parse_message_type(&format!("message schema {{ {fields} }}")).unwrap());
        let file = tempfile::tempfile().unwrap();
        let mut writer = SerializedFileWriter::new(file.try_clone().unwrap(), schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            let values = vec![ByteArray::from(value); count];
            column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        file
    }

    const COLUMNS: [&str; 4] = ["id", "repo", "base_sha", "description"];

    /// How many rows came, and what was said then.
    fn read(file: File, bounds: &Bounds) -> (usize, String) {
        let mut out = Vec::new();
        let said = match rows(file, &mut out, bounds) {
            Ok(()) => String::new(),
            Err(Ended::Wrong(why)) => why,
            Err(Ended::Alone(error)) => panic!("{error}"),
        };
        (out.split(|byte| *byte == b'\n').count() - 1, said)
    }

    #[test]
    fn no_more_is_given_than_is_allowed() {
        let text = "x".repeat(100);
        let said = |bounds: Bounds| read(file(&COLUMNS, &text, 10), &bounds);
        assert_eq!(said(BOUNDS), (10, String::new()));
        assert_eq!(said(Bounds { rows: 10, ..BOUNDS }), (10, String::new()));
        let many = "it has 10 rows, and at most 9 are read".to_owned();
        assert_eq!(said(Bounds { rows: 9, ..BOUNDS }), (0, many), "its footer says so before any is read");
        assert_eq!(said(Bounds { row: 400, ..BOUNDS }), (0, "row 1 has more than 400 bytes".to_owned()));
        assert_eq!(said(Bounds { all: 1000, ..BOUNDS }), (2, "its rows have more than 1000 bytes".to_owned()));
    }

    #[test]
    fn columns_that_are_missing_are_named() {
        let (rows, said) = read(file(&["id", "repo_name", "text"], "x", 1), &BOUNDS);
        let expected = "it has no column base_commit or base_sha, and no column problem_statement or description or instruction; \
                        its columns are id, repo_name, text";
        assert_eq!((rows, said.as_str()), (0, expected));
    }
}
