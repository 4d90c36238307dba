//! A sandbox's own cgroups, as its programs see them: at the usual place and read-only. Language runtimes that look
//! there for limits (Java, Go, .NET, Node) then size heaps and thread pools for the sandbox and not for the host.
//!
//! Nothing above these cgroups is there, so neither the host's nor other sandboxes' can be seen. The paths in
//! `/proc/self/cgroup` and `/proc/self/mountinfo` agree with it: a sandbox has a cgroup namespace of its own, whose root
//! they are.

use super::tmpfs::tmpfs;
use crate::runtime::linux::{
    cgroup::{Cgroups, Hierarchy, Version},
    failure::{Failure, Step},
    sys,
};
use rustix::{
    fs::{CWD, Mode, OFlags, mkdir, open, symlink},
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};
use std::{
    ffi::CStr,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

/// Where programs look.
const PLACE: &CStr = c"/sys/fs/cgroup";
/// Bytes of `/sys`, which holds a few directories and links.
const BYTES: u64 = 1 << 16;
/// Where version 2 is on hosts that have controllers in both.
const UNIFIED: &str = "unified";

/// Detached mounts of a sandbox's cgroups, taken while the host's file systems are still there.
pub(in crate::runtime::linux) struct View(Vec<Shown>);

struct Shown {
    mount: OwnedFd,
    /// Below [`PLACE`]; none where it is the only one, on version 2.
    name: Option<String>,
    /// More names for it, for controllers that the host has mounted together.
    links: Vec<&'static str>,
}

impl View {
    /// Takes what [`Cgroups::enter`] has made.
    pub(in crate::runtime::linux) fn take(cgroups: &Cgroups, made: &[PathBuf]) -> Result<Self, Failure> {
        let has_v1 = cgroups.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1);
        let take = |(hierarchy, path): (&Hierarchy, &PathBuf)| {
            let detached = || {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                let mount = open_tree(CWD, path, flags)?;
                let attributes =
                    sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
                sys::set_mount_attributes(mount.as_fd(), false, attributes)?;
                Ok::<_, std::io::Error>(mount)
            };
            let mount = detached().step_with(|| format!("show the cgroup {}", path.display()))?;
            let (name, links) = names(hierarchy, has_v1);
            Ok(Shown { mount, name, links })
        };
        cgroups.hierarchies.iter().zip(made).map(take).collect::<Result<_, _>>().map(Self)
    }

    /// Mounts `/sys` with nothing but these in it. Inside: the process's root is the sandbox's.
    pub(in crate::runtime::linux) fn mount(self) -> Result<(), Failure> {
        self.try_mount().step("mount /sys")
    }

    fn try_mount(self) -> std::io::Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let mode = Mode::from_raw_mode(0o555);
        tmpfs(c"/sys", flags, 0o555, BYTES)?;
        mkdir(c"/sys/fs", mode)?;
        mkdir(PLACE, mode)?;
        let place = PLACE.to_string_lossy();
        for Shown { mount, name, links } in self.0 {
            let path = name.as_ref().map_or_else(|| place.to_string(), |name| format!("{place}/{name}"));
            if let Some(name) = &name {
                mkdir(&path, mode)?;
                links.into_iter().try_for_each(|link| symlink(name, format!("{place}/{link}")))?;
            }
            move_mount(&mount, c"", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        }
        let sys = open(c"/sys", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        sys::set_mount_attributes(sys.as_fd(), false, sys::MOUNT_ATTR_RDONLY)
    }
}

/// What a hierarchy is called below [`PLACE`]: as on usual hosts, where `cpu,cpuacct` has the links `cpu` and `cpuacct`.
fn names(hierarchy: &Hierarchy, has_v1: bool) -> (Option<String>, Vec<&'static str>) {
    match hierarchy.version {
        Version::V2 => (has_v1.then(|| UNIFIED.to_owned()), Vec::new()),
        Version::V1 => {
            let controllers: Vec<_> = hierarchy.controllers.iter().map(|controller| controller.name()).collect();
            let links = if controllers.len() > 1 { controllers.clone() } else { Vec::new() };
            (Some(controllers.join(",")), links)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::linux::cgroup::Controller;

    #[test]
    fn controllers_are_found_by_their_usual_names() {
        let hierarchy = |version, controllers: &[Controller]| Hierarchy {
            parent: PathBuf::from("/x"),
            version,
            controllers: controllers.to_vec(),
        };
        let both = hierarchy(Version::V1, &[Controller::Cpu, Controller::Cpuacct]);
        assert_eq!(names(&both, true), (Some("cpu,cpuacct".to_owned()), vec!["cpu", "cpuacct"]));
        assert_eq!(names(&hierarchy(Version::V1, &[Controller::Memory]), true), (Some("memory".to_owned()), vec![]));
        let all = hierarchy(Version::V2, &Controller::LIMITS);
        assert_eq!(names(&all, false), (None, vec![]));
        assert_eq!(names(&all, true), (Some("unified".to_owned()), vec![]));
    }
}
