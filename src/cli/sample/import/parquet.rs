//! The rows of a Parquet file.
//!
//! The file comes from strangers, and what reads such files believes them: a size in a header is memory that is asked for, and what does not fit
//! together may end a program. So a process of its own reads it, within limits that the kernel holds ([`reading`]), and gives each row as a line
//! of JSON. Whatever a file does to that process is an error here.

mod columns;
pub(in super::super) mod reading;

use super::MOST_RECORD;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
};

/// What a Parquet file begins with: as it is, and where its schema is encrypted, which the reader refuses in words.
const BEGINNINGS: [&[u8]; 2] = [b"PAR1", b"PARE"];

/// What the reading process says in a line.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// A row, by the names of its columns.
    Row(Map<String, Value>),
    /// Why no more rows come.
    Wrong(String),
}

/// The process that reads. It ends when nobody takes its rows any more.
struct Reading(Child);

impl Drop for Reading {
    fn drop(&mut self) {
        // It may have ended by itself, and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a file with this beginning is one.
pub(super) fn is_one(beginning: &[u8]) -> bool {
    BEGINNINGS.iter().any(|magic| beginning.starts_with(magic))
}

/// Gives each row, as long as they can be read. The error says what keeps it from reading on.
pub(super) fn each_row(file: File, mut take: impl FnMut(Value)) -> Result<(), String> {
    let failed = |error: io::Error| format!("the process that reads it failed: {error}");
    let mut command = Command::new("/proc/self/exe");
    // Nobody reads what it says when it breaks, and it would need memory for a backtrace.
    command.arg("parquet-rows").env_remove("RUST_BACKTRACE").stdin(file).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut reading = Reading(command.spawn().map_err(failed)?);
    let Some(output) = reading.0.stdout.take() else {
        return Err("the process that reads it has no output".to_owned());
    };
    let mut lines = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        lines.by_ref().take(MOST_RECORD).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            return ended(reading.0.wait().map_err(failed)?);
        }
        if !line.ends_with(b"\n") {
            // It was ended in the midst of it.
            return ended(reading.0.wait().map_err(failed)?).and(Err("its last row is not whole".to_owned()));
        }
        match serde_json::from_slice(&line).map_err(|error| failed(error.into()))? {
            Line::Row(row) => take(Value::Object(row)),
            Line::Wrong(why) => return Err(why),
        }
    }
}

/// What its end says. In order it ends only when all rows were given.
fn ended(status: ExitStatus) -> Result<(), String> {
    if status.success() {
        return Ok(());
    }
    if status.signal() == Some(Signal::XCPU.as_raw()) {
        return Err(format!("reading it takes more than {} s of processor time", reading::MOST_SECONDS));
    }
    let gigabytes = reading::MOST_MEMORY >> 30;
    Err(format!("it is damaged, or reading it needs more than {gigabytes} GiB of memory"))
}
