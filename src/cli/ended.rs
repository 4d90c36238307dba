//! The end of a command as one line of JSON.

use super::{
    error::CliError,
    follow::End,
    table,
    terminal::{Collected, Outputs},
};
use crate::api::v1::Exited;
use serde_json::{Value, json};
use std::time::Duration;

/// Prints how a command has ended, and what it has printed, if that was collected. `what` was run.
pub(super) fn print(
    sandbox_id: &str,
    command_id: &str,
    what: &[(&str, Value)],
    end: &End,
    outputs: &mut Outputs,
) -> Result<(), CliError> {
    if let End::Exited(exited) = end
        && let Some(printed) = outputs.take()
    {
        let mut object = as_json(sandbox_id, command_id, exited, &printed);
        for (name, value) in what {
            object[*name] = value.clone();
        }
        table::print(&format!("{}\n", object))?;
    }
    Ok(())
}

/// A command's end and what it has printed. What is no UTF-8 is shown as U+FFFD.
fn as_json(sandbox_id: &str, command_id: &str, exited: &Exited, printed: &Collected) -> Value {
    let duration = exited.duration.and_then(|duration| Duration::try_from(duration).ok());
    json!({
        "sandbox_id": sandbox_id,
        "command_id": command_id,
        "exit_code": exited.exit_code,
        "signal": exited.signal,
        "reason": exited.reason().as_str_name().to_ascii_lowercase(),
        "duration_seconds": duration.map(|duration| duration.as_secs_f64()),
        "working_directory": exited.working_directory,
        "shell_exited": exited.shell_exited,
        "stdout": String::from_utf8_lossy(&printed.stdout),
        "stderr": String::from_utf8_lossy(&printed.stderr),
        "stdout_truncated": printed.stdout_truncated,
        "stderr_truncated": printed.stderr_truncated,
    })
}
