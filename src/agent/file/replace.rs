//! Replacing text in a file.

use super::{
    describe::Names,
    diff::{Change, diff},
    draft::{Draft, How},
    error::Result,
    nearest::{hint, line_of},
    read::Reading,
};
use crate::{
    api::v1::{File, ReplaceRequest},
    error::{Error, Reason},
};
use memchr::memmem;
use std::path::Path;

/// Largest file that text is replaced in.
const LARGEST: usize = 16 << 20;

/// Lines that are named when a text is there more than once.
const LINES_NAMED: usize = 5;

/// Memory that a replacement takes at most for each byte of its file: the file before and after, and room to read it.
const COPIES: u64 = 4;

/// What was replaced.
pub(super) struct Replaced {
    pub(super) times: i64,
    pub(super) diff: String,
    pub(super) file: File,
}

/// As many megabytes as replacing text in this file may take.
pub(super) fn megabytes(file: &File) -> u32 {
    let size = u64::try_from(file.size_bytes).unwrap_or_default().min(LARGEST as u64);
    u32::try_from((size * COPIES) >> 20).unwrap_or(u32::MAX).saturating_add(1)
}

/// Replaces text in what a path names, which is open for reading.
pub(super) fn replace(path: &Path, reading: Reading, request: &ReplaceRequest, keep_owner: bool) -> Result<Replaced> {
    let before = whole(path, reading)?;
    let (old, new) = (request.old.as_bytes(), request.new.as_bytes());
    let finder = memmem::Finder::new(old);
    let places = || finder.find_iter(&before);
    let times = match finder.find(&before) {
        None => return Err(not_found(path, &before, &request.old)),
        Some(_) if request.all => places().count(),
        Some(first) => {
            // Places that overlap are several: nobody can say which of them was meant.
            let next = |at: &usize| finder.find(&before[at + 1..]).map(|found| at + 1 + found);
            let found: Vec<_> = std::iter::successors(Some(first), next).take(LINES_NAMED + 1).collect();
            if found.len() > 1 {
                return Err(not_unique(path, &before, &found));
            }
            1
        }
    };
    // Before anything is built: a short text that is there often can become one beyond all memory.
    let size = times.checked_mul(new.len()).and_then(|more| (before.len() - times * old.len()).checked_add(more));
    let size = size.filter(|size| *size <= LARGEST).ok_or_else(|| {
        let name = path.to_string_lossy();
        let message = format!(
            "\"{name}\" would be larger than the {LARGEST} bytes in which text can be replaced: `old` is there {times} times"
        );
        Error::file(Reason::FileTooLarge, message)
    })?;
    let mut after = Vec::with_capacity(size);
    let mut from = 0;
    for at in places().take(times) {
        after.extend_from_slice(&before[from..at]);
        after.extend_from_slice(new);
        from = at + old.len();
    }
    after.extend_from_slice(&before[from..]);
    let if_etag = request.if_etag.clone();
    let mut draft = Draft::begin(path, How { keep_owner, if_etag, ..How::default() })?;
    draft.write(&after)?;
    let file = Names::read().describe(path, &draft.finish()?.0);
    let change = Change { before: &before, after: &after, old: old.len(), new: new.len() };
    let diff = diff(&path.to_string_lossy(), &change, places().take(times));
    Ok(Replaced { times: i64::try_from(times).unwrap_or(i64::MAX), diff, file })
}

fn whole(path: &Path, mut file: Reading) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let piece = file.next()?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&piece);
        if bytes.len() > LARGEST {
            let name = path.to_string_lossy();
            let message = format!("\"{name}\" is larger than the {LARGEST} bytes in which text can be replaced");
            return Err(Error::file(Reason::FileTooLarge, message));
        }
    }
}

fn not_unique(path: &Path, text: &[u8], found: &[usize]) -> Error {
    let lines: Vec<_> = found.iter().take(LINES_NAMED).map(|at| line_of(text, *at).to_string()).collect();
    let (least, more) = if found.len() > LINES_NAMED {
        (format!("more than {LINES_NAMED}"), " and more")
    } else {
        (found.len().to_string(), "")
    };
    let message = format!(
        "`old` is in \"{}\" {least} times, at lines {}{more}; add lines around it until it is there once, or set `all`",
        path.to_string_lossy(),
        lines.join(", ")
    );
    Error::file(Reason::TextNotUnique, message)
}

fn not_found(path: &Path, text: &[u8], old: &str) -> Error {
    let message = format!("`old` is not in \"{}\"; {}", path.to_string_lossy(), hint(text, old));
    Error::file(Reason::TextNotFound, message)
}
