//! Where the cgroup file systems are mounted, and where in them a process is.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// A mounted cgroup file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupMount {
    /// Which part of the tree is mounted.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
    /// Whether it is version 2.
    pub(super) unified: bool,
    /// Version 1: its options, among them the names of its controllers.
    pub(super) options: Vec<String>,
}

/// The cgroup mounts in `/proc/self/mountinfo`.
pub(super) fn parse_mounts(mountinfo: &str) -> Vec<CgroupMount> {
    mountinfo.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<CgroupMount> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let unified = match after.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = after.nth(1)?.split(',').map(str::to_owned).collect();
    let mut before = before.split(' ').skip(3);
    Some(CgroupMount { root: unescape(before.next()?), point: unescape(before.next()?), unified, options })
}

/// Undoes the kernel's escapes for blanks and backslashes: three octal digits.
fn unescape(text: &str) -> PathBuf {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let code = text.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(|_| byte == b'\\') {
            Some(code) => {
                out.push(code);
                at += 4;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// A process's place in the tree of a version 1 controller, or of version 2 (`None`), from `/proc/PID/cgroup`.
pub(super) fn own_path<'a>(cgroup: &'a str, controller: Option<&str>) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let found = match controller {
            Some(controller) => controllers.split(',').any(|name| name == controller),
            None => controllers.is_empty(),
        };
        found.then_some(path)
    })
}

/// The directory of a cgroup, if the mount shows it.
pub(super) fn directory(mount: &CgroupMount, path: &str) -> Option<PathBuf> {
    let inside = Path::new(path).strip_prefix(&mount.root).ok()?;
    // A path such as `/../x` is outside of this process's cgroup namespace.
    let plain = inside.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    plain.then(|| mount.point.join(inside))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
36 31 0:33 /docker/ab /sys/fs/with\\040blank rw - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn cgroup_mounts_are_found_among_others() {
        let mounts = parse_mounts(MOUNTS);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[0].options, ["rw", "memory"]);
        assert_eq!(mounts[1].point, Path::new("/sys/fs/with blank"));
        assert!(mounts[2].unified);
    }

    #[test]
    fn a_process_is_found_in_the_part_that_is_mounted() {
        let cgroup = "4:memory:/a/b\n3:cpu,cpuacct:/docker/ab/c\n0::/user.slice/x:y\n";
        let mounts = parse_mounts(MOUNTS);
        assert_eq!(own_path(cgroup, Some("memory")), Some("/a/b"));
        assert_eq!(own_path(cgroup, None), Some("/user.slice/x:y"));
        let cpu = own_path(cgroup, Some("cpu")).unwrap();
        assert_eq!(directory(&mounts[1], cpu), Some("/sys/fs/with blank/c".into()));
        assert_eq!(directory(&mounts[1], "/elsewhere"), None);
        assert_eq!(directory(&mounts[0], "/../up"), None);
    }
}
