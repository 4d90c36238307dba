//! Samples: a code base, a task and the verification that says whether the task was done. A dataset is a directory of them, and the
//! catalogue is all datasets that an operator has.
//!
//! This room reads files of the operator's and knows nothing of sandboxes. What it reads is checked as a whole: a mistake is told with
//! its file and line, and leaves out the sample that it is in and no other.

mod catalogue;
mod document;
mod fingerprint;
mod live;
mod page;
mod places;
mod problem;
mod read;
#[cfg(test)]
mod tests;
mod watch;
mod workspace;

pub use catalogue::{Catalogue, Dataset, Filter, Listing};
pub use live::Samples;
pub use page::PageToken;
pub use problem::Problem;
pub use workspace::{CodebaseError, History, Workspace, sweep as sweep_scratch};

use std::{path::PathBuf, time::Duration};

/// One sample, with its private parts. What clients may see of it is decided where messages are made, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The dataset that it is in.
    pub dataset: String,
    /// Unique in its dataset.
    pub id: String,
    /// Where `sample.toml` is; absolute, without links.
    pub directory: PathBuf,
    /// One line.
    pub title: String,
    /// Programming language; may be empty.
    pub language: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// As `CreateSandbox.image`.
    pub image: String,
    /// The task, as Markdown: the text of the file.
    pub description: String,
    /// As its author counts.
    pub version: String,
    /// What is there before the task begins.
    pub codebase: Codebase,
    /// Shell commands that prepare the code base, in order, in `/workspace` and without network.
    pub setup: Vec<String>,
    /// How long all of them may take together.
    pub setup_timeout: Duration,
    /// How it is decided whether the task was done.
    pub verification: Verification,
    /// What no client may see.
    pub hidden: Hidden,
    fingerprint: String,
}

/// Where a code base comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Codebase {
    /// A commit of a repository.
    Git {
        /// A repository, bare or not, or a bundle; absolute.
        repository: PathBuf,
        /// The full id of the commit.
        commit: String,
    },
    /// The content of a directory; absolute.
    Directory(PathBuf),
    /// The content of a tar archive, plain or packed by gzip or zstd; absolute.
    Archive(PathBuf),
}

/// How it is decided whether the task of a sample was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Shell text that runs the tests, in `/workspace`.
    pub command: String,
    /// A directory that is laid over `/workspace` for verification only; absolute. It is hidden.
    pub files: Option<PathBuf>,
    /// How long the command may take.
    pub timeout: Duration,
    /// Which tests passed is read from this.
    pub report: Report,
    /// Tests that fail before the task is done and have to pass after it. They are hidden.
    pub fail_to_pass: Vec<String>,
    /// Tests that pass before and have to pass after it. They are hidden.
    pub pass_to_pass: Vec<String>,
    /// Paths below `/workspace`, as globs, that are taken from the sample again before the tests run.
    pub protected: Vec<String>,
    /// Whether the command may use the network.
    pub network: bool,
}

/// Where and in which form the outcome of the tests is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its form.
    pub format: ReportFormat,
    /// The file that it is in, absolute in the sandbox or below `/workspace`; none for the output of the command.
    pub path: Option<String>,
    /// With [`ReportFormat::Command`]: shell text that prints the report.
    pub command: Option<String>,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// JUnit's XML.
    Junit,
    /// The Test Anything Protocol.
    Tap,
    /// What `cargo test` prints.
    Cargo,
    /// What `cargo nextest run` prints.
    Nextest,
    /// What `pytest -rA` prints.
    Pytest,
    /// What `go test -json` prints.
    Go,
    /// None: the exit code says it.
    ExitCode,
    /// What a command of the sample prints.
    Command,
}

/// What no client of a sandbox may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    /// A patch that does the task; absolute.
    pub patch: Option<PathBuf>,
}

impl Sample {
    /// Changes whenever a file of the sample does. Of a code base in git it is the commit that counts.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether its files are as they were when they were read. Reads all of them; what cannot be read is not as it was.
    pub fn is_as_it_was(&self) -> bool {
        fingerprint::of(self).is_ok_and(|now| now == self.fingerprint)
    }

    /// `DATASET/ID`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.dataset, self.id)
    }
}

impl ReportFormat {
    /// All of them, as `sample.toml` has them.
    pub const NAMES: [(&str, Self); 8] = [
        ("junit", Self::Junit),
        ("tap", Self::Tap),
        ("cargo", Self::Cargo),
        ("nextest", Self::Nextest),
        ("pytest", Self::Pytest),
        ("go", Self::Go),
        ("exit_code", Self::ExitCode),
        ("command", Self::Command),
    ];

    /// As `sample.toml` has it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// What `sample.toml` means.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
}
