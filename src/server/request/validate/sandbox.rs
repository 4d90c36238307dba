//! Requests of SandboxService.

use super::{Checks, MAX_LABELS, MAX_PATH, short, volume};
use crate::{
    api::v1::{
        CreateSandboxRequest, DeleteSandboxRequest, GetSandboxRequest, Lifetime, ListSandboxesRequest, Resources,
        UpdateSandboxRequest, network::Mode, sample_source::History,
    },
    error::Result,
};
use prost_types::Duration;
use std::time::SystemTime;

/// Of a dataset or sample.
const MAX_NAME: usize = 200;
/// In seconds.
const LONGEST_LIFE: i64 = 365 * 86_400;
const MIB: i64 = 1 << 20;

pub(in crate::server) fn create_sandbox(request: &CreateSandboxRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.text("image", &request.image, MAX_PATH);
    checks.labels(&request.labels);
    checks.env("env", &request.env);
    if let Some(limits) = &request.resources {
        resources(&mut checks, limits);
    }
    if let Some(network) = &request.network {
        checks.known::<Mode>("network.mode", network.mode);
    }
    if let Some(lifetime) = &request.lifetime {
        self::lifetime(&mut checks, "lifetime", lifetime);
    }
    checks.user("user", &request.user);
    checks.absolute_directory("working_directory", &request.working_directory);
    if let Some(sample) = &request.sample {
        checks.text("sample.dataset", &sample.dataset, MAX_NAME);
        checks.required("sample.sample_id", &sample.sample_id);
        checks.text("sample.sample_id", &sample.sample_id, MAX_NAME);
        checks.known::<History>("sample.history", sample.history);
    }
    volume::mounts(&mut checks, &request.volumes, request.sample.is_some());
    checks.request_id("request_id", &request.request_id);
    checks.finish()
}

fn lifetime(checks: &mut Checks, field: &str, lifetime: &Lifetime) {
    span(checks, &format!("{field}.ttl"), lifetime.ttl.as_ref());
    span(checks, &format!("{field}.idle_timeout"), lifetime.idle_timeout.as_ref());
}

fn span(checks: &mut Checks, field: &str, value: Option<&Duration>) {
    let Some(value) = value else { return };
    let zero = value.seconds == 0 && value.nanos == 0;
    let in_range = (1..LONGEST_LIFE).contains(&value.seconds) && (0..1_000_000_000).contains(&value.nanos)
        || (value.seconds, value.nanos) == (LONGEST_LIFE, 0);
    checks.check(zero || in_range, field, "must be 1 s to 365 days, or 0 s for no limit");
}

pub(in crate::server) fn update_sandbox(request: &UpdateSandboxRequest) -> Result<()> {
    let mut checks = Checks::default();
    let Some(sandbox) = &request.sandbox else {
        checks.wrong("sandbox", "is required: sandbox_id says which, the other fields say what");
        return checks.finish();
    };
    checks.required("sandbox.sandbox_id", &sandbox.sandbox_id);
    let paths = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    checks.check(!paths.is_empty(), "update_mask", "is required: which fields to change");
    for path in paths {
        match path.as_str() {
            "labels" => checks.labels(&sandbox.labels),
            "expire_time" => {
                let at = sandbox.expire_time.map(SystemTime::try_from);
                checks.check(!matches!(at, Some(Err(_))), "sandbox.expire_time", "is not a time");
            }
            "idle_timeout" => span(&mut checks, "sandbox.idle_timeout", sandbox.idle_timeout.as_ref()),
            "lifetime" | "lifetime.ttl" | "lifetime.idle_timeout" => {
                lifetime(&mut checks, "sandbox.lifetime", &sandbox.lifetime.unwrap_or_default());
            }
            "resources.disk_bytes" => {
                if let Some(bytes) = sandbox.resources.and_then(|limits| limits.disk_bytes) {
                    checks.range("sandbox.resources.disk_bytes", bytes, MIB, i64::MAX);
                }
            }
            other => checks.wrong(
                "update_mask",
                format!(
                    "{:?} cannot be changed; labels, expire_time, idle_timeout, lifetime and resources.disk_bytes can",
                    short(other)
                ),
            ),
        }
    }
    checks.finish()
}

pub(in crate::server) fn sandbox_id(id: &str) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", id);
    checks.finish()
}

