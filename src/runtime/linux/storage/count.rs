//! How much room a sandbox's files take.

use super::walk::{Up, Walk};
use rustix::{
    fs::{AtFlags, Dir, FileType, statat},
    io::Errno,
};
use std::{
    ffi::CString,
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// What a count may cost.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime::linux) struct Bounds {
    /// Files and directories looked at.
    pub(in crate::runtime::linux) entries: usize,
    /// Names of directories kept for later.
    pub(in crate::runtime::linux) names: usize,
    /// Time.
    pub(in crate::runtime::linux) time: Duration,
}

impl Bounds {
    /// Enough for most sandboxes, and no more than a second or two of one processor.
    pub(in crate::runtime::linux) const USUAL: Self =
        Self { entries: 1_000_000, names: 200_000, time: Duration::from_secs(5) };
}

/// A count under way.
struct Count<'a> {
    bytes: u64,
    entries: usize,
    names: usize,
    bounds: Bounds,
    until: Instant,
    stop: &'a AtomicBool,
}

/// Bytes that the files below a directory occupy. `None` when the bounds were reached, not everything could be seen, or
/// `stop` was set. What is moved meanwhile may be missed.
pub(in crate::runtime::linux) fn bytes_below(
    directory: &Path,
    bounds: Bounds,
    stop: &AtomicBool,
) -> io::Result<Option<u64>> {
    let until = Instant::now() + bounds.time;
    let mut count = Count { bytes: 0, entries: 0, names: 0, bounds, until, stop };
    let mut walk = Walk::at(directory)?;
    // For each level down to here: the directories that are still to be entered.
    let mut waiting = Vec::new();
    let Some(names) = count.list(&walk)? else { return Ok(None) };
    waiting.push(names);
    while let Some(names) = waiting.last_mut() {
        if let Some(name) = names.pop() {
            count.names -= 1;
            match walk.enter(&name) {
                Ok(()) => {
                    let Some(names) = count.list(&walk)? else { return Ok(None) };
                    waiting.push(names);
                }
                // It is gone, or it is no directory any more, or not one of the sandbox's.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
                Err(Errno::ACCESS) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        waiting.pop();
        if !waiting.is_empty() && walk.leave()? == Up::Moved {
            // Each level costs as much as an entry, so that moving directories about does not prolong this.
            count.entries += waiting.len();
            let depth = walk.retrace()?;
            count.names -= waiting.drain((depth + 1).min(waiting.len())..).map(|names| names.len()).sum::<usize>();
        }
    }
    Ok(Some(count.bytes))
}

impl Count<'_> {
    /// Counts what lies in a directory and returns its directories, unless a bound is reached.
    fn list(&mut self, walk: &Walk) -> io::Result<Option<Vec<CString>>> {
        let mut directories = Vec::new();
        for entry in Dir::read_from(walk.here())? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > self.bounds.entries
                || self.names > self.bounds.names
                || self.stop.load(Ordering::Relaxed)
                || Instant::now() > self.until
            {
                return Ok(None);
            }
            match statat(walk.here(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    self.bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        self.names += 1;
                        directories.push(name.to_owned());
                    }
                }
                Err(Errno::NOENT) => {}
                Err(Errno::ACCESS) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(directories))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    use std::fs;

    fn count(directory: &Path, bounds: Bounds) -> Option<u64> {
        bytes_below(directory, bounds, &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn files_count_by_the_room_they_take_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("usr")).unwrap();
        let bytes = count(dir.path(), Bounds::USUAL).unwrap();
        assert!((1 << 20..3 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn files_deeper_than_any_path_count() {
        let dir = tempfile::tempdir().unwrap();
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let mut deep = openat(CWD, dir.path(), flags, Mode::empty()).unwrap();
        let name = "d".repeat(200);
        for _ in 0..100 {
            mkdirat(&deep, &name, Mode::RWXU).unwrap();
            deep = openat(&deep, &name, flags, Mode::empty()).unwrap();
        }
        let file = openat(&deep, c"file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        std::io::Write::write_all(&mut fs::File::from(file), &vec![1; 30 << 20]).unwrap();
        assert!(count(dir.path(), Bounds::USUAL).unwrap() > 30 << 20);
        super::super::delete::tree(dir.path()).unwrap();
    }

    #[test]
    fn every_bound_ends_it_and_so_does_its_caller() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..100 {
            fs::create_dir(dir.path().join(number.to_string())).unwrap();
        }
        assert!(count(dir.path(), Bounds::USUAL).is_some());
        assert_eq!(count(dir.path(), Bounds { entries: 99, ..Bounds::USUAL }), None);
        assert_eq!(count(dir.path(), Bounds { names: 98, ..Bounds::USUAL }), None);
        assert_eq!(count(dir.path(), Bounds { time: Duration::ZERO, ..Bounds::USUAL }), None);
        assert_eq!(bytes_below(dir.path(), Bounds::USUAL, &AtomicBool::new(true)).unwrap(), None);
    }

    #[test]
    fn a_tree_that_is_moved_about_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("large"), vec![1; 8 << 20]).unwrap();
        let names: Vec<_> = (0..20).map(|number| inside.join(number.to_string())).collect();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for name in &names {
                        let _ = fs::create_dir_all(name.join("a/b/c"));
                        let _ = fs::rename(name.join("a/b"), inside.join("b"));
                        let _ = fs::rename(inside.join("b"), name.join("b"));
                        let _ = fs::remove_dir_all(name);
                        let _ = std::os::unix::fs::symlink(&outside, name);
                        let _ = fs::remove_file(name);
                    }
                }
            });
            for _ in 0..3000 {
                let bytes = count(&inside, Bounds::USUAL).unwrap();
                assert!(bytes < 4 << 20, "{bytes}");
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
