//! What a sandbox's container is.

use super::{
    Shared,
    home::SHOWN,
    image::Found,
    labels, named_volume, relay, upload,
    volume::{self, PRIVATE_BYTES},
};
use crate::runtime::{Network, SandboxSpec, docker::paths};
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType,
};
use std::collections::HashMap;

/// Where the container sees what the agent starts from.
const START: &str = "/run/sandshell-start";
/// The agent's own files, as programs see them.
const PRIVATE: &str = "/run/sandshell";
/// Bytes of shared memory where memory is not limited.
const SHARED_BYTES: u64 = 1 << 30;

/// Weight of a sandbox's processes together, where a usual container has 1024 (20 and 100 on cgroup version 2): what else runs
/// on the host goes before.
const CPU_SHARES: i64 = 512;

/// What root may do inside: Docker's choice without raw sockets, device nodes and the audit log.
const CAPABILITIES: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// What of `/proc` cannot be written to. A list of one's own takes the place of Docker's, which is the first five. The others
/// are settings of the first process, the agent, which all processes of its user could change. (Not all of `/proc/1`: the
/// container runtime writes to other files there while it starts the container.)
const READ_ONLY: [&str; 16] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/1/oom_score_adj",
    "/proc/1/oom_adj",
    "/proc/1/autogroup",
    "/proc/1/coredump_filter",
    "/proc/1/clear_refs",
    "/proc/1/sched",
    "/proc/1/timerslack_ns",
    "/proc/1/task/1/oom_score_adj",
    "/proc/1/task/1/oom_adj",
    "/proc/1/task/1/clear_refs",
    "/proc/1/task/1/sched",
];

/// What the daemon is asked to make.
pub(super) fn body(shared: &Shared, spec: &SandboxSpec, image: &Found) -> ContainerCreateBody {
    let (program, arguments) = if shared.daemon.is_local() {
        let socket = format!("{START}/{}", paths::START_SOCKET);
        (format!("{START}/{}", paths::PROGRAM), vec!["agent".to_owned(), "--start-socket".to_owned(), socket])
    } else {
        let files = ["--start-config", upload::CONFIG, "--socket", relay::SOCKET].map(str::to_owned);
        (upload::PROGRAM.to_owned(), [vec!["agent".to_owned()], files.to_vec()].concat())
    };
    ContainerCreateBody {
        // The very image that was looked at, whatever its name means by now.
        image: Some(image.id.clone()),
        hostname: Some("sandbox".to_owned()),
        entrypoint: Some(vec![program]),
        cmd: Some(arguments),
        labels: Some(labels::of(shared, labels::SANDBOX, &spec.sandbox_id)),
        // The image's would be run inside the user's sandbox, over and over.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(host(shared, spec, image)),
        ..ContainerCreateBody::default()
    }
}

fn host(shared: &Shared, spec: &SandboxSpec, image: &Found) -> HostConfig {
    let limits = spec.limits;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let memory = limits.memory_bytes.map(signed);
    // An image's own user has to be able to write there too.
    let mode = if image.user.is_empty() { "755" } else { "1777" };
    let private = format!("rw,nosuid,nodev,noexec,size={PRIVATE_BYTES},mode={mode}");
    let local = shared.daemon.is_local();
    let log = HashMap::from([("max-size".to_owned(), "1m".to_owned())]);
    HostConfig {
        memory,
        // Together with swap: so none.
        memory_swap: memory,
        cpu_shares: Some(CPU_SHARES),
        nano_cpus: limits.cpu_millis.map(|millis| signed(millis.saturating_mul(1_000_000))),
        pids_limit: limits.max_processes.map(signed),
        storage_opt: limits.disk_bytes.map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())])),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_paths: Some(READ_ONLY.map(str::to_owned).to_vec()),
        network_mode: Some(
            match spec.network {
                Network::None => "none",
                Network::Host => "host",
            }
            .to_owned(),
        ),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        shm_size: Some(signed(limits.memory_bytes.map_or(SHARED_BYTES, |bytes| (bytes / 2).max(4096)))),
        tmpfs: (!local).then(|| HashMap::from([(PRIVATE.to_owned(), private)])),
        mounts: Some(mounts(shared, spec, local)),
        // The agent is the first process and adopts orphans itself.
        init: Some(false),
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log) }),
        runtime: shared.config.container_runtime.clone(),
        userns_mode: shared.config.userns.clone(),
        ..HostConfig::default()
    }
}

/// What the container is shown while it starts, and the agent's own files: programs see them read-only. And the sandbox's volumes.
fn mounts(shared: &Shared, spec: &SandboxSpec, local: bool) -> Vec<Mount> {
    let volumes = spec.volumes.iter().map(|volume| named_volume::mounted(shared, volume));
    if !local {
        return volumes.collect();
    }
    let sandbox_id = &spec.sandbox_id;
    let shown = Mount {
        target: Some(START.to_owned()),
        source: Some(shared.home.sandbox(sandbox_id).join(SHOWN).display().to_string()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::PRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    };
    let writable = volume::mounted(shared, sandbox_id, &format!("{START}/{}", paths::PRIVATE), false);
    let private = volume::mounted(shared, sandbox_id, PRIVATE, true);
    [shown, writable, private].into_iter().chain(volumes).collect()
}
