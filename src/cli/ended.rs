//! A command and what it has printed, as one line of JSON.

use super::{
    error::CliError,
    follow::End,
    overview::word,
    table,
    terminal::{Collected, Outputs},
};
use crate::api::v1::Exited;
use serde_json::{Value, json};
use std::time::Duration;

/// Prints how a command has ended, if it has, and what it has printed, if that was collected. `what` was run. Whether
/// somebody reads it.
pub(super) fn print(
    sandbox_id: &str,
    command_id: &str,
    what: &[(&str, Value)],
    end: &End,
    outputs: &mut Outputs,
) -> Result<bool, CliError> {
    let exited = match end {
        End::Exited(exited) => Some(exited),
        End::SoFar => None,
        End::NobodyReads => return Ok(false),
    };
    let Some(printed) = outputs.take() else { return Ok(true) };
    let mut object = as_json(sandbox_id, command_id, exited, &printed);
    for (name, value) in what {
        object[*name] = value.clone();
    }
    table::try_print(&format!("{object}\n"))
}

/// A command's end, null where it has none yet, and what it has printed. What is no UTF-8 is shown as U+FFFD.
fn as_json(sandbox_id: &str, command_id: &str, exited: Option<&Exited>, printed: &Collected) -> Value {
    let duration = exited.and_then(|exited| exited.duration).and_then(|duration| Duration::try_from(duration).ok());
    json!({
        "sandbox_id": sandbox_id,
        "command_id": command_id,
        "exit_code": exited.map(|exited| exited.exit_code),
        "signal": exited.map(|exited| exited.signal),
        "reason": exited.map(|exited| word(exited.reason().as_str_name(), "REASON_")),
        "duration_seconds": duration.map(|duration| duration.as_secs_f64()),
        "working_directory": exited.map(|exited| exited.working_directory.as_str()),
        "shell_exited": exited.map(|exited| exited.shell_exited),
        "stdout": String::from_utf8_lossy(&printed.stdout),
        "stderr": String::from_utf8_lossy(&printed.stderr),
        "stdout_truncated": printed.stdout_truncated,
        "stderr_truncated": printed.stderr_truncated,
    })
}
