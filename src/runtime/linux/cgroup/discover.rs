//! Finds out which limits this host lets the server set, and prepares the directories for them.

use super::{
    Cgroups, Controller, Hierarchy, Version,
    mounts::{CgroupMount, directory, own_path, parse_mounts},
    write,
};
use crate::proc::Stat;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The server's own cgroup on version 2, beside the sandboxes': a cgroup whose children are limited may hold no process
/// itself. (With systemd, `Delegate=yes` and `DelegateSubgroup=sandshell-server` start the server there.)
const SERVER_LEAF: &str = "sandshell-server";

/// Its weight, where all sandboxes together have 100: who waits for the server waits for no program. The kernel allows 1
/// to 10000.
const SERVER_WEIGHT: &str = "1000";

/// Prepares `sandshell-<instance>` wherever limits can be set. Also returns one sentence for each limit that cannot.
pub(in crate::runtime::linux) fn discover(instance: &str) -> io::Result<(Cgroups, Vec<String>)> {
    let mounts = parse_mounts(&fs::read_to_string("/proc/self/mountinfo")?);
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let name = format!("sandshell-{instance}");
    let mut cgroups = Cgroups::default();
    let mut reasons = Vec::new();
    for controller in Controller::LIMITS {
        match version1(&mounts, &own, controller, &name) {
            Ok(Some(parent)) => add(&mut cgroups, parent, Version::V1, controller),
            Ok(None) => {}
            Err(error) => {
                reasons.push((Some(controller), format!("the server may not make a cgroup v1 for it: {error}")));
            }
        }
    }
    for companion in Controller::COMPANIONS {
        // A host that gives none keeps all limits. Only who looks for them there is told less.
        if let Ok(Some(parent)) = version1(&mounts, &own, companion, &name) {
            add(&mut cgroups, parent, Version::V1, companion);
        }
    }
    match version2(&mounts, &own, &cgroups, &name) {
        Ok(Some(hierarchy)) => cgroups.hierarchies.push(hierarchy),
        Ok(None) => {}
        Err(reason) => reasons.push((None, reason)),
    }
    Ok((cgroups.clone(), warnings(&cgroups, &reasons)))
}

fn add(cgroups: &mut Cgroups, parent: PathBuf, version: Version, controller: Controller) {
    match cgroups.hierarchies.iter_mut().find(|hierarchy| hierarchy.parent == parent) {
        // Controllers that are mounted together, as `cpu,memory`, share their directories.
        Some(hierarchy) => hierarchy.controllers.push(controller),
        None => cgroups.hierarchies.push(Hierarchy { parent, version, controllers: vec![controller] }),
    }
}

fn version1(mounts: &[CgroupMount], own: &str, controller: Controller, name: &str) -> io::Result<Option<PathBuf>> {
    let has = |mount: &&CgroupMount| !mount.unified && mount.options.iter().any(|option| option == controller.name());
    let found = mounts.iter().filter(has).find_map(|mount| directory(mount, own_path(own, Some(controller.name()))?));
    let Some(own) = found else { return Ok(None) };
    let parent = own.join(name);
    make(&parent)?;
    // A directory that exists but is another user's would only fail later.
    rustix::fs::access(&parent, rustix::fs::Access::WRITE_OK)?;
    if controller == Controller::Cpuset {
        all_processors(&own, &parent)?;
    }
    Ok(Some(parent))
}

/// Gives a new group of `cpuset` what the one above it has, and so all groups that are made in it: one that has nothing
/// takes no process.
fn all_processors(above: &Path, group: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        write(group, file, fs::read_to_string(above.join(file))?.trim())?;
    }
    write(group, "cgroup.clone_children", "1")
}

