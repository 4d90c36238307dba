//! What this host can give, and what an operator must do where it cannot.

use super::wire::Failure;
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

/// Why a rehearsal failed, with the remedies that fit this host.
pub(super) fn explain(failure: Failure) -> Failure {
    let mut step = format!("this host cannot run sandboxes: {}", failure.step);
    for remedy in remedies() {
        step = format!("{step}; {remedy}");
    }
    Failure { step, ..failure }
}

/// Settings that are known to stand in the way, and how to change them.
fn remedies() -> Vec<String> {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let mut found = Vec::new();
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
