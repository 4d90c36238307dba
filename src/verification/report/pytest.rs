//! The summary of `pytest -rA`, a line for each test, and the line with the counts that is the last of a run.

use super::{BadReport, Gathered, Outcome, Report, lines};

pub(super) fn read(text: &str) -> Result<Report, BadReport> {
    let (mut gathered, mut is_summary, mut has_end, mut has_errors) = (Gathered::default(), false, false, false);
    for line in lines::plain(text) {
        if let Some(title) = title(&line) {
            if title == "short test summary info" {
                // Whatever was told before was printed by tests.
                (gathered, is_summary) = (Gathered::default(), true);
            } else if let Some(failed) = counts(title) {
                (has_end, has_errors, is_summary) = (true, failed, false);
            } else {
                is_summary = false;
            }
            continue;
        }
        if is_summary {
            test(&line, &mut gathered)?;
        }
    }
    if !has_end {
        let what = "it has no last line with the counts; the run ended before it was over".to_owned();
        return Err(BadReport::Malformed { form: "what pytest prints", what });
    }
    let problem = (has_errors && !gathered.has_failed())
        .then(|| "tests failed, and it is not told which; pytest needs -rA".to_owned());
    Ok(gathered.finish(problem))
}

/// `==== title ====`.
fn title(line: &str) -> Option<&str> {
    let title = line.trim().strip_prefix("==")?.strip_suffix("==")?;
    Some(title.trim_matches('=').trim())
}

/// `1 failed, 2 passed in 0.05s`. Whether something failed.
fn counts(title: &str) -> Option<bool> {
    let (counts, _) = title.split_once(" in ")?;
    let mut failed = false;
    for count in counts.split(", ") {
        if count == "no tests ran" {
            continue;
        }
        let (number, what) = count.split_once(' ')?;
        number.parse::<u64>().ok()?;
        failed |= matches!(what, "failed" | "error" | "errors");
    }
    Some(failed)
}

fn test(line: &str, gathered: &mut Gathered) -> Result<(), BadReport> {
    let Some((word, rest)) = line.split_once(' ') else { return Ok(()) };
    let outcome = match word {
        "PASSED" | "XPASS" | "XFAIL" => Outcome::Passed,
        "FAILED" | "ERROR" => Outcome::Failed,
        "SKIPPED" => {
            // `[2] tests/a.py:7: reason`: it says where, and not which test.
            let place = rest.split_once("] ").map_or(rest, |(_, place)| place);
            let (place, reason) = place.split_once(": ").unwrap_or((place, ""));
            return gathered.add(place, Outcome::Skipped, None, reason);
        }
        _ => return Ok(()),
    };
    // A parameter may have " - " in it.
    let is_all_name = rest.contains('[') && rest.ends_with(']');
    let end = rest.find("] - ").map(|at| at + 1).or_else(|| rest.find(" - ").filter(|_| !is_all_name));
    let (name, message) = end.map_or((rest, ""), |at| (&rest[..at], rest[at..].trim_start_matches(" - ")));
    gathered.add(name, outcome, None, message)
}