fn version2(mounts: &[CgroupMount], own: &str, so_far: &Cgroups, name: &str) -> Result<Option<Hierarchy>, String> {
    let Some(mount) = mounts.iter().find(|mount| mount.unified) else { return Ok(None) };
    let Some(own) = own_path(own, None).and_then(|path| directory(mount, path)) else {
        return Err("the server's own cgroup is outside of the mounted cgroup2 file system".to_owned());
    };
    let available = listed(&own.join("cgroup.controllers"));
    let wanted: Vec<_> = Controller::LIMITS
        .into_iter()
        .filter(|controller| !so_far.has(*controller) && available.iter().any(|name| name == controller.name()))
        .collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let base = base(mount, &own)?;
    let parent = base.join(name);
    enable(&base, &wanted)
        .and_then(|()| make(&parent))
        .and_then(|()| enable(&parent, &wanted))
        .map_err(|error| format!("cgroup v2, {}: {error}", base.display()))?;
    if own.ends_with(SERVER_LEAF) || base == own {
        // Not where the server has no cgroup of its own. It costs speed only.
        let _ = write(&base.join(SERVER_LEAF), "cpu.weight", SERVER_WEIGHT);
    }
    let enabled = listed(&parent.join("cgroup.subtree_control"));
    let controllers: Vec<_> =
        wanted.into_iter().filter(|controller| enabled.iter().any(|name| name == controller.name())).collect();
    Ok((!controllers.is_empty()).then_some(Hierarchy { parent, version: Version::V2, controllers }))
}

/// The cgroup below which sandboxes get theirs: one that holds no processes, or the root, where that does not matter.
fn base(mount: &CgroupMount, own: &Path) -> Result<PathBuf, String> {
    let is_root = |path: &Path| !path.join("cgroup.type").exists();
    if is_root(own) {
        return Ok(own.to_owned());
    }
    if own.file_name().is_some_and(|name| name == SERVER_LEAF) {
        return own.parent().map(Path::to_owned).ok_or_else(|| "a cgroup without a parent".to_owned());
    }
    let processes = listed(&own.join("cgroup.procs"));
    let own_pid = std::process::id().to_string();
    let alone = processes.iter().all(|pid| *pid == own_pid);
    if !alone && rustix::process::geteuid().is_root() && is_root(&mount.point) {
        return Ok(mount.point.clone());
    }
    // What only waits for the server, a wrapper or a container's init, may move with it; the server last, when the
    // others' right to has shown.
    let mut line = ancestors();
    if processes.iter().all(|pid| line.contains(pid)) {
        line.retain(|pid| processes.contains(pid));
        let leaf = own.join(SERVER_LEAF);
        return make(&leaf)
            .and_then(|()| line.iter().rev().try_for_each(|pid| write(&leaf, "cgroup.procs", pid)))
            .map(|()| own.to_owned())
            .map_err(|error| format!("the server cannot move to {}: {error}", leaf.display()));
    }
    Err(format!(
        "the server's cgroup {} holds other processes too, so limits cannot be set below it; give the server a cgroup \
         of its own (systemd-run --scope -p Delegate=yes, with --user without root)",
        own.display()
    ))
}

/// This process and those above it, as far as they can be seen.
fn ancestors() -> Vec<String> {
    let mut line = vec![std::process::id().to_string()];
    while let Some(parent) = line.last().and_then(|pid| parent(pid)) {
        line.push(parent);
    }
    line
}

fn parent(pid: &str) -> Option<String> {
    let parent = Stat::of(pid).ok()??.id(4)?;
    (parent != 0).then(|| parent.to_string())
}

fn enable(cgroup: &Path, controllers: &[Controller]) -> io::Result<()> {
    let enabled = listed(&cgroup.join("cgroup.subtree_control"));
    for controller in controllers.iter().filter(|controller| !enabled.iter().any(|name| name == controller.name())) {
        write(cgroup, "cgroup.subtree_control", &format!("+{}", controller.name()))?;
    }
    Ok(())
}

fn listed(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// A reason may be that of one controller or of all.
fn warnings(cgroups: &Cgroups, reasons: &[(Option<Controller>, String)]) -> Vec<String> {
    let consequence = |controller| match controller {
        Controller::Memory => "memory limits are not enforced: a sandbox can use all of the host's memory",
        Controller::Cpu => "processor limits are not enforced: a sandbox can use all of the host's processors",
        Controller::Pids => "process limits are not enforced: a sandbox can fill the host's process table",
        Controller::Cpuacct | Controller::Cpuset => "programs do not find all controllers that they may look for",
    };
    let missing = Controller::LIMITS.into_iter().filter(|controller| !cgroups.has(*controller));
    let warning = |controller: Controller| {
        let why = reasons.iter().find(|(about, _)| about.is_none_or(|about| about == controller));
        let why = why.map_or("no cgroup controller for it is available to the server", |(_, why)| why);
        format!("{} ({why})", consequence(controller))
    };
    missing.map(warning).collect()
}
