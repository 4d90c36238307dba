//! What is wrong with a file of the catalogue.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A mistake, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// The file or directory.
    pub file: PathBuf,
    /// The line, from 1 on; none if it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// A mistake that is about a file or directory as a whole.
    pub(super) fn of(file: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self { file: file.as_ref().to_owned(), line: None, message: message.into() }
    }
}

/// As compilers write it, so that editors find the place.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}
