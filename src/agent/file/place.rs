//! From what a request names to a path.

use super::error::{At, Result};
use memchr::memmem;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};
use std::{
    borrow::Cow,
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

/// As many symbolic links in a row as the kernel follows.
const MOST_LINKS: usize = 40;

/// The absolute path that a request names. `raw` goes first: it is there for names that are not UTF-8.
pub(super) fn place(working_directory: &Path, path: &str, raw: &[u8]) -> PathBuf {
    let named = if raw.is_empty() { path.as_bytes() } else { raw };
    working_directory.join(OsStr::from_bytes(named))
}

/// A path as it is told: without a "." or a "/" too many. To be used for nothing else, because a dot at the end means something.
pub(super) fn tidy(path: &Path) -> Cow<'_, Path> {
    let bytes = path.as_os_str().as_bytes();
    let has = |part: &[u8]| memmem::find(bytes, part).is_some();
    if has(b"//") || has(b"/./") || bytes.ends_with(b"/.") || bytes.ends_with(b"/") {
        Cow::Owned(path.components().collect())
    } else {
        Cow::Borrowed(path)
    }
}

/// Where a file would be written: what a symbolic link at the end leads to, also when nothing is there yet.
pub(super) fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            // No link, or nothing at all.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => return Ok(path),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// The directory that holds a path, and its name there. `None` for what has no name of its own, like `/`, `.` and `..`.
pub(super) fn parent_and_name(path: &Path) -> Option<(&Path, &OsStr)> {
    // `Path` leaves a dot at the end out, by which a directory itself is meant and not its entry in another.
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/')?;
    if bytes[..=end].ends_with(b"/.") || bytes[..=end] == *b"." {
        return None;
    }
    let name = path.file_name()?;
    Some((path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("/")), name))
}

/// Makes the directories above a path that are missing.
pub(super) fn make_parents(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    match fs::create_dir_all(parent) {
        // What is there is no directory.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Errno::NOTDIR).at(parent),
        made => made.at(parent),
    }
}

/// Bytes of a path that the kernel takes at one time.
const MOST_BYTES: usize = 4095;

/// A path by which something can be reached that is deeper down than the kernel takes paths for.
pub(super) struct Near {
    path: PathBuf,
    /// A directory on the way, which the path begins at.
    _above: Option<OwnedFd>,
}

impl Near {
    /// The path itself, unless it is too long.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let (mut rest, mut above) = (path.to_owned(), None::<OwnedFd>);
        while rest.as_os_str().len() > MOST_BYTES {
            // As many names as fit.
            let step = rest.ancestors().find(|step| step.as_os_str().len() <= MOST_BYTES).unwrap_or(&rest);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = match &above {
                Some(above) => openat(above, step, flags, Mode::empty())?,
                None => openat(CWD, step, flags, Mode::empty())?,
            };
            rest = rest.strip_prefix(step).map_err(io::Error::other)?.to_owned();
            above = Some(opened);
        }
        let path = match &above {
            Some(above) => Path::new("/proc/self/fd").join(above.as_raw_fd().to_string()).join(rest),
            None => rest,
        };
        Ok(Self { path, _above: above })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_begins_at_the_working_directory() {
        let place = |path, raw: &[u8]| place(Path::new("/work"), path, raw);
        assert_eq!(place("a/b", b""), Path::new("/work/a/b"));
        assert_eq!(place("/a", b""), Path::new("/a"));
        assert_eq!(place("", b"\xff").as_os_str().as_bytes(), b"/work/\xff");
    }

    #[test]
    fn what_has_no_name_of_its_own_is_known() {
        let name = |path| parent_and_name(Path::new(path)).map(|(parent, name)| (parent.to_owned(), name.to_owned()));
        for path in ["/", "/a/.", "/a/./", "/a/..", ".", "//"] {
            assert_eq!(name(path), None, "{path}");
        }
        assert_eq!(name("/a/b."), Some(("/a".into(), "b.".into())));
        assert_eq!(name("/a/b/"), Some(("/a".into(), "b".into())));
    }

    #[test]
    fn what_is_deeper_than_a_path_may_be_is_reached() {
        let directory = tempfile::tempdir().unwrap();
        let mut path = directory.path().to_owned();
        for _ in 0..60 {
            path.push("d".repeat(200));
            fs::create_dir(Near::of(&path).unwrap().path()).unwrap();
        }
        path.push("f");
        fs::write(Near::of(&path).unwrap().path(), "deep").unwrap();
        assert_eq!(fs::read(Near::of(&path).unwrap().path()).unwrap(), b"deep");
        assert!(fs::read(&path).is_err());
        assert!(Near::of(&path.join("x").join("e".repeat(4096))).is_err());
    }

    #[test]
    fn a_link_to_nothing_is_followed_and_a_circle_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::os::unix::fs::symlink("b", at("a")).unwrap();
        std::os::unix::fs::symlink(at("c"), at("b")).unwrap();
        assert_eq!(behind_links(&at("a")).unwrap(), at("c"));
        std::os::unix::fs::symlink("a", at("c")).unwrap();
        assert_eq!(behind_links(&at("a")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }
}
