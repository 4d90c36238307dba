//! The lines of one file that match, each with those around it.

use super::{error::Result, work::Wanted};
use crate::api::v1::SearchResponse;
use bytes::Bytes;
use grep_matcher::Matcher;
use grep_regex::RegexMatcher;
use grep_searcher::{Searcher, Sink, SinkContext, SinkMatch};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

/// Bytes of one line that are sent.
const MOST_TEXT: usize = 1 << 10;

/// Bytes of one file's matches that are sent.
const MOST_OF_FILE: usize = 4 << 20;

/// What is wanted of a file.
pub(super) struct Lines<'a> {
    pub(super) matcher: &'a RegexMatcher,
    /// Lines before and after a match.
    pub(super) context: usize,
    /// Matches.
    pub(super) most: usize,
}

/// What was found in a file so far.
struct Found<'a> {
    lines: &'a Lines<'a>,
    matches: Vec<SearchResponse>,
    /// The lines that came last, and whether they are cut.
    recent: VecDeque<(i64, String, bool)>,
    bytes: usize,
    path: (String, Bytes),
}

/// A file that is read only as long as somebody wants it.
struct Reading<'a> {
    file: File,
    wanted: &'a Wanted,
}

impl Read for Reading<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.wanted.is_wanted() { self.file.read(into) } else { Err(io::ErrorKind::Other.into()) }
    }
}

impl Lines<'_> {
    /// Searches a file. One that cannot be read to its end has the matches that were found until then.
    pub(super) fn of(
        &self,
        file: OwnedFd,
        path: &Path,
        searcher: &mut Searcher,
        wanted: &Wanted,
    ) -> Result<Vec<SearchResponse>> {
        let bytes = path.as_os_str().as_bytes();
        let is_text = std::str::from_utf8(bytes).is_ok();
        let raw = if is_text { Bytes::new() } else { Bytes::copy_from_slice(bytes) };
        let path = (String::from_utf8_lossy(bytes).into_owned(), raw);
        let mut found = Found { lines: self, matches: Vec::new(), recent: VecDeque::new(), bytes: 0, path };
        let _ = searcher.search_reader(self.matcher, Reading { file: file.into(), wanted }, &mut found);
        wanted.check()?;
        Ok(found.matches)
    }
}

impl Found<'_> {
    /// Takes a line, in order, whether it matches or is around one that does.
    fn line(&mut self, number: i64, bytes: &[u8]) -> (String, bool) {
        let (text, is_cut) = shown(bytes);
        let context = self.lines.context;
        for earlier in self.matches.iter_mut().rev().take(context) {
            if earlier.after.len() < context && number == earlier.line + 1 + earlier.after.len() as i64 {
                self.bytes += text.len();
                earlier.after.push(text.clone());
                earlier.is_cut |= is_cut;
            }
        }
        if context > 0 {
            self.recent.push_back((number, text.clone(), is_cut));
            // One more than is needed, because a line that matches is among them.
            if self.recent.len() > context + 1 {
                self.recent.pop_front();
            }
        }
        (text, is_cut)
    }
}

impl Sink for Found<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        let number = found.line_number().map_or(0, |number| i64::try_from(number).unwrap_or(i64::MAX));
        if self.bytes > MOST_OF_FILE {
            if let Some(last) = self.matches.last_mut() {
                last.more_in_file = true;
            }
            return Ok(false);
        }
        let (text, mut is_cut) = self.line(number, found.bytes());
        let first = self.lines.matcher.find(found.bytes()).ok().flatten();
        let context = self.lines.context as i64;
        let mut before = Vec::new();
        for (_, line, cut) in self.recent.iter().filter(|(at, ..)| (number - context..number).contains(at)) {
            before.push(line.clone());
            is_cut |= cut;
        }
        self.bytes += text.len() + self.path.0.len() + before.iter().map(String::len).sum::<usize>();
        self.matches.push(SearchResponse {
            path: self.path.0.clone(),
            raw_path: self.path.1.clone(),
            line: number,
            text,
            column: first.map_or(0, |first| first.start() as i64 + 1),
            match_bytes: first.map_or(0, |first| first.len() as i64),
            before,
            is_cut,
            ..SearchResponse::default()
        });
        Ok(self.matches.len() < self.lines.most)
    }

    fn context(&mut self, _: &Searcher, line: &SinkContext<'_>) -> Result<bool, io::Error> {
        let number = line.line_number().map_or(0, |number| i64::try_from(number).unwrap_or(i64::MAX));
        self.line(number, line.bytes());
        Ok(true)
    }
}

/// A line as it is sent: without its end, as text, and no longer than may be.
fn shown(line: &[u8]) -> (String, bool) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut text = String::from_utf8_lossy(&line[..line.len().min(MOST_TEXT)]).into_owned();
    text.truncate(text.floor_char_boundary(MOST_TEXT));
    (text, line.len() > MOST_TEXT)
}
