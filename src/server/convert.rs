//! Between messages and the domain's types.

use crate::{
    api::v1::{self, network::Mode, sandbox},
    runtime::{Limits, Network},
    sandbox::{NewSandbox, Sandbox, State},
};

/// What a checked request asks for.
pub(super) fn new_sandbox(request: v1::CreateSandboxRequest) -> NewSandbox {
    let mode = request.network.unwrap_or_default().mode();
    NewSandbox {
        image: request.image,
        labels: request.labels,
        env: request.env.into_iter().collect(),
        limits: request.resources.map(limits).unwrap_or_default(),
        network: if mode == Mode::Host { Network::Host } else { Network::None },
    }
}

fn limits(resources: v1::Resources) -> Limits {
    // Checked before: none is negative.
    let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    Limits {
        memory_bytes: unsigned(resources.memory_bytes),
        cpu_millis: unsigned(resources.cpu_millis),
        max_processes: unsigned(resources.max_processes),
        disk_bytes: unsigned(resources.disk_bytes),
    }
}

/// A sandbox as clients see it.
pub(super) fn sandbox(sandbox: Sandbox) -> v1::Sandbox {
    v1::Sandbox {
        state: state(sandbox.state).into(),
        sandbox_id: sandbox.id,
        image: sandbox.image,
        labels: sandbox.labels,
        runtime: sandbox.runtime.to_owned(),
        create_time: Some(sandbox.create_time.into()),
        working_directory: sandbox.working_directory.to_owned(),
        resources: Some(resources(sandbox.limits)),
        network: Some(v1::Network {
            mode: match sandbox.network {
                Network::None => Mode::None,
                Network::Host => Mode::Host,
            }
            .into(),
        }),
        warnings: sandbox.warnings,
    }
}

fn state(state: State) -> sandbox::State {
    match state {
        State::Starting => sandbox::State::Starting,
        State::Running => sandbox::State::Running,
        State::Stopping | State::Gone => sandbox::State::Stopping,
        State::Failed => sandbox::State::Failed,
    }
}

fn resources(limits: Limits) -> v1::Resources {
    let signed = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    v1::Resources {
        memory_bytes: signed(limits.memory_bytes),
        cpu_millis: signed(limits.cpu_millis),
        max_processes: signed(limits.max_processes),
        disk_bytes: signed(limits.disk_bytes),
    }
}
