//! Making a sandbox, with a line on the terminal while its image is being pulled.

use super::{credentials::Channel, error::CliError};
use crate::api::v1::{
    CreateSandboxRequest, PullProgress, Sandbox, sandbox_service_client::SandboxServiceClient, start_progress::Step,
};
use std::io::{IsTerminal, Write, stderr};

/// Goes back to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";
const MEGABYTE: f64 = 1e6;

/// Makes a sandbox. Where standard error is no terminal it belongs to the commands alone.
pub(super) async fn create(
    sandboxes: &mut SandboxServiceClient<Channel>,
    request: CreateSandboxRequest,
) -> Result<Sandbox, CliError> {
    if !stderr().is_terminal() {
        return Ok(sandboxes.create_sandbox(request).await?.into_inner());
    }
    let image = request.image.clone();
    let mut line = Line { shown: false };
    let mut steps = sandboxes.create_and_watch_sandbox(request).await?.into_inner();
    let mut last = Sandbox::default();
    while let Some(step) = steps.message().await? {
        last = step.sandbox.unwrap_or_default();
        match last.start_progress.unwrap_or_default() {
            progress if progress.step() == Step::PullingImage => {
                line.show(&describe(&image, &progress.pull.unwrap_or_default()));
            }
            _ => line.clear(),
        }
    }
    Ok(last)
}

fn describe(image: &str, pull: &PullProgress) -> String {
    let megabytes = |bytes: i64| bytes as f64 / MEGABYTE;
    format!(
        "pulling {image}: {} of {} layers, {:.1} of {:.1} MB",
        pull.layers_done,
        pull.layers_total,
        megabytes(pull.bytes_received),
        megabytes(pull.bytes_total)
    )
}

/// A line of the terminal that is written over and over, and gone with the value.
struct Line {
    shown: bool,
}

impl Line {
    fn show(&mut self, text: &str) {
        self.shown = true;
        // A terminal that is gone is nothing to end for.
        let _ = write!(stderr(), "{CLEAR}{text}");
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(stderr(), "{CLEAR}");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_described_in_megabytes() {
        let pull = PullProgress { layers_done: 1, layers_total: 3, bytes_received: 1_250_000, bytes_total: 48_500_000 };
        assert_eq!(describe("debian", &pull), "pulling debian: 1 of 3 layers, 1.2 of 48.5 MB");
    }
}
