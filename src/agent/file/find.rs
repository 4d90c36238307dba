//! Finding files by name, kind, size and time.

use super::{
    describe::Names,
    error::{Result, of_archive},
    work::Wanted,
};
use crate::{
    api::v1::{FindRequest, FindResponse, file::Type},
    archive::{Patterns, Walk, open_directory},
    error::Error,
};
use rustix::fs::{FileType, Stat};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Results unless the client says otherwise.
const USUAL_RESULTS: usize = 10_000;

/// Results that are sent at one time.
const PART: usize = 256;

/// How long a thread may look before others have a turn.
const TURN: Duration = Duration::from_millis(100);

/// Which names are wanted.
pub(super) struct Globs {
    patterns: Patterns,
    /// Whether what no pattern speaks of is wanted: when all of them only leave something out.
    others: bool,
}

impl Globs {
    pub(super) fn new(globs: &[String]) -> Result<Self> {
        let patterns = Patterns::new(globs.iter().map(String::as_str));
        let patterns = patterns.map_err(|wrong| Error::invalid("globs", format!("is no pattern: {wrong}")))?;
        Ok(Self { patterns, others: globs.iter().all(|glob| glob.starts_with('!')) })
    }

    /// Whether a path from the top is wanted.
    pub(super) fn want(&self, path: &[u8], is_directory: bool) -> bool {
        self.patterns.says(path, is_directory).unwrap_or(self.others)
    }

    /// Whether a directory is left out, with all that is in it.
    pub(super) fn leave_out(&self, path: &[u8]) -> bool {
        self.patterns.says(path, true) == Some(false)
    }

    /// Whether a file is wanted: by its own name, or because a directory that it is in is named.
    pub(super) fn want_file(&self, path: &[u8]) -> bool {
        let above = || {
            let slashes = memchr::memrchr_iter(b'/', path);
            slashes.map(|end| &path[..end]).find_map(|directory| self.patterns.says(directory, true))
        };
        self.patterns.says(path, false).or_else(above).unwrap_or(self.others)
    }
}

/// A search for names that is under way.
pub(super) struct Finding {
    walk: Walk,
    top: PathBuf,
    names: Names,
    globs: Globs,
    request: FindRequest,
    /// Results that may come yet.
    left: usize,
    /// The last result, until it is known whether more follow.
    held: Option<FindResponse>,
    is_over: bool,
}

impl Finding {
    pub(super) fn begin(path: &Path, request: &FindRequest) -> Result<Self> {
        let top = open_directory(path).map_err(of_archive)?;
        let honours_gitignore = request.ignored == Some(false);
        Ok(Self {
            walk: Walk::new(top, Patterns::none(), honours_gitignore).map_err(of_archive)?,
            top: path.to_owned(),
            names: Names::read(),
            globs: Globs::new(&request.globs)?,
            request: request.clone(),
            left: usize::try_from(request.max_results).ok().filter(|most| *most > 0).unwrap_or(USUAL_RESULTS),
            held: None,
            is_over: false,
        })
    }

    /// More results, perhaps none yet. `None` at the end.
    pub(super) fn next(&mut self, wanted: &Wanted) -> Result<Option<Vec<FindResponse>>> {
        if self.is_over {
            return Ok(None);
        }
        let (start, mut part) = (Instant::now(), Vec::new());
        while part.len() < PART && start.elapsed() < TURN {
            wanted.check()?;
            let found = match self.walk.next() {
                None => {
                    self.is_over = true;
                    break;
                }
                // What may not be looked into has nothing to show.
                Some(Err(_)) => continue,
                Some(Ok(found)) => found,
            };
            let is_directory = found.kind() == FileType::Directory;
            let depth = found.path.split(|byte| *byte == b'/').count();
            let (path, stat) = (found.path, found.stat);
            // As in a walk of git's, nothing is looked for in what is left out.
            if is_directory && self.globs.leave_out(&path) {
                self.walk.pass_by();
                continue;
            }
            if is_directory && usize::try_from(self.request.max_depth).is_ok_and(|most| most > 0 && depth >= most) {
                self.walk.pass_by();
            }
            if !self.globs.want(&path, is_directory) || !fits(&self.request, &stat) {
                continue;
            }
            // One that is gone meanwhile is not found.
            let Ok(file) = self.names.look(&self.top.join(OsStr::from_bytes(&path)), false) else { continue };
            if self.left == 0 {
                if let Some(last) = &mut self.held {
                    last.limit_reached = true;
                }
                self.is_over = true;
                break;
            }
            self.left -= 1;
            part.extend(self.held.replace(FindResponse { file: Some(file), limit_reached: false }));
        }
        if self.is_over {
            part.extend(self.held.take());
        }
        Ok(Some(part))
    }
}

/// Whether something has the kind, size and time that are wanted.
fn fits(request: &FindRequest, stat: &Stat) -> bool {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Type::File,
        FileType::Directory => Type::Directory,
        FileType::Symlink => Type::Symlink,
        _ => Type::Other,
    };
    let time = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default());
    let of = |time: &prost_types::Timestamp| (time.seconds, i64::from(time.nanos));
    let sized = request.min_size_bytes.is_some() || request.max_size_bytes.is_some();
    (request.types.is_empty() || request.types().any(|wanted| wanted == kind))
        && (!sized || kind == Type::File)
        && request.min_size_bytes.is_none_or(|least| stat.st_size >= least)
        && request.max_size_bytes.is_none_or(|most| stat.st_size <= most)
        && request.modified_after.as_ref().is_none_or(|after| time >= of(after))
        && request.modified_before.as_ref().is_none_or(|before| time < of(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_say_which_names_are_wanted() {
        let want = |globs: &[&str], path: &str| {
            let globs: Vec<_> = globs.iter().map(|glob| (*glob).to_owned()).collect();
            Globs::new(&globs).unwrap().want(path.as_bytes(), false)
        };
        assert!(want(&[], "a/b"));
        assert!(want(&["*.rs"], "a/b.rs") && !want(&["*.rs"], "a/b.c"));
        assert!(want(&["/src/*.rs"], "src/b.rs") && !want(&["/src/*.rs"], "x/src/b.rs"));
        assert!(want(&["src/**/*.rs"], "src/a/b/c.rs") && want(&["src/**/*.rs"], "src/c.rs"));
        assert!(want(&["!*.log"], "a") && !want(&["!*.log"], "a.log"));
        assert!(want(&["*.rs", "!b.rs"], "a.rs") && !want(&["*.rs", "!b.rs"], "b.rs"));
    }

    #[test]
    fn a_directory_stands_for_what_is_in_it() {
        let globs =
            |globs: &[&str]| Globs::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap();
        for left_out in [&["!node_modules"][..], &["!node_modules/"], &["*.js", "!node_modules"]] {
            assert!(globs(left_out).leave_out(b"a/node_modules"), "{left_out:?}");
            assert!(!globs(left_out).leave_out(b"a"), "{left_out:?}");
        }
        let sub = globs(&["sub/"]);
        assert!(sub.want_file(b"sub/f") && sub.want_file(b"a/sub/b/f"));
        assert!(!sub.want_file(b"sub") && !sub.want_file(b"subs/f") && !sub.leave_out(b"a"));
        assert!(globs(&["*.js"]).want_file(b"a/b.js") && !globs(&["*.js"]).want_file(b"a/b.c"));
    }
}
