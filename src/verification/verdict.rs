//! What is made of a report: whether the verification was a success, and if not, why not.

use super::report::{BadReport, Names, Outcome, Report, Test};
use serde::{Deserialize, Serialize};

/// Most names that a message tells.
const MOST_NAMED: usize = 5;

/// Why a verification was no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Tests failed that have to pass.
    TestsFailed,
    /// Tests that have to pass are not in the report, or were skipped.
    TestsMissing,
    /// No test passed, where the sample does not say which have to.
    NothingPassed,
    /// The command said so by its exit code.
    ExitCode,
    /// There is no report.
    NoReport,
    /// What there is cannot be read as a report, or is not all of one.
    BadReport,
    /// The time of the tests was over.
    TimedOut,
    /// The tests needed more memory than the sandbox has.
    OutOfMemory,
    /// The patch cannot be applied to the sample.
    PatchNotApplied,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself, with this exit code.
    Exited(i32),
    /// Its time was over.
    TimedOut,
    /// The sandbox had no more memory.
    OutOfMemory,
}

/// Which tests have to pass. Both may be empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) fail_to_pass: &'a [String],
    pub(super) pass_to_pass: &'a [String],
}

/// What there is to judge by.
#[derive(Debug)]
pub(super) enum Evidence {
    /// A report.
    Report(Report),
    /// None is asked for: the exit code says it.
    ExitCode,
    /// There should be one, and there is not.
    Missing(String),
    /// It cannot be read.
    Bad(BadReport),
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `None`: it was a success.
    pub(super) why: Option<Why>,
    /// More about it, in words.
    pub(super) message: String,
}

impl Verdict {
    fn success() -> Self {
        Self { why: None, message: String::new() }
    }

    pub(super) fn no(why: Why, message: impl Into<String>) -> Self {
        Self { why: Some(why), message: message.into() }
    }
}

/// Judges. Only what is known to be a success is one.
pub(super) fn judge(ending: Ending, evidence: &Evidence, expected: Expected<'_>) -> Verdict {
    let code = match ending {
        Ending::TimedOut => return Verdict::no(Why::TimedOut, "the tests did not end within their time"),
        Ending::OutOfMemory => return Verdict::no(Why::OutOfMemory, "the tests needed more memory than there is"),
        Ending::Exited(code) => code,
    };
    let report = match evidence {
        Evidence::ExitCode if code == 0 => return Verdict::success(),
        Evidence::ExitCode => return Verdict::no(Why::ExitCode, format!("the command ended with exit code {code}")),
        Evidence::Missing(what) => return Verdict::no(Why::NoReport, format!("{what}; exit code {code}")),
        Evidence::Bad(bad) => return Verdict::no(Why::BadReport, format!("{bad}; exit code {code}")),
        Evidence::Report(report) => report,
    };
    if let Some(problem) = &report.problem {
        return Verdict::no(Why::BadReport, format!("{problem}; exit code {code}"));
    }
    if expected.fail_to_pass.is_empty() && expected.pass_to_pass.is_empty() {
        return without_lists(code, &report.tests);
    }
    let names = Names::new(&report.tests);
    let (mut failed, mut missing) = (Vec::new(), Vec::new());
    for name in expected.fail_to_pass.iter().chain(expected.pass_to_pass) {
        let found = names.find(name);
        if found.iter().any(|test| test.outcome == Outcome::Failed) {
            failed.push(name.as_str());
        } else if found.is_empty() || found.iter().any(|test| test.outcome != Outcome::Passed) {
            missing.push(name.as_str());
        }
    }
    if !failed.is_empty() {
        return Verdict::no(Why::TestsFailed, format!("failed: {}", named(&failed)));
    }
    if !missing.is_empty() {
        return Verdict::no(Why::TestsMissing, format!("skipped, or not in the report: {}", named(&missing)));
    }
    Verdict::success()
}

