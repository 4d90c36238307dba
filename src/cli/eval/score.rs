//! What came of an evaluation in all.

use super::results::{Row, Status};
use crate::{
    api::v1::Sample,
    cli::{source_id, table::Table},
};
use std::collections::BTreeMap;

/// Patches without a sample that a report names.
const MOST_NAMED: usize = 1000;

/// Everything that a report tells.
pub(super) struct Score<'a> {
    pub(super) dataset: &'a str,
    /// By id.
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    /// That could not be carried out.
    pub(super) errors: usize,
    /// Samples for which there is no patch.
    pub(super) without_patch: usize,
    /// Samples whose patch was not verified, because it was stopped.
    pub(super) not_yet: usize,
    /// Ids of patches for which there is no sample.
    pub(super) without_sample: Vec<String>,
}

/// A sample and what came of its patch.
pub(super) struct Entry<'a> {
    pub(super) sample: &'a Sample,
    pub(super) row: Option<&'a Row>,
    /// Whether there is a patch for it.
    pub(super) has_patch: bool,
}

impl Entry<'_> {
    /// In a word.
    pub(super) fn status(&self) -> &'static str {
        match self.row.map(|row| row.status) {
            Some(Status::Succeeded) => "succeeded",
            Some(Status::Failed) => "failed",
            Some(Status::Error) => "error",
            None if self.has_patch => "not yet",
            None => "no patch",
        }
    }

    /// Tests that passed, of those that were reported. Which ones have to pass is not ours to know.
    pub(super) fn tests(&self) -> String {
        let run = self.row.filter(|row| row.total > 0);
        run.map_or_else(String::new, |row| format!("{}/{}", row.passed, row.total))
    }
}

impl<'a> Score<'a> {
    /// Counts.
    pub(super) fn new(
        dataset: &'a str,
        samples: &'a BTreeMap<String, Sample>,
        rows: &'a BTreeMap<String, Row>,
        has_patch: impl Fn(&str) -> bool,
        without_sample: Vec<String>,
    ) -> Self {
        let entry =
            |(id, sample): (&'a String, &'a Sample)| Entry { sample, row: rows.get(id), has_patch: has_patch(id) };
        let entries: Vec<_> = samples.iter().map(entry).collect();
        let count = |status: &str| entries.iter().filter(|entry| entry.status() == status).count();
        let [succeeded, failed, errors, without_patch, not_yet] =
            ["succeeded", "failed", "error", "no patch", "not yet"].map(count);
        Self { dataset, entries, succeeded, failed, errors, without_patch, not_yet, without_sample }
    }

    /// Successes among all samples, in percent; a sample without a patch is none.
    pub(super) fn percent(&self) -> f64 {
        if self.entries.is_empty() { 0.0 } else { 100.0 * self.succeeded as f64 / self.entries.len() as f64 }
    }

    /// By language: successes and all.
    pub(super) fn languages(&self) -> BTreeMap<&str, (usize, usize)> {
        let mut languages = BTreeMap::<&str, (usize, usize)>::new();
        for entry in &self.entries {
            let counts = languages.entry(&entry.sample.language).or_default();
            counts.0 += usize::from(entry.status() == "succeeded");
            counts.1 += 1;
        }
        languages
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        let mut line = format!("{} of {} succeeded ({:.1} %)", self.succeeded, self.entries.len(), self.percent());
        for (count, of_one, of_more) in [
            (self.failed, "failed", "failed"),
            (self.errors, "could not be verified", "could not be verified"),
            (self.without_patch, "has no patch", "have no patch"),
            (self.not_yet, "is not verified yet", "are not verified yet"),
            (self.without_sample.len(), "prediction without a sample", "predictions without a sample"),
        ] {
            if count > 0 {
                line += &format!(", {count} {}", if count == 1 { of_one } else { of_more });
            }
        }
        line
    }

    /// The first ids of patches without a sample, for people, and how many more there are.
    pub(super) fn strangers(&self) -> (Vec<String>, usize) {
        let first: Vec<_> = self.without_sample.iter().take(MOST_NAMED).map(|id| source_id::shown(id)).collect();
        let more = self.without_sample.len() - first.len();
        (first, more)
    }

    /// For a terminal.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new(["SAMPLE", "STATUS", "PASSED/REPORTED", "REASON"]);
        for entry in &self.entries {
            let reason = entry.row.map(|row| row.reason.clone()).unwrap_or_default();
            table.add([entry.sample.sample_id.clone(), entry.status().to_owned(), entry.tests(), reason]);
        }
        table.to_string()
    }
}
