//! What is left out of a walk: patterns of a client's, and those of `.gitignore` files on the way.

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use std::{ffi::OsStr, fs::File, io::Read, os::fd::BorrowedFd, os::unix::ffi::OsStrExt, path::Path};

/// Longest `.gitignore` that is read, and most patterns of a client's.
const MOST_BYTES: u64 = 256 << 10;

/// Patterns in the form of `.gitignore`.
#[derive(Debug, Clone)]
pub struct Patterns(Gitignore);

impl Patterns {
    /// Patterns that count from the top of a walk. Names the first that is wrong.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut builder = GitignoreBuilder::new("");
        // What is meant by it nobody knows; it would match nothing.
        builder.allow_unclosed_class(false);
        for pattern in patterns {
            builder.add_line(None, pattern).map_err(|error| format!("\"{pattern}\": {error}"))?;
        }
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    /// No patterns.
    pub fn none() -> Self {
        Self(Gitignore::empty())
    }

    /// Those of the `.gitignore` in a directory, if it has one. A line that is wrong counts for nothing, as git has it.
    pub(super) fn of(directory: BorrowedFd<'_>) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(directory, c".gitignore", flags, Mode::empty()).ok()?;
        if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
            return None;
        }
        let mut text = Vec::new();
        File::from(file).take(MOST_BYTES).read_to_end(&mut text).ok()?;
        let mut builder = GitignoreBuilder::new("");
        for line in String::from_utf8_lossy(&text).lines() {
            let _ = builder.add_line(None, line);
        }
        builder.build().ok().map(Self)
    }

    /// Whether a path is left out, is kept by a pattern with `!`, or is not spoken of.
    pub fn says(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        match self.0.matched(Path::new(OsStr::from_bytes(path)), is_directory) {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        }
    }
}
