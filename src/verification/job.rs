//! A verification as everybody sees it, and as the store keeps it.

use super::{Kept, State, Test, Why};
use crate::{
    error::{Error, Result},
    store::VerificationRow,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

const PREFIX: &str = "ver-";
/// Digits in ASCII order, so that ids sort by their time of creation.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const LENGTH: usize = 26;

/// A new id.
pub(super) fn new_id() -> String {
    let number = Uuid::now_v7().as_u128();
    let digits = (0..LENGTH).rev().map(|place| DIGITS[(number >> (place * 5)) as usize & 31] as char);
    PREFIX.chars().chain(digits).collect()
}

/// Whether a name has the form of an id.
pub fn is_verification_id(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == LENGTH && rest.bytes().all(|b| DIGITS.contains(&b)))
}

/// A verification.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// Its id.
    pub id: String,
    /// Who owns it.
    pub tenant: String,
    /// The server that carries it out.
    pub server: String,
    /// The sandbox whose files are verified; empty for a patch.
    pub sandbox_id: String,
    /// What never changes.
    pub about: About,
    /// Where it is.
    pub state: State,
    /// How often it was begun. More than 1: a server was started again meanwhile.
    pub attempt: u32,
    /// When it was asked for.
    pub create_time: SystemTime,
    /// When it was begun last.
    pub start_time: Option<SystemTime>,
    /// When it came into its final state.
    pub end_time: Option<SystemTime>,
    /// What came of it, once that is known.
    pub outcome: Option<Outcome>,
}

/// What never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The dataset of its sample.
    pub dataset: String,
    /// Its sample.
    pub sample_id: String,
    /// The sample's version, as its author counts.
    pub sample_version: String,
    /// What changes whenever a file of the sample does.
    pub sample_fingerprint: String,
    /// The image of its sandbox.
    pub image: String,
    /// SHA-256 of the patch, in hexadecimal; empty without one.
    #[serde(default)]
    pub patch_sha256: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The tests are over.
    Result(Box<Judgement>),
    /// It could not be carried out.
    Error(Failure),
}

/// What the tests have shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Why it was no success. `None`: it was one.
    pub why: Option<Why>,
    /// More about that, in words.
    pub message: String,
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run.
    pub skipped: u64,
    /// Each of them, unless there are too many.
    #[serde(default)]
    pub tests: Vec<Test>,
    /// Whether there are more.
    #[serde(default)]
    pub tests_cut: bool,
    /// The exit code of the command; `None` if it was ended or not begun.
    pub exit_code: Option<i32>,
    /// How long the command took.
    pub duration: Duration,
    /// What it printed.
    #[serde(default)]
    pub stdout: Kept,
    /// What it printed on standard error.
    #[serde(default)]
    pub stderr: Kept,
    /// What was compared.
    pub compared: Compared,
}

/// What of the agent's files was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Paths below `/workspace` that differ from the sample and were brought along: `A path`, `M path`, `D path`.
    pub changes: Vec<String>,
    /// How many there are in all.
    pub total: u64,
    /// How many more differ and were taken from the sample, because it protects them or brings them itself.
    pub restored: u64,
}

/// Why it could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub reason: FailureReason,
    /// For people.
    pub message: String,
}

/// Why a verification could not be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The sandbox was deleted or has failed before its files were taken.
    SandboxGone,
    /// The sample is not in the catalogue any more, or is another one by now.
    SampleChanged,
    /// A sandbox to verify in could not be made.
    NoSandbox,
    /// The sample cannot be set up.
    SetupFailed,
    /// The changes of the sandbox could not be taken, because there are too many, or they do not hold still.
    ChangesNotTaken,
    /// The sandbox in which the tests ran was lost.
    VerifierLost,
    /// The server was ended too often while it worked on it.
    InterruptedTooOften,
    /// Something that should not happen. The server's log has the cause.
    Internal,
}

/// Something went wrong, and how that is told.
pub(super) type Carried<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(super) fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// An error of another part, with this reason, unless it is ours to look after.
    pub(super) fn of(reason: FailureReason, error: &Error) -> Self {
        match error {
            Error::Internal { context, source } => {
                tracing::error!(error = %source, "{context}, for a verification");
                Self::new(reason, format!("could not {context}; the server's log has the cause"))
            }
            error => Self::new(reason, error.to_string()),
        }
    }
}

impl Verification {
    /// Whether its files are on their way, or its tests run.
    pub fn is_final(&self) -> bool {
        self.state.is_final()
    }

    /// The same without what takes much room: the single tests and the output.
    pub(super) fn brief(mut self) -> Self {
        if let Some(Outcome::Result(judgement)) = &mut self.outcome {
            judgement.tests_cut |= !judgement.tests.is_empty();
            judgement.tests.clear();
            judgement.stdout.text.clear();
            judgement.stderr.text.clear();
            judgement.compared.changes.clear();
        }
        self
    }

    pub(super) fn from_row(row: &VerificationRow) -> Result<Self> {
        let read = |error: serde_json::Error| Error::internal("read a verification", error);
        let unknown = || Error::internal("read a verification", format!("no state is called {:?}", row.state));
        let outcome = row.outcome.as_deref().map(serde_json::from_str).transpose().map_err(read)?;
        Ok(Self {
            id: row.id.clone(),
            tenant: row.tenant.clone(),
            server: row.server.clone(),
            sandbox_id: row.sandbox_id.clone(),
            about: serde_json::from_str(&row.details).map_err(read)?,
            state: State::of(&row.state).ok_or_else(unknown)?,
            attempt: row.attempt,
            create_time: row.create_time,
            start_time: row.start_time,
            end_time: row.end_time,
            outcome,
        })
    }
}

/// The time, as exactly as the store keeps it: who asks later is told the same.
pub(super) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or_default())
}

/// What the store keeps of something.
pub(super) fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("write a verification", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_well_formed_and_sorted() {
        let ids: Vec<_> = (0..100).map(|_| new_id()).collect();
        assert!(ids.iter().all(|id| is_verification_id(id)), "{}", ids[0]);
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(!is_verification_id("ver-../../../../../../etc/passw"));
    }
}
