//! The text of what `/proc` says of a process. There are three answers: it is there, there is none of this number, and an error, which says
//! only that nobody could look. A process gives itself its name, and so it may be no UTF-8.

use std::{
    fmt::Display,
    fs,
    io::{self, Read},
};

/// More than what `/proc` usually says of a process.
const USUAL_LENGTH: usize = 2048;

/// The text of a file that a process has in `/proc`. `None` when there is no process of this number.
pub fn text(pid: impl Display, file: &str) -> io::Result<Option<String>> {
    match read(&format!("/proc/{pid}/{file}")) {
        Ok(text) => Ok(Some(lossy(text))),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Such a file does not say how long it is, and would be asked for in many small pieces.
fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(USUAL_LENGTH);
    // Of a part of a file no length is asked.
    fs::File::open(path)?.take(u64::MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// Whether an error of reading `/proc` says that the process is not there.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

fn lossy(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
