//! Replacing text in a file.

use super::{
    draft::{Draft, How},
    error::Result,
    read::Reading,
};
use crate::{
    api::v1::ReplaceRequest,
    error::{Error, Reason},
};
use memchr::memmem;
use similar::TextDiff;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Largest file that text is replaced in.
const LARGEST: usize = 16 << 20;

/// Bytes of a diff that are returned.
const LONGEST_DIFF: usize = 256 << 10;

/// How long a diff may be refined. What is left then is told as one large change.
const DIFF_WITHIN: Duration = Duration::from_secs(1);

/// Lines that are named when a text is there more than once.
const LINES_NAMED: usize = 5;

/// Lines that are compared with a text that is not there, and how much of each.
const LINES_COMPARED: usize = 20_000;
const COMPARED: usize = 200;

/// How alike a line has to be to be worth naming.
const ALIKE: f64 = 0.5;

/// What was replaced.
pub(super) struct Replaced {
    pub(super) times: i64,
    pub(super) diff: String,
    pub(super) target: PathBuf,
}

/// Replaces text in what a path names.
pub(super) fn replace(path: &Path, request: &ReplaceRequest, keep_owner: bool) -> Result<Replaced> {
    let before = whole(path)?;
    let found: Vec<_> = memmem::find_iter(&before, request.old.as_bytes()).collect();
    match found.len() {
        0 => return Err(not_found(path, &before, &request.old)),
        1 => {}
        _ if request.all => {}
        times => return Err(not_unique(path, &before, &found, times)),
    }
    let mut after = Vec::with_capacity(before.len());
    let mut from = 0;
    for at in &found {
        after.extend_from_slice(&before[from..*at]);
        after.extend_from_slice(request.new.as_bytes());
        from = at + request.old.len();
    }
    after.extend_from_slice(&before[from..]);
    let if_etag = request.if_etag.clone();
    let mut draft = Draft::begin(path, How { keep_owner, if_etag, ..How::default() })?;
    draft.write(&after)?;
    let target = draft.finish()?;
    let times = i64::try_from(found.len()).unwrap_or(i64::MAX);
    Ok(Replaced { times, diff: diff(path, &before, &after), target })
}

fn whole(path: &Path) -> Result<Vec<u8>> {
    let (mut file, _) = Reading::open(path, 0, 0)?;
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

fn diff(path: &Path, before: &[u8], after: &[u8]) -> String {
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let name = path.to_string_lossy();
    let diff = TextDiff::configure().timeout(DIFF_WITHIN).diff_lines(before.as_ref(), after.as_ref());
    let mut text = diff.unified_diff().context_radius(3).header(&name, &name).to_string();
    if text.len() > LONGEST_DIFF {
        let end = text[..text.floor_char_boundary(LONGEST_DIFF)].rfind('\n').map_or(0, |at| at + 1);
        text.truncate(end);
    }
    text
}

fn line_of(text: &[u8], at: usize) -> usize {
    memchr::memchr_iter(b'\n', &text[..at]).count() + 1
}

fn not_unique(path: &Path, text: &[u8], found: &[usize], times: usize) -> Error {
    let lines: Vec<_> = found.iter().take(LINES_NAMED).map(|at| line_of(text, *at).to_string()).collect();
    let more = if times > LINES_NAMED { " and more" } else { "" };
    let message = format!(
        "`old` is in \"{}\" {times} times, at lines {}{more}; add lines around it until it is there once, or set `all`",
        path.to_string_lossy(),
        lines.join(", ")
    );
    Error::file(Reason::TextNotUnique, message)
}

fn not_found(path: &Path, text: &[u8], old: &str) -> Error {
    let text = String::from_utf8_lossy(text);
    let name = path.to_string_lossy();
    let hint = match nearest(&text, old) {
        Some((line, true)) => format!("line {line} begins the same text with other white space"),
        Some((line, false)) => {
            let there = text.lines().nth(line - 1).unwrap_or_default();
            let there = &there[..there.floor_char_boundary(COMPARED)];
            format!("line {line} is nearest: {there:?}")
        }
        None => "nothing in it is like it".to_owned(),
    };
    Error::file(Reason::TextNotFound, format!("`old` is not in \"{name}\"; {hint}"))
}

/// The line where what is most like a text begins, and whether it differs in white space only.
fn nearest(text: &str, old: &str) -> Option<(usize, bool)> {
    let is_full = |line: &&str| !line.trim().is_empty();
    let wanted: Vec<_> = old.lines().filter(is_full).map(plain).collect();
    let first = wanted.first()?;
    let lines: Vec<_> = text.lines().enumerate().filter(|(_, line)| is_full(line)).take(LINES_COMPARED).collect();
    let same = lines
        .windows(wanted.len())
        .find(|window| window.iter().zip(&wanted).all(|((_, line), wanted)| plain(line) == *wanted));
    if let Some(window) = same {
        return Some((window[0].0 + 1, true));
    }
    let likeness = |line: &str| strsim::sorensen_dice(&plain(line), first);
    let alike = lines.iter().map(|(number, line)| (likeness(line), number + 1)).filter(|(alike, _)| *alike >= ALIKE);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, number)| (number, false))
}

/// A line without the white space that is easily mistaken, and no longer than is compared.
fn plain(line: &str) -> String {
    let line = &line[..line.floor_char_boundary(COMPARED)];
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "fn main() {\n    let total = 1;\n    print(total);\n}\n";

    #[test]
    fn other_white_space_is_told() {
        assert_eq!(nearest(TEXT, "let  total = 1;\nprint(total);"), Some((2, true)));
    }

    #[test]
    fn the_line_that_is_most_alike_is_named() {
        assert_eq!(nearest(TEXT, "let totals = 2;"), Some((2, false)));
        assert_eq!(nearest(TEXT, "???"), None);
        assert_eq!(nearest(TEXT, "\n \n"), None);
    }
}
