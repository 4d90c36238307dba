//! What came of each verification, in a file that grows while they end: whoever is stopped loses none that was written.

use super::{super::verify::name_of_reason, CliError};
use crate::api::v1::{Sample, Verification, test_result, verification::State, verification_error, verification_result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

const FILE: &str = "results.jsonl";

/// Bytes of a line that is read.
const MOST_LINE: u64 = 64 << 20;

/// Bytes of each output that are kept: the beginning and the end.
const HEAD: usize = 16 << 10;
const TAIL: usize = 48 << 10;

/// What became of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// The verification was a success.
    Succeeded,
    /// It was carried out, and was none.
    Failed,
    /// It could not be carried out.
    Error,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) dataset: String,
    pub(super) sample_id: String,
    /// Of the sample's files.
    pub(super) sample_fingerprint: String,
    /// SHA-256 of the patch.
    pub(super) patch_sha256: String,
    pub(super) status: Status,
    /// Why it was no success, for programs.
    pub(super) reason: String,
    /// And for people.
    pub(super) message: String,
    pub(super) passed: i32,
    pub(super) failed: i32,
    pub(super) skipped: i32,
    pub(super) total: i32,
    pub(super) tests: Vec<Test>,
    pub(super) exit_code: Option<i32>,
    pub(super) seconds: Option<f64>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) changes: Vec<String>,
    pub(super) changes_restored: i64,
    pub(super) verification_id: String,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Test {
    pub(super) name: String,
    /// passed, failed or skipped.
    pub(super) outcome: String,
    pub(super) seconds: Option<f64>,
    pub(super) message: String,
}

impl Row {
    /// A patch whose verification could not even be asked for.
    pub(super) fn error(sample: &Sample, patch: &str, reason: &str, message: String) -> Self {
        Self {
            dataset: sample.dataset.clone(),
            sample_id: sample.sample_id.clone(),
            sample_fingerprint: sample.fingerprint.clone(),
            patch_sha256: digest(patch),
            status: Status::Error,
            reason: reason.to_owned(),
            message,
            passed: 0,
            failed: 0,
            skipped: 0,
            total: 0,
            tests: Vec::new(),
            exit_code: None,
            seconds: None,
            stdout: String::new(),
            stderr: String::new(),
            changes: Vec::new(),
            changes_restored: 0,
            verification_id: String::new(),
        }
    }

    /// What a verification that is over says.
    pub(super) fn new(sample: &Sample, patch: &str, ended: Verification) -> Self {
        let row = Self {
            sample_fingerprint: ended.sample_fingerprint.clone(),
            verification_id: ended.verification_id.clone(),
            ..Self::error(sample, patch, "", String::new())
        };
        let Some(result) = ended.result.clone().filter(|_| ended.state() == State::Completed) else {
            let (reason, message) = match ended.error {
                Some(error) => {
                    let reason = verification_error::Reason::try_from(error.reason).unwrap_or_default();
                    (name_of_reason(reason.as_str_name()), error.message)
                }
                None => ("CANCELLED", "it was cancelled".to_owned()),
            };
            return Self { reason: reason.to_owned(), message, ..row };
        };
        let reason = verification_result::Reason::try_from(result.reason).unwrap_or_default();
        Self {
            status: if result.is_success { Status::Succeeded } else { Status::Failed },
            reason: if result.is_success { String::new() } else { name_of_reason(reason.as_str_name()).to_owned() },
            message: result.message,
            passed: result.passed,
            failed: result.failed,
            skipped: result.skipped,
            total: result.total,
            tests: result.tests.into_iter().map(Test::new).collect(),
            exit_code: result.exit_code,
            seconds: seconds(result.duration),
            stdout: shortened(&result.stdout),
            stderr: shortened(&result.stderr),
            changes: result.changes,
            changes_restored: result.changes_restored,
            ..row
        }
    }

    /// Whether it says what a verification of this sample and patch would say.
    pub(super) fn is_of(&self, sample: &Sample, digest: &str) -> bool {
        let same = self.dataset == sample.dataset && self.sample_fingerprint == sample.fingerprint;
        same && self.patch_sha256 == digest && self.status != Status::Error
    }
}