fn without_lists(code: i32, tests: &[Test]) -> Verdict {
    let with = |outcome| tests.iter().filter(move |test| test.outcome == outcome).map(|test| test.name.as_str());
    let failed: Vec<_> = with(Outcome::Failed).collect();
    if !failed.is_empty() {
        return Verdict::no(Why::TestsFailed, format!("failed: {}", named(&failed)));
    }
    if with(Outcome::Passed).next().is_none() {
        return Verdict::no(Why::NothingPassed, format!("not one test passed; exit code {code}"));
    }
    if code != 0 {
        let message = format!("all tests of the report passed, and the command ended with exit code {code}");
        return Verdict::no(Why::ExitCode, message);
    }
    Verdict::success()
}

fn named(names: &[&str]) -> String {
    let first = names.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{first}, and {more} more"),
        None => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tests: &[(&str, Outcome)]) -> Evidence {
        let test = |(name, outcome): &(&str, Outcome)| Test {
            name: (*name).into(),
            outcome: *outcome,
            duration: None,
            message: String::new(),
        };
        Evidence::Report(Report { tests: tests.iter().map(test).collect(), problem: None })
    }

    fn why(ending: Ending, evidence: &Evidence, fail_to_pass: &[&str], pass_to_pass: &[&str]) -> Option<Why> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (fail_to_pass, pass_to_pass) = (own(fail_to_pass), own(pass_to_pass));
        judge(ending, evidence, Expected { fail_to_pass: &fail_to_pass, pass_to_pass: &pass_to_pass }).why
    }

    use Ending::{Exited, OutOfMemory, TimedOut};
    use Outcome::{Failed, Passed, Skipped};

    #[test]
    fn with_lists_exactly_these_have_to_pass() {
        let all = report(&[("a", Passed), ("b", Passed), ("other", Failed)]);
        assert_eq!(why(Exited(1), &all, &["a"], &["b"]), None, "others may fail, and the exit code with them");
        assert_eq!(why(Exited(0), &all, &["a", "other"], &[]), Some(Why::TestsFailed));
        assert_eq!(why(Exited(0), &all, &["a"], &["other"]), Some(Why::TestsFailed));
        assert_eq!(why(Exited(0), &all, &["a", "c"], &[]), Some(Why::TestsMissing));
        assert_eq!(why(Exited(0), &report(&[("a", Skipped)]), &["a"], &[]), Some(Why::TestsMissing));
        assert_eq!(why(TimedOut, &all, &["a"], &["b"]), Some(Why::TimedOut));
        assert_eq!(why(OutOfMemory, &all, &["a"], &["b"]), Some(Why::OutOfMemory));
        // A short name that two tests have needs both.
        let two = report(&[("x.t", Passed), ("y.t", Failed)]);
        assert_eq!(why(Exited(0), &two, &["t"], &[]), Some(Why::TestsFailed));
    }

    #[test]
    fn without_lists_all_have_to_pass_and_one_at_least() {
        assert_eq!(why(Exited(0), &report(&[("a", Passed), ("b", Skipped)]), &[], &[]), None);
        assert_eq!(why(Exited(0), &report(&[("a", Passed), ("b", Failed)]), &[], &[]), Some(Why::TestsFailed));
        assert_eq!(why(Exited(0), &report(&[]), &[], &[]), Some(Why::NothingPassed));
        assert_eq!(why(Exited(0), &report(&[("a", Skipped)]), &[], &[]), Some(Why::NothingPassed));
        assert_eq!(why(Exited(1), &report(&[("a", Passed)]), &[], &[]), Some(Why::ExitCode));
        assert_eq!(why(Exited(0), &Evidence::ExitCode, &[], &[]), None);
        assert_eq!(why(Exited(5), &Evidence::ExitCode, &[], &[]), Some(Why::ExitCode));
    }

    #[test]
    fn no_report_and_half_a_report_are_no_success() {
        assert_eq!(why(Exited(0), &Evidence::Missing("none".into()), &["a"], &[]), Some(Why::NoReport));
        assert_eq!(why(Exited(0), &Evidence::Bad(BadReport::TooLarge), &[], &[]), Some(Why::BadReport));
        let Evidence::Report(whole) = report(&[("a", Passed)]) else { panic!("a report") };
        let half = Evidence::Report(Report { problem: Some("cut".into()), ..whole });
        assert_eq!(why(Exited(0), &half, &["a"], &[]), Some(Why::BadReport));
        assert_eq!(why(Exited(0), &half, &[], &[]), Some(Why::BadReport));
    }
}
