//! Searching the lines of files, with the crates behind ripgrep.

use super::{
    error::{At, Result, not_a_file, of_archive},
    find::Globs,
    lines::Lines,
    place::tidy,
    work::Wanted,
};
use crate::{
    api::v1::{SearchRequest, SearchResponse},
    archive::{Patterns, Walk},
    error::Error,
};
use grep_matcher::LineTerminator;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Matches unless the client says otherwise.
const USUAL_MATCHES: usize = 1000;

/// Bytes of the longest line.
const LONGEST_LINE: usize = 4 << 20;

/// Bytes that a compiled expression may take, and what it keeps to be quick.
const MOST_PROGRAM: usize = 8 << 20;

/// How long a thread may search before others have a turn.
const TURN: Duration = Duration::from_millis(100);

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A search that is under way.
pub(super) struct Searching {
    /// A single file, or what the walk finds.
    file: Option<OwnedFd>,
    walk: Option<Walk>,
    top: PathBuf,
    globs: Globs,
    passes_git_by: bool,
    matcher: RegexMatcher,
    searcher: Searcher,
    context: usize,
    /// Matches that may come yet.
    left: usize,
    /// The last match, until it is known whether more follow.
    held: Option<SearchResponse>,
    is_over: bool,
}

impl Searching {
    pub(super) fn begin(path: &Path, request: &SearchRequest) -> Result<Self> {
        let mut builder = RegexMatcherBuilder::new();
        builder.case_insensitive(request.ignore_case).fixed_strings(request.literal).multi_line(true);
        // `$` is before the `\r` of a line that ends with it, too.
        builder.crlf(true).size_limit(MOST_PROGRAM).dfa_size_limit(MOST_PROGRAM);
        let matcher = builder.build(&request.pattern).map_err(|error| Error::invalid("pattern", error.to_string()))?;
        let context = usize::try_from(request.context_lines).unwrap_or_default();
        let searcher = SearcherBuilder::new()
            .line_number(true)
            .line_terminator(LineTerminator::crlf())
            .before_context(context)
            .after_context(context)
            .heap_limit(Some(LONGEST_LINE))
            .binary_detection(BinaryDetection::quit(0))
            .build();
        let file = openat(CWD, path, OPEN, Mode::empty()).at(path)?;
        let (file, walk) = match FileType::from_raw_mode(fstat(&file).at(path)?.st_mode) {
            FileType::RegularFile => (Some(file), None),
            FileType::Directory => {
                (None, Some(Walk::new(file, Patterns::none(), !request.ignored).map_err(of_archive)?))
            }
            _ => return Err(not_a_file(path)),
        };
        Ok(Self {
            file,
            walk,
            top: tidy(path).into_owned(),
            globs: Globs::new(&request.globs)?,
            passes_git_by: !request.ignored,
            matcher,
            searcher,
            context,
            left: usize::try_from(request.max_matches).ok().filter(|most| *most > 0).unwrap_or(USUAL_MATCHES),
            held: None,
            is_over: false,
        })
    }

    /// More matches, perhaps none yet. `None` at the end.
    pub(super) fn next(&mut self, wanted: &Wanted) -> Result<Option<Vec<SearchResponse>>> {
        if self.is_over {
            return Ok(None);
        }
        let (start, mut part) = (Instant::now(), Vec::new());
        while part.is_empty() && !self.is_over && start.elapsed() < TURN {
            wanted.check()?;
            let Some((file, path)) = self.next_file() else { continue };
            let lines = Lines { matcher: &self.matcher, context: self.context, most: self.left + 1 };
            let found = lines.of(file, &path, &mut self.searcher, wanted)?;
            for found in found {
                if self.left == 0 {
                    if let Some(last) = &mut self.held {
                        last.limit_reached = true;
                    }
                    self.is_over = true;
                    break;
                }
                self.left -= 1;
                part.extend(self.held.replace(found));
            }
        }
        if self.is_over {
            part.extend(self.held.take());
        }
        Ok(Some(part))
    }

    /// The next file that is to be searched, if that is what was found next.
    fn next_file(&mut self) -> Option<(OwnedFd, PathBuf)> {
        let Some(walk) = &mut self.walk else {
            let file = self.file.take();
            self.is_over = file.is_none();
            return file.map(|file| (file, self.top.clone()));
        };
        let found = match walk.next() {
            None => {
                self.is_over = true;
                return None;
            }
            // What may not be looked into cannot be searched.
            Some(found) => found.ok()?,
        };
        if found.kind() == FileType::Directory {
            if (self.passes_git_by && found.name.to_bytes() == b".git") || self.globs.leave_out(&found.path) {
                walk.pass_by();
            }
            return None;
        }
        if found.kind() != FileType::RegularFile || !self.globs.want_file(&found.path) {
            return None;
        }
        let file = openat(found.directory, &found.name, OPEN | OFlags::NOFOLLOW, Mode::empty()).ok()?;
        // Something else may have been put in its place.
        let is_regular = FileType::from_raw_mode(fstat(&file).ok()?.st_mode) == FileType::RegularFile;
        is_regular.then(|| (file, self.top.join(OsStr::from_bytes(&found.path))))
    }
}
