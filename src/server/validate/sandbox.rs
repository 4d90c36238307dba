//! Requests of SandboxService.

use super::{Checks, MAX_PATH, short};
use crate::{
    api::v1::{
        CreateSandboxRequest, DeleteSandboxRequest, GetSandboxRequest, ListSandboxesRequest, Resources, network::Mode,
    },
    error::Result,
};
use std::collections::HashMap;

const MAX_LABELS: usize = 64;
const MIB: i64 = 1 << 20;

pub(in crate::server) fn create_sandbox(request: &CreateSandboxRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.text("image", &request.image, MAX_PATH);
    labels(&mut checks, &request.labels);
    checks.env("env", &request.env);
    if let Some(limits) = &request.resources {
        resources(&mut checks, limits);
    }
    if let Some(network) = &request.network {
        checks.known::<Mode>("network.mode", network.mode);
    }
    checks.finish()
}

fn labels(checks: &mut Checks, labels: &HashMap<String, String>) {
    if labels.len() > MAX_LABELS {
        checks.wrong("labels", format!("has {} pairs; may have {MAX_LABELS}", labels.len()));
    }
    for (key, value) in labels {
        let path = || format!("labels[{:?}]", short(key));
        if !(1..=63).contains(&key.chars().count()) {
            checks.wrong(path(), "a key must have 1 to 63 characters");
        }
        if !(1..=255).contains(&value.chars().count()) {
            checks.wrong(path(), "a value must have 1 to 255 characters");
        }
    }
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
        checks.wrong("labels", format!("may have {MAX_LABELS} pairs"));
    }
    checks.finish()
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};
    use crate::api::v1::Network;

    #[test]
    fn all_violations_come_at_once() {
        let request = CreateSandboxRequest {
            image: "a\0".into(),
            labels: [("".into(), "x".into())].into(),
            env: [("A=B".into(), "".into())].into(),
            resources: Some(Resources { memory_bytes: Some(1), cpu_millis: Some(0), ..Resources::default() }),
            network: Some(Network { mode: 9 }),
        };
        let expected =
            ["image", "labels[\"\"]", "env[\"A=B\"]", "resources.memory_bytes", "resources.cpu_millis", "network.mode"];
        assert_eq!(fields(create_sandbox(&request)), expected);
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
