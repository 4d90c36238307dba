//! What this host can give, and what an operator must do where it cannot.

use crate::runtime::linux::{failure::Failure, layout::Layout, rootfs::tree::HOST_IMAGE};
use std::{fs, path::Path};

/// Whether sandboxes get a range of ids and copy-on-write layers made by root. It takes root with `CAP_SYS_ADMIN`, not
/// only root's number.
pub(super) fn is_privileged() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let admin = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    rustix::process::geteuid().is_root() && admin
}

/// What is weaker without root.
pub(super) const WITHOUT_ROOT: &str = "the server runs without root: the host's programs are read-only in sandboxes, \
    and a sandbox has no user but root (installing packages with apt does not work)";

/// What is weaker where a directory's file system cannot map ids.
pub(super) fn unchangeable(path: &Path) -> String {
    let path = path.display();
    format!(
        "{path} is read-only in sandboxes: its file system has no mounts with mapped ids (in a container, none has)"
    )
}

/// Why a rehearsal failed, with the remedies that fit this host.
pub(super) fn explain(failure: Failure, layout: &Layout) -> Failure {
    let mut step = format!("this host cannot run sandboxes: {}", failure.step);
    if failure.step.contains(HOST_IMAGE) && failure.errno == libc::EINVAL {
        step = format!(
            "{step}; layers need Linux 5.19 and a data directory on ext4, xfs or btrfs (tmpfs: 6.3, without root 6.6)"
        );
    }
    for remedy in remedies(layout) {
        step = format!("{step}; {remedy}");
    }
    Failure { step, ..failure }
}

/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAYFS: i64 = 0x794c_7630;

fn has_all_ids() -> bool {
    let all = |file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let fields: Vec<_> = text.split_whitespace().collect();
        fields == ["0", "0", "4294967295"]
    };
    all("/proc/self/uid_map") && all("/proc/self/gid_map")
}

/// Settings that are known to stand in the way, and how to change them.
fn remedies(layout: &Layout) -> Vec<String> {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let mut found = Vec::new();
    if rustix::fs::statfs(layout.root()).is_ok_and(|file_system| file_system.f_type == OVERLAYFS) {
        found.push(format!(
            "{} is on an overlay file system, which cannot hold layers; choose another data directory, in a container \
             one on a volume",
            layout.root().display()
        ));
    }
    if is_privileged() && !has_all_ids() {
        found.push(
            "only a part of the host's ids can be used here (see /proc/self/uid_map), too few for sandboxes".to_owned(),
        );
    }
    if !Path::new("/proc/self/ns/user").exists() {
        found.push("this kernel has no user namespaces (CONFIG_USER_NS)".to_owned());
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        found.push("user namespaces are switched off: sysctl user.max_user_namespaces=15000".to_owned());
    }
    if !is_privileged() {
        if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
            found.push("only root may make user namespaces: sysctl kernel.unprivileged_userns_clone=1".to_owned());
        }
        if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
            found.push(
                "AppArmor keeps ordinary users from making user namespaces: \
                 sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile that allows userns for this program"
                    .to_owned(),
            );
        }
        if rustix::process::geteuid().is_root() {
            found.push("root lacks CAP_SYS_ADMIN here; in a container: docker run --privileged".to_owned());
        }
    }
    found
}
