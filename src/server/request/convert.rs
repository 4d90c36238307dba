//! Between messages and the domain's types.

use crate::{
    api::v1::{self, network::Mode, sandbox, start_progress::Step},
    runtime::{Limits, Network},
    sample::History,
    sandbox::{
        Change, EndReason, Lifetime, NewSandbox, Progress, SampleUsed, SampleWanted, Sandbox, State, Stats, Update,
    },
    volume::{Mounted, VolumeWanted},
};
use std::time::{Duration, SystemTime};

/// What a checked request asks for.
pub(in crate::server) fn new_sandbox(request: v1::CreateSandboxRequest) -> NewSandbox {
    let mode = request.network.unwrap_or_default().mode();
    NewSandbox {
        image: request.image,
        labels: request.labels.into_iter().collect(),
        env: request.env.into_iter().collect(),
        limits: request.resources.map(limits).unwrap_or_default(),
        lifetime: request.lifetime.map(lifetime).unwrap_or_default(),
        network: if mode == Mode::Host { Network::Host } else { Network::None },
        background_is_activity: request.background_is_activity,
        user: request.user,
        working_directory: request.working_directory,
        sample: request.sample.map(sample_wanted),
        volumes: request.volumes.into_iter().map(volume_wanted).collect(),
        request_id: request.request_id,
    }
}

fn sample_wanted(source: v1::SampleSource) -> SampleWanted {
    let history = match source.history() {
        v1::sample_source::History::None => History::None,
        v1::sample_source::History::Past | v1::sample_source::History::Unspecified => History::Past,
    };
    SampleWanted { dataset: source.dataset, sample_id: source.sample_id, history, opens_session: true }
}

fn volume_wanted(mount: v1::VolumeMount) -> VolumeWanted {
    VolumeWanted { volume: mount.volume, path: mount.path, read_only: mount.read_only }
}

fn mounted(volume: Mounted) -> v1::VolumeMount {
    let Mounted { volume_id, name, path, read_only } = volume;
    v1::VolumeMount { volume: name, path, read_only, volume_id }
}

fn sample_used(sample: SampleUsed) -> v1::SandboxSample {
    let history = match sample.history {
        History::Past => v1::sample_source::History::Past,
        History::None => v1::sample_source::History::None,
    };
    v1::SandboxSample {
        dataset: sample.dataset,
        sample_id: sample.sample_id,
        version: sample.version,
        history: history.into(),
    }
}

fn lifetime(lifetime: v1::Lifetime) -> Lifetime {
    Lifetime { ttl: duration(lifetime.ttl), idle_timeout: duration(lifetime.idle_timeout) }
}

fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    // Checked before: none is negative.
    duration.and_then(|duration| duration.try_into().ok())
}

/// Which sandbox a checked request is about, and what it changes.
pub(in crate::server) fn update(request: v1::UpdateSandboxRequest) -> (String, Update) {
    let sandbox = request.sandbox.unwrap_or_default();
    let lifetime = sandbox.lifetime.map(lifetime).unwrap_or_default();
    let mut update = Update::new();
    for path in request.update_mask.unwrap_or_default().paths {
        match path.as_str() {
            "labels" => update.push(Change::Labels(sandbox.labels.clone().into_iter().collect())),
            "expire_time" => {
                update.push(Change::ExpireTime(sandbox.expire_time.and_then(|at| SystemTime::try_from(at).ok())));
            }
            "idle_timeout" => update.push(Change::IdleTimeout(duration(sandbox.idle_timeout))),
            "lifetime" => {
                update.extend([Change::Ttl(lifetime.ttl), Change::IdleTimeout(lifetime.idle_timeout)]);
            }
            "resources.disk_bytes" => {
                update.push(Change::DiskBytes(sandbox.resources.map(limits).and_then(|limits| limits.disk_bytes)));
            }
            "lifetime.ttl" => update.push(Change::Ttl(lifetime.ttl)),
            "lifetime.idle_timeout" => update.push(Change::IdleTimeout(lifetime.idle_timeout)),
            // Refused before.
            _ => {}
        }
    }
    (sandbox.sandbox_id, update)
}

/// What a sandbox uses, as clients see it.
pub(in crate::server) fn stats(sandbox_id: String, stats: Stats) -> v1::SandboxStats {
    let signed = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    v1::SandboxStats {
        sandbox_id,
        cpu_time: stats.usage.cpu_time.and_then(|time| time.try_into().ok()),
        memory_bytes: signed(stats.usage.memory_bytes),
        memory_peak_bytes: signed(stats.usage.memory_peak_bytes),
        processes: signed(stats.usage.processes),
        disk_bytes: signed(stats.usage.disk_bytes),
        sessions: stats.sessions,
        running_commands: stats.running_commands,
        commands: stats.commands,
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
pub(in crate::server) fn sandbox(sandbox: Sandbox) -> v1::Sandbox {
    let Sandbox { about, status, expire_time } = sandbox;
    let details = about.details.clone();
    v1::Sandbox {
        sandbox_id: about.id.clone(),
        state: state(status.state).into(),
        image: details.image,
        labels: status.settings.labels.into_iter().collect(),
        runtime: details.runtime,
        create_time: Some(about.create_time.into()),
        expire_time: expire_time.map(Into::into),
        idle_timeout: status.settings.idle_timeout.and_then(|timeout| timeout.try_into().ok()),
        working_directory: details.working_directory,
        resources: Some(resources(details.limits)),
        network: Some(v1::Network {
            mode: match details.network {
                Network::None => Mode::None,
                Network::Host => Mode::Host,
            }
            .into(),
        }),
        warnings: details.warnings,
        lifetime: None,
        end_reason: end_reason(status.end_reason).into(),
        start_progress: (status.state == State::Starting).then(|| start_progress(status.progress)),
        end_message: status.end_message,
        background_is_activity: details.background_is_activity,
        user: details.user,
        default_session_id: details.default_session_id,
        sample: details.sample.map(sample_used),
        volumes: details.volumes.into_iter().map(mounted).collect(),
    }
}

fn state(state: State) -> sandbox::State {
    match state {
        State::Starting => sandbox::State::Starting,
        State::Running => sandbox::State::Running,
        State::Stopping | State::Abandoned => sandbox::State::Stopping,
        State::Failed => sandbox::State::Failed,
        State::Gone => sandbox::State::Deleted,
    }
}

fn start_progress(progress: Progress) -> v1::StartProgress {
    let count = |layers| i32::try_from(layers).unwrap_or(i32::MAX);
    let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    let (step, pull) = match progress {
        Progress::Waiting => (Step::Waiting, None),
        Progress::Starting => (Step::Starting, None),
        Progress::Preparing => (Step::PreparingSample, None),
        Progress::Pulling(pull) => {
            let pull = v1::PullProgress {
                layers_done: count(pull.layers_done),
                layers_total: count(pull.layers_total),
                bytes_received: bytes(pull.bytes_received),
                bytes_total: bytes(pull.bytes_total),
            };
            (Step::PullingImage, Some(pull))
        }
    };
    v1::StartProgress { step: step.into(), pull }
}

fn end_reason(reason: Option<EndReason>) -> sandbox::EndReason {
    match reason {
        None => sandbox::EndReason::Unspecified,
        Some(EndReason::Deleted) => sandbox::EndReason::Deleted,
        Some(EndReason::Expired) => sandbox::EndReason::Expired,
        Some(EndReason::Idle) => sandbox::EndReason::Idle,
        Some(EndReason::AgentEnded) => sandbox::EndReason::AgentEnded,
        Some(EndReason::ServerStopped) => sandbox::EndReason::ServerStopped,
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
