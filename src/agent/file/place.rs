//! From what a request names to a path.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// As many symbolic links in a row as the kernel follows.
const MOST_LINKS: usize = 40;

/// The absolute path that a request names. `raw` goes first: it is there for names that are not UTF-8.
pub(super) fn place(working_directory: &Path, path: &str, raw: &[u8]) -> PathBuf {
    let named = if raw.is_empty() { path.as_bytes() } else { raw };
    working_directory.join(OsStr::from_bytes(named))
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

/// The directory that holds a path, and its name there. `None` for what has no name of its own, like `/` and `..`.
pub(super) fn parent_and_name(path: &Path) -> Option<(&Path, &OsStr)> {
    let name = path.file_name()?;
    Some((path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("/")), name))
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
