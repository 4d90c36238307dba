//! What runs in a sandbox cannot reach the host, however hard it tries. Each test is an attempt.

use crate::kit::Sandbox;

mod files;
mod kernel;
mod neighbours;
mod processes;

/// Runs a Python program inside, where most of these attempts are easiest to say.
async fn python(sandbox: &Sandbox, program: &str) -> crate::kit::Finished {
    let quoted = program.replace('\'', r"'\''");
    sandbox.run(&format!("/usr/bin/python3 -c '{quoted}'")).await
}
