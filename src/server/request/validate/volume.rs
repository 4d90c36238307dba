//! Requests of VolumeService, and the volumes that a new sandbox is to have.

use super::{Checks, MAX_PATH};
use crate::{
    api::v1::{CreateVolumeRequest, ListVolumesRequest, VolumeMount},
    error::Result,
    rpc::paging,
    volume::ID_PREFIX,
};
use std::path::Path;

/// Characters of a name, and of an id.
const MAX_NAME: usize = 63;
/// Volumes of one sandbox.
const MAX_VOLUMES: usize = 32;
const MIB: i64 = 1 << 20;

/// Where the code of a sample is.
const WORKSPACE: &str = "/workspace";

/// What belongs to the sandbox itself, and may not be covered.
const TAKEN: [&str; 4] = ["/proc", "/sys", "/dev", "/run/sandshell"];

pub(in crate::server) fn create_volume(request: &CreateVolumeRequest) -> Result<()> {
    let mut checks = Checks::default();
    let name = &request.name;
    checks.required("name", name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = name.len() <= MAX_NAME
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.starts_with(ID_PREFIX);
    let right = format!(
        "must be 1 to {MAX_NAME} letters, digits and ._-, and begin with a letter or a digit, and not with {ID_PREFIX:?}"
    );
    checks.check(name.is_empty() || fits, "name", &right);
    checks.labels(&request.labels);
    if let Some(bytes) = request.size_bytes {
        checks.range("size_bytes", bytes, MIB, i64::MAX);
        let is_own = request.host_directory.is_empty();
        checks.check(is_own, "size_bytes", "cannot be given with host_directory: nobody limits that");
    }
    checks.absolute_directory("host_directory", &request.host_directory);
    checks.request_id("request_id", &request.request_id);
    checks.finish()
}

pub(in crate::server) fn named(volume: &str) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("volume", volume);
    checks.text("volume", volume, MAX_PATH);
    checks.finish()
}

pub(in crate::server) fn list_volumes(request: &ListVolumesRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.page(request.page_size, paging::last_name(&request.page_token).is_some());
    checks.finish()
}

/// Volumes of a new sandbox, which may be made from a sample.
pub(super) fn mounts(checks: &mut Checks, mounts: &[VolumeMount], is_of_sample: bool) {
    if mounts.len() > MAX_VOLUMES {
        checks.wrong("volumes", format!("has {} entries; may have at most {MAX_VOLUMES}", mounts.len()));
        return;
    }
    for (number, mount) in mounts.iter().enumerate() {
        let field = |name: &str| format!("volumes[{number}].{name}");
        checks.required(&field("volume"), &mount.volume);
        checks.text(&field("volume"), &mount.volume, MAX_PATH);
        let path = Path::new(&mount.path);
        let taken = TAKEN.iter().find(|taken| path.starts_with(taken) || Path::new(taken).starts_with(path));
        let other = mounts.iter().take(number).position(|other| {
            let other = Path::new(&other.path);
            path.starts_with(other) || other.starts_with(path)
        });
        checks.text(&field("path"), &mount.path, MAX_PATH);
        let hides_sample = is_of_sample && Path::new(WORKSPACE).starts_with(path);
        if !is_normal(&mount.path) {
            checks.wrong(field("path"), "must be an absolute path, without . and .. and double slashes, and not /");
        } else if hides_sample {
            checks.wrong(field("path"), format!("covers {WORKSPACE}, where the code of the sample is"));
        } else if let Some(taken) = taken {
            checks.wrong(field("path"), format!("covers {taken}, or is in it, which the sandbox has itself"));
        } else if let Some(other) = other {
            checks.wrong(field("path"), format!("covers volumes[{other}].path, or is in it"));
        }
    }
}

fn is_normal(path: &str) -> bool {
    let Some(names) = path.strip_prefix('/') else { return false };
    names.split('/').all(|name| !matches!(name, "" | "." | "..") && name.len() <= 255)
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};

    #[test]
    fn names_cannot_be_taken_for_ids() {
        let name = |name: &str| fields(create_volume(&CreateVolumeRequest { name: name.into(), ..Default::default() }));
        for right in ["a", "data-1.2_x", "0", &"x".repeat(63)] {
            assert_eq!(name(right), [""; 0], "{right}");
        }
        for wrong in ["", "-a", ".", "vol-1", "a b", "a/b", "\u{e9}", &"x".repeat(64)] {
            assert_eq!(name(wrong), ["name"], "{wrong}");
        }
        let wrong = CreateVolumeRequest {
            name: "x".into(),
            size_bytes: Some(MIB - 1),
            host_directory: "relative".into(),
            request_id: "x".repeat(129),
            ..Default::default()
        };
        assert_eq!(fields(create_volume(&wrong)), ["size_bytes", "size_bytes", "host_directory", "request_id"]);
    }

    #[test]
    fn paths_cover_neither_each_other_nor_what_is_the_sandboxs() {
        let told_of = |paths: &[&str], is_of_sample| {
            let mount = |path: &&str| VolumeMount { volume: "v".into(), path: (*path).into(), ..Default::default() };
            let mut checks = Checks::default();
            mounts(&mut checks, &paths.iter().map(mount).collect::<Vec<_>>(), is_of_sample);
            fields(checks.finish())
        };
        let told = |paths: &[&str]| told_of(paths, false);
        assert_eq!(told_of(&["/workspace", "/workspaces"], true), ["volumes[0].path"]);
        assert_eq!(told_of(&["/workspace/node_modules"], true), [""; 0]);
        assert_eq!(told(&["/workspace"]), [""; 0]);
        assert_eq!(told(&["/data", "/database", "/var/lib/x", "/runner", "/run/other", "/home/a b"]), [""; 0]);
        for wrong in [
            "",
            "/",
            "data",
            "/a/",
            "//a",
            "/a/../b",
            "/a/.",
            "/proc",
            "/dev/shm",
            "/sys/x",
            "/run",
            "/run/sandshell/x",
        ] {
            assert_eq!(told(&[wrong]), ["volumes[0].path"], "{wrong}");
        }
        assert_eq!(told(&["/a/b", "/a", "/a/b/c", "/a/b"]), ["volumes[1].path", "volumes[2].path", "volumes[3].path"]);
        assert_eq!(told(&["/x"; 33]), ["volumes"]);
        assert_eq!(told(&[&format!("/{}", "x".repeat(256))]), ["volumes[0].path"]);
    }
}
