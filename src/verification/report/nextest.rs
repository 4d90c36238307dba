//! What `cargo nextest run` prints: a line for each test, with its program, and a summary. Of a test that is tried several times the last try
//! counts, as nextest has it.

use super::{BadReport, Gathered, MOST_TESTS, Outcome, Report, lines, seconds};
use std::collections::BTreeMap;

pub(super) fn read(text: &str) -> Result<Report, BadReport> {
    let (mut gathered, mut summary) = (Gathered::default(), None);
    // Tests that were tried several times, and what became of the last try.
    let mut tries = BTreeMap::new();
    for line in lines::plain(text) {
        let line = line.trim();
        if line.starts_with("Summary [") {
            // Behind it the failures come once more. A test may have printed such a line too, so reading goes on.
            summary = Some(summary.unwrap_or(false) || line.contains(" failed") || line.contains(" timed out"));
            continue;
        }
        let Some((status, rest)) = line.split_once('[') else { continue };
        let Some((time, name)) = rest.split_once(']') else { continue };
        let Some(time) = time.trim().strip_suffix('s') else { continue };
        let (duration, name) = (seconds(time.trim_start_matches(['>', ' '])), without_count(name.trim()));
        let (word, is_try) = match status.trim().strip_prefix("TRY ").and_then(|tried| tried.split_once(' ')) {
            Some((_, word)) => (word.trim(), true),
            None => (status.trim(), false),
        };
        let Some(outcome) = outcome(word) else { continue };
        if !is_try {
            gathered.add(name, outcome, duration, "")?;
        } else if tries.len() < MOST_TESTS {
            tries.insert(name.to_owned(), (outcome, duration));
        } else {
            return Err(BadReport::TooManyTests);
        }
    }
    for (name, (outcome, duration)) in tries {
        gathered.add(&name, outcome, duration, "")?;
    }
    if summary.is_none() && gathered.tests.is_empty() {
        let what = "it has neither a test nor a summary; perhaps the tests were not compiled".to_owned();
        return Err(BadReport::Malformed { form: "what cargo nextest prints", what });
    }
    let problem = match summary {
        None => Some("the run ended before its summary".to_owned()),
        Some(true) if !gathered.has_failed() => Some("tests failed, and it is not told which".to_owned()),
        Some(_) => None,
    };
    Ok(gathered.finish(problem))
}

/// What a word in front of a test means.
fn outcome(word: &str) -> Option<Outcome> {
    let is_signal = word.len() > 3
        && word.starts_with("SIG")
        && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    match word {
        "PASS" | "LEAK" => Some(Outcome::Passed),
        "FAIL" | "FAIL + LEAK" | "LEAK-FAIL" | "TIMEOUT" | "ABORT" => Some(Outcome::Failed),
        "SKIP" => Some(Outcome::Skipped),
        _ if word.starts_with("FLAKY") => Some(Outcome::Passed),
        _ if is_signal => Some(Outcome::Failed),
        _ => None,
    }
}

/// Newer versions say how many were done before: `(  1/12) crate name`.
fn without_count(name: &str) -> &str {
    match name.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((count, name)) if count.contains('/') => name.trim_start(),
        _ => name,
    }
}
