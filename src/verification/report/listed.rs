//! What a command of a sample prints that knows the form of its tests: a JSON object in each line, as
//! `{"name": "a test", "outcome": "passed", "duration": 0.1, "message": "…"}`. The outcome is `passed`, `failed` or `skipped`; duration, in
//! seconds, and message may be left out.

use super::{BadReport, Gathered, Outcome, Report};
use serde::Deserialize;
use std::time::Duration;

#[derive(Deserialize)]
struct Line {
    name: String,
    outcome: Outcome,
    #[serde(default)]
    duration: Option<f64>,
    #[serde(default)]
    message: String,
}

pub(super) fn read(text: &str) -> Result<Report, BadReport> {
    let mut gathered = Gathered::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Line { name, outcome, duration, message } = serde_json::from_str(line).map_err(|error| {
            let what = format!("line {}: {error}", number + 1);
            BadReport::Malformed { form: "a JSON object in each line", what }
        })?;
        let duration = duration.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        gathered.add(&name, outcome, duration, &message)?;
    }
    Ok(gathered.finish(None))
}
