//! What came of a verification, for people and for programs. What a sandbox has written is shown without what a terminal would obey.

use super::super::table::{Table, is_obeyed};
use crate::api::v1::{
    TestResult, Verification, VerificationResult, test_result::Outcome, verification::State, verification_error,
    verification_result,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Where it is, while it is not over.
pub(super) fn progress(verification: &Verification) -> String {
    let what = match verification.state() {
        State::Pending => "waits for its turn",
        State::Starting => "is being prepared",
        State::Running => "runs",
        _ => "is over",
    };
    let again = if verification.attempt > 1 { format!(" (attempt {})", verification.attempt) } else { String::new() };
    format!(
        "sandshell: {} of {}/{} {what}{again}",
        verification.verification_id, verification.dataset, verification.sample_id
    )
}

/// The tests as a table, and the verdict.
pub(super) fn text(verification: &Verification) -> String {
    let Some(result) = &verification.result else {
        return match &verification.error {
            Some(error) => {
                format!(
                    "could not be carried out: {}: {}\n",
                    name_of_reason(error.reason().as_str_name()),
                    plain(&error.message)
                )
            }
            None => format!("{}\n", name_of(verification.state())),
        };
    };
    let mut table = Table::new(["OUTCOME", "TIME", "TEST"]);
    for test in &result.tests {
        table.add([word(test).to_owned(), time(test.duration.as_ref()), plain(&test.name)]);
    }
    let mut text = if result.tests.is_empty() { String::new() } else { table.to_string() };
    if result.tests_truncated {
        text += "… and more\n";
    }
    for test in result.tests.iter().filter(|test| test.outcome() == Outcome::Failed && !test.message.is_empty()) {
        text += &format!("\n{}:\n", plain(&test.name));
        text.extend(test.message.lines().map(|line| format!("    {}\n", plain(line))));
    }
    let verdict =
        if result.is_success { "success".to_owned() } else { format!("no success: {}", plain(&result.message)) };
    text + &format!(
        "{verdict}\n{} passed, {} failed, {} skipped; {} changed, {} restored; {}\n",
        result.passed,
        result.failed,
        result.skipped,
        result.changes_total,
        result.changes_restored,
        time(result.duration.as_ref()),
    )
}

/// All of it, with names as in the proto.
pub(super) fn json(verification: &Verification) -> Value {
    json!({
        "verification_id": verification.verification_id,
        "sandbox_id": verification.sandbox_id,
        "state": name_of(verification.state()),
        "attempt": verification.attempt,
        "dataset": verification.dataset,
        "sample_id": verification.sample_id,
        "sample_version": verification.sample_version,
        "sample_fingerprint": verification.sample_fingerprint,
        "image": verification.image,
        "patch_sha256": verification.patch_sha256,
        "create_time": verification.create_time.map(|time| time.to_string()),
        "start_time": verification.start_time.map(|time| time.to_string()),
        "end_time": verification.end_time.map(|time| time.to_string()),
        "result": verification.result.as_ref().map(result),
        "error": verification.error.as_ref().map(|error| {
            let reason = verification_error::Reason::try_from(error.reason).unwrap_or_default();
            json!({ "reason": name_of_reason(reason.as_str_name()), "message": error.message })
        }),
    })
}

fn result(result: &VerificationResult) -> Value {
    let reason = verification_result::Reason::try_from(result.reason).unwrap_or_default();
    let tests = result.tests.iter().map(|test| {
        json!({ "name": test.name, "outcome": word(test), "seconds": seconds(test.duration.as_ref()), "message": test.message })
    });
    let tests: Vec<Value> = tests.collect();
    json!({
        "is_success": result.is_success,
        "reason": if result.is_success { None } else { Some(name_of_reason(reason.as_str_name())) },
        "message": result.message,
        "passed": result.passed,
        "failed": result.failed,
        "skipped": result.skipped,
        "total": result.total,
        "tests": tests,
        "tests_truncated": result.tests_truncated,
        "exit_code": result.exit_code,
        "seconds": seconds(result.duration.as_ref()),
        "stdout": result.stdout,
        "stderr": result.stderr,
        "stdout_total_bytes": result.stdout_total_bytes,
        "stderr_total_bytes": result.stderr_total_bytes,
        "stdout_truncated": result.stdout_truncated,
        "stderr_truncated": result.stderr_truncated,
        "changes": result.changes,
        "changes_total": result.changes_total,
        "changes_restored": result.changes_restored,
    })
}

/// Without what all of them begin with.
pub(in crate::cli) fn name_of_reason(name: &'static str) -> &'static str {
    name.strip_prefix("REASON_").unwrap_or(name)
}

fn name_of(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Starting => "starting",
        State::Running => "running",
        State::Completed => "completed",
        State::Error => "error",
        State::Cancelled => "cancelled",
        State::Unspecified => "unknown",
    }
}

fn word(test: &TestResult) -> &'static str {
    match test.outcome() {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Skipped => "skipped",
        Outcome::Unspecified => "unknown",
    }
}

fn seconds(duration: Option<&prost_types::Duration>) -> Option<f64> {
    duration.and_then(|duration| Duration::try_from(*duration).ok()).map(|duration| duration.as_secs_f64())
}

fn time(duration: Option<&prost_types::Duration>) -> String {
    seconds(duration).map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3} s"))
}

/// Text without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|character| if is_obeyed(character) { '\u{fffd}' } else { character }).collect()
}