fn resources(checks: &mut Checks, limits: &Resources) {
    let fields = [
        ("resources.memory_bytes", limits.memory_bytes, 16 * MIB, MIB * MIB),
        ("resources.cpu_millis", limits.cpu_millis, 10, 1_024_000),
        ("resources.max_processes", limits.max_processes, 8, 1_000_000),
        ("resources.disk_bytes", limits.disk_bytes, MIB, i64::MAX),
    ];
    for (field, value, from, to) in fields {
        if let Some(value) = value {
            checks.range(field, value, from, to);
        }
    }
}

pub(in crate::server) fn get_sandbox(request: &GetSandboxRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", &request.sandbox_id);
    checks.finish()
}

pub(in crate::server) fn delete_sandbox(request: &DeleteSandboxRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", &request.sandbox_id);
    checks.finish()
}

pub(in crate::server) fn list_sandboxes(request: &ListSandboxesRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.page(request.page_size, crate::sandbox::is_page_token(&request.page_token));
    if request.labels.len() > MAX_LABELS {
        checks.wrong("labels", format!("may have at most {MAX_LABELS} pairs"));
    }
    checks.finish()
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};
    use crate::api::v1::{Network, Sandbox};
    use prost_types::FieldMask;

    #[test]
    fn all_violations_come_at_once() {
        let request = CreateSandboxRequest {
            image: "a\0".into(),
            labels: [("".into(), "x".into())].into(),
            env: [("A=B".into(), "".into())].into(),
            resources: Some(Resources { memory_bytes: Some(1), cpu_millis: Some(0), ..Resources::default() }),
            network: Some(Network { mode: 9 }),
            lifetime: Some(Lifetime {
                ttl: Some(Duration { seconds: -1, nanos: 0 }),
                idle_timeout: Some(Duration { seconds: 0, nanos: 5 }),
            }),
            request_id: "x".repeat(129),
            ..CreateSandboxRequest::default()
        };
        let expected = [
            "image",
            "labels[\"\"]",
            "env[\"A=B\"]",
            "resources.memory_bytes",
            "resources.cpu_millis",
            "network.mode",
            "lifetime.ttl",
            "lifetime.idle_timeout",
            "request_id",
        ];
        assert_eq!(fields(create_sandbox(&request)), expected);
    }

    #[test]
    fn an_update_names_what_it_changes() {
        let update = |paths: &[&str], sandbox: Sandbox| {
            let update_mask = Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
            fields(update_sandbox(&UpdateSandboxRequest { sandbox: Some(sandbox), update_mask }))
        };
        let named = || Sandbox { sandbox_id: "sbx-1".into(), ..Sandbox::default() };
        assert!(
            update(&["labels", "expire_time", "idle_timeout", "lifetime.ttl", "resources.disk_bytes"], named())
                .is_empty()
        );
        assert_eq!(update(&[], Sandbox::default()), ["sandbox.sandbox_id", "update_mask"]);
        assert_eq!(update(&["state", "image", "resources"], named()), ["update_mask"; 3]);
        let small = Resources { disk_bytes: Some(MIB - 1), ..Resources::default() };
        let small = Sandbox { resources: Some(small), ..named() };
        assert_eq!(update(&["resources.disk_bytes"], small), ["sandbox.resources.disk_bytes"]);
        // What is not named is not looked at.
        let bad = || Sandbox { labels: [("".into(), "x".into())].into(), ..named() };
        assert!(update(&["idle_timeout"], bad()).is_empty());
        assert_eq!(update(&["labels"], bad()), ["labels[\"\"]"]);
        assert_eq!(fields(update_sandbox(&UpdateSandboxRequest::default())), ["sandbox"]);
    }

    #[test]
    fn bounds_are_those_of_the_proto() {
        let with = |memory| CreateSandboxRequest {
            resources: Some(Resources { memory_bytes: Some(memory), ..Resources::default() }),
            ..CreateSandboxRequest::default()
        };
        assert!(create_sandbox(&with(16_777_216)).is_ok());
        assert!(create_sandbox(&with(1 << 40)).is_ok());
        assert!(create_sandbox(&with(16_777_215)).is_err());
        assert!(create_sandbox(&with((1 << 40) + 1)).is_err());
        assert!(create_sandbox(&with(-1)).is_err());
        let page = |page_size| list_sandboxes(&ListSandboxesRequest { page_size, ..Default::default() });
        assert!(page(0).is_ok() && page(1000).is_ok() && page(1001).is_err() && page(-1).is_err());
    }
}