impl Test {
    fn new(test: crate::api::v1::TestResult) -> Self {
        let outcome = match test.outcome() {
            test_result::Outcome::Passed => "passed",
            test_result::Outcome::Failed => "failed",
            test_result::Outcome::Skipped => "skipped",
            test_result::Outcome::Unspecified => "unknown",
        };
        Self { name: test.name, outcome: outcome.to_owned(), seconds: seconds(test.duration), message: test.message }
    }
}

fn seconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    duration.and_then(|duration| Duration::try_from(duration).ok()).map(|duration| duration.as_secs_f64())
}

fn shortened(text: &str) -> String {
    if text.len() <= HEAD + TAIL {
        return text.to_owned();
    }
    let (head, tail) = (text.floor_char_boundary(HEAD), text.ceil_char_boundary(text.len() - TAIL));
    format!("{}\n… {} bytes are left out …\n{}", &text[..head], tail - head, &text[tail..])
}

/// SHA-256, in hexadecimal.
pub(super) fn digest(patch: &str) -> String {
    Sha256::digest(patch).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file, which is ours alone while it is open.
#[derive(Debug)]
pub(super) struct Results(File);

impl Results {
    /// Opens it, and gives what it has. Without `resume` there must be nothing.
    pub(super) fn open(directory: &Path, resume: bool) -> Result<(Self, Vec<Row>), CliError> {
        let failed = |source| CliError::io("open the results", source);
        fs::create_dir_all(directory).map_err(failed)?;
        let path = directory.join(FILE);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed)?;
        if file.try_lock().is_err() {
            return Err(CliError::option(format!("{}: another evaluation writes to it", path.display())));
        }
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes > 0 && !resume {
            return Err(CliError::option(format!(
                "{} has results already; --resume goes on with them, and --into names another directory",
                path.display()
            )));
        }
        let (rows, whole) = read(&file, &path)?;
        // Whoever wrote it may have been killed in the midst of a line.
        file.set_len(whole).map_err(failed)?;
        Ok((Self(file), rows))
    }

    /// One more, written before anything else happens.
    pub(super) fn add(&mut self, row: &Row) -> Result<(), CliError> {
        let line = serde_json::to_string(row).map_err(|error| CliError::io("write a result", error))?;
        self.0.write_all(format!("{line}\n").as_bytes()).map_err(|source| CliError::io("write a result", source))
    }
}

/// The lines, and how many bytes all whole ones have.
fn read(mut file: &File, path: &Path) -> Result<(Vec<Row>, u64), CliError> {
    let failed = |source| CliError::io("read the results", source);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let (mut reader, mut rows, mut whole) = (BufReader::new(file), Vec::new(), 0);
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = reader.by_ref().take(MOST_LINE).read_until(b'\n', &mut line).map_err(failed)? as u64;
        if !line.ends_with(b"\n") {
            break;
        }
        let row = serde_json::from_slice(&line);
        rows.push(row.map_err(|error| CliError::option(format!("{}:{number}: {error}", path.display())))?);
        whole += read;
    }
    Ok((rows, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> Row {
        let sample = Sample { sample_id: id.into(), ..Sample::default() };
        Row::error(&sample, "patch", "REASON", "message".into())
    }

    #[test]
    fn half_a_line_is_none_and_the_next_one_is_whole() {
        let here = tempfile::tempdir().unwrap();
        let (mut results, had) = Results::open(here.path(), false).unwrap();
        assert!(had.is_empty());
        results.add(&row("a")).unwrap();
        assert!(Results::open(here.path(), true).unwrap_err().to_string().contains("another evaluation"));
        results.0.write_all(b"{\"half").unwrap();
        drop(results);
        assert!(Results::open(here.path(), false).unwrap_err().to_string().contains("--resume"));
        let (mut results, had) = Results::open(here.path(), true).unwrap();
        assert_eq!(had, [row("a")]);
        results.add(&row("b")).unwrap();
        drop(results);
        assert_eq!(Results::open(here.path(), true).unwrap().1, [row("a"), row("b")]);
    }

    #[test]
    fn long_output_keeps_both_ends() {
        let text = format!("begin{}end", "é".repeat(HEAD + TAIL));
        let short = shortened(&text);
        assert!(
            short.starts_with("begin") && short.ends_with("end") && short.len() < HEAD + TAIL + 100,
            "{}",
            short.len()
        );
    }
}
