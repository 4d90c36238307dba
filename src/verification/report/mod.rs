//! What a run of tests says of each test, read from a text that the tests have written.
//!
//! The text comes from a sandbox and is not trusted: each reader is bounded in what it takes and holds, follows no entity and no reference, and
//! says what is wrong instead of guessing. A text that ends in the middle says so, because a run that was cut off is no success.

mod cargo;
mod go;
mod junit;
mod lines;
mod listed;
mod names;
mod nextest;
mod pytest;
mod tap;
#[cfg(test)]
mod tests;

pub(super) use names::Names;

use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};

/// Longest text that is read.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// Most tests of one report.
pub(super) const MOST_TESTS: usize = 50_000;

/// Longest name and longest message that are kept of a test.
const MOST_NAME: usize = 1024;
const MOST_MESSAGE: usize = 2048;

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was not run.
    Skipped,
    /// It passed.
    Passed,
    /// It failed, or could not be run to its end.
    Failed,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Its name, as the report has it.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, where the report says so.
    pub duration: Option<Duration>,
    /// What the report says of a failure or a skip: its beginning.
    pub message: String,
}

/// What a text says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Report {
    /// Each test once, in the order in which they were told first.
    pub(super) tests: Vec<Test>,
    /// Why it is not the whole truth, in words. A run with such a report is no success.
    pub(super) problem: Option<String>,
}

/// Why a text is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadReport {
    /// It is longer than is read.
    #[error("the report has more than {} MiB", MOST_BYTES >> 20)]
    TooLarge,
    /// It tells of more tests than are kept.
    #[error("the report has more than {MOST_TESTS} tests")]
    TooManyTests,
    /// It is not of the form that the sample says.
    #[error("the report is not {form}: {what}")]
    Malformed {
        /// Which form it should have.
        form: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
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
    /// A JSON object in each line, from a command of the sample.
    Listed,
}

/// Reads a text.
pub(super) fn read(form: Form, text: &[u8]) -> Result<Report, BadReport> {
    if text.len() > MOST_BYTES {
        return Err(BadReport::TooLarge);
    }
    let text = String::from_utf8_lossy(text);
    match form {
        Form::Junit => junit::read(&text),
        Form::Tap => tap::read(&text),
        Form::Cargo => cargo::read(&text),
        Form::Nextest => nextest::read(&text),
        Form::Pytest => pytest::read(&text),
        Form::Go => go::read(&text),
        Form::Listed => listed::read(&text),
    }
}

/// Gathers tests. One that is told several times counts as the worst that is told of it: a failure is never overwritten.
#[derive(Debug, Default)]
struct Gathered {
    tests: Vec<Test>,
    places: HashMap<String, usize>,
}

impl Gathered {
    fn add(
        &mut self,
        name: &str,
        outcome: Outcome,
        duration: Option<Duration>,
        message: &str,
    ) -> Result<(), BadReport> {
        let name = cut(name.trim(), MOST_NAME);
        let message = cut(message.trim(), MOST_MESSAGE);
        if let Some(test) = self.places.get(name).and_then(|place| self.tests.get_mut(*place)) {
            if rank(outcome) > rank(test.outcome) {
                *test = Test { name: name.to_owned(), outcome, duration, message: message.to_owned() };
            } else if test.message.is_empty() && outcome == test.outcome {
                message.clone_into(&mut test.message);
            }
            return Ok(());
        }
        if self.tests.len() >= MOST_TESTS {
            return Err(BadReport::TooManyTests);
        }
        self.places.insert(name.to_owned(), self.tests.len());
        self.tests.push(Test { name: name.to_owned(), outcome, duration, message: message.to_owned() });
        Ok(())
    }

    /// Adds words about a test that was told before, unless it has some.
    fn explain(&mut self, name: &str, message: &str) {
        let place = self.places.get(cut(name.trim(), MOST_NAME)).copied();
        if let Some(test) = place.and_then(|place| self.tests.get_mut(place))
            && test.message.is_empty()
        {
            test.message = cut(message.trim(), MOST_MESSAGE).to_owned();
        }
    }

    /// Adds how long a test took that was told before.
    fn time(&mut self, name: &str, duration: Option<Duration>) {
        let place = self.places.get(cut(name.trim(), MOST_NAME)).copied();
        if let Some(test) = place.and_then(|place| self.tests.get_mut(place)) {
            test.duration = duration.or(test.duration);
        }
    }

    fn has_failed(&self) -> bool {
        self.tests.iter().any(|test| test.outcome == Outcome::Failed)
    }

    fn finish(self, problem: Option<String>) -> Report {
        Report { tests: self.tests, problem }
    }
}

fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Skipped => 0,
        Outcome::Passed => 1,
        Outcome::Failed => 2,
    }
}

/// The beginning of a text.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A number of seconds that a report says. What is no length of time is none.
fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().replace(',', "").parse().ok()?).ok()
}
