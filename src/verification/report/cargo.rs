//! What `cargo test` prints: a line for each test, the output of those that failed, and a summary for each program of tests.

use super::{BadReport, Gathered, MOST_MESSAGE, Outcome, Report, lines};

pub(super) fn read(text: &str) -> Result<Report, BadReport> {
    let mut gathered = Gathered::default();
    let (mut programs, mut summaries, mut failing_summaries) = (0_u64, 0_u64, 0_u64);
    // Whether the names of tests that failed are being told. A test may have printed into its own line, so its end is not seen there.
    let mut is_naming = false;
    // The test whose output is being told, and that output.
    let mut telling: Option<(String, String)> = None;
    for line in lines::plain(text) {
        if let Some(name) = line.strip_prefix("    ").filter(|name| is_naming && !name.trim().is_empty()) {
            gathered.add(name, Outcome::Failed, None, "")?;
            continue;
        }
        is_naming &= line.is_empty();
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            tell(&mut gathered, telling.replace((name.to_owned(), String::new())));
        } else if line.starts_with("test result: ") {
            summaries += 1;
            failing_summaries += u64::from(line.starts_with("test result: FAILED"));
            tell(&mut gathered, telling.take());
        } else if is_start(&line) {
            programs += 1;
        } else if line == "failures:" {
            is_naming = true;
            tell(&mut gathered, telling.take());
        } else if let Some((name, outcome, reason)) = result(&line) {
            gathered.add(name, outcome, None, reason)?;
        } else if let Some((_, output)) = &mut telling
            && output.len() + line.len() < MOST_MESSAGE
        {
            output.push_str(&line);
            output.push('\n');
        }
    }
    tell(&mut gathered, telling);
    if summaries == 0 && gathered.tests.is_empty() {
        let what = "it has no line \"test result:\"; perhaps the tests were not compiled".to_owned();
        return Err(BadReport::Malformed { form: "what cargo test prints", what });
    }
    let problem = if programs > summaries {
        Some("a program of tests ended before it had told its result".to_owned())
    } else if failing_summaries > 0 && !gathered.has_failed() {
        Some("a program of tests failed, and no test of it is told to have failed".to_owned())
    } else {
        None
    };
    Ok(gathered.finish(problem))
}

fn tell(gathered: &mut Gathered, told: Option<(String, String)>) {
    if let Some((name, output)) = told {
        gathered.explain(&name, &output);
    }
}

/// `running 3 tests`.
fn is_start(line: &str) -> bool {
    let middle =
        line.strip_prefix("running ").and_then(|rest| rest.strip_suffix("tests").or(rest.strip_suffix("test")));
    middle.is_some_and(|number| number.trim().parse::<u64>().is_ok())
}

/// `test name ... ok`.
fn result(line: &str) -> Option<(&str, Outcome, &str)> {
    let (name, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    let (word, reason) = word.split_once(',').unwrap_or((word, ""));
    // `ok <0.012s>`, where times are asked for.
    let outcome = match word.split_whitespace().next()? {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Skipped,
        _ => return None,
    };
    Some((name, outcome, reason.trim()))
}
