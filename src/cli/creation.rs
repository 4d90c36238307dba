//! Making a sandbox, with a line on the terminal while its image is being pulled.

use super::{credentials::Channel, error::CliError, progress::Line};
use crate::api::v1::{
    CreateSandboxRequest, PullProgress, Sandbox, sandbox_service_client::SandboxServiceClient, start_progress::Step,
};
use std::io::{IsTerminal, stderr};

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
    let mut line = Line::default();
    let mut steps = sandboxes.create_and_watch_sandbox(request).await?.into_inner();
    let mut last = Sandbox::default();
    while let Some(step) = steps.message().await? {
        last = step.sandbox.unwrap_or_default();
        match last.start_progress.unwrap_or_default() {
            progress if progress.step() == Step::PullingImage => {
                line.show(&describe(&image, &progress.pull.unwrap_or_default()));
            }
            progress if progress.step() == Step::PreparingSample => line.show("preparing the sample"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_described_in_megabytes() {
        let pull = PullProgress { layers_done: 1, layers_total: 3, bytes_received: 1_250_000, bytes_total: 48_500_000 };
        assert_eq!(describe("debian", &pull), "pulling debian: 1 of 3 layers, 1.2 of 48.5 MB");
    }
}
