//! What can go wrong with an archive. Each error names the entry or the path.

use std::io;

/// The result of work on archives.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry that must not be unpacked.
    #[error("entry \"{entry}\" of the archive was refused: it {why}")]
    Refused {
        /// Its name.
        entry: String,
        /// Why.
        why: Refusal,
    },
    /// The bytes are no archive, or end too early.
    #[error("the archive is damaged at entry \"{entry}\": {what}")]
    Damaged {
        /// The entry that was being read, or empty.
        entry: String,
        /// What is wrong.
        what: String,
    },
    /// The archive has more than was allowed.
    #[error("the archive has more than {most} {what}; it was unpacked up to entry \"{entry}\"")]
    TooLarge {
        /// The entry that was being read.
        entry: String,
        /// What it has too much of: bytes or entries.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// The system refused something.
    #[error("\"{path}\": {source}")]
    Io {
        /// Which path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody wants the work any more.
    #[error("the work was given up")]
    GivenUp,
}

/// Why an entry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its name begins with a slash.
    #[error("has an absolute name")]
    Absolute,
    /// Its name has `..` in it.
    #[error("has a name that leads out of the directory")]
    LeadsOut,
    /// The way to it leads through something that is no directory.
    #[error("leads through a symbolic link, or through something else that is no directory")]
    ThroughLink,
    /// It is a symbolic link whose target is outside.
    #[error("is a symbolic link that leads out of the directory")]
    LinkLeadsOut,
    /// It is a hard link whose target is outside.
    #[error("is a hard link to something outside of the directory")]
    HardLinkLeadsOut,
    /// It belongs to a repository, which may make git run programs.
    #[error("is git's own, and git runs what its configuration and hooks say (--git brings it too)")]
    Git,
    /// It is a symbolic link that says not where it leads.
    #[error("is a symbolic link without a target")]
    LinkLeadsNowhere,
    /// It is a hard link to something that has not come.
    #[error(
        "is a hard link to something that is not there: it comes before the file, or the file was refused or is missing"
    )]
    HardLinkToNothing,
    /// It is a hard link to a directory, which no system has.
    #[error("is a hard link to a directory")]
    HardLinkToDirectory,
    /// There is no such owner or group here.
    #[error("has an owner or group whose number does not exist here; leave `owners` out")]
    OwnerUnknown,
    /// It is a device, a FIFO or a socket.
    #[error("is a device, FIFO or socket")]
    Special,
}

impl Error {
    pub(super) fn io(path: impl AsRef<[u8]>, source: impl Into<io::Error>) -> Self {
        Self::Io { path: text(path.as_ref()), source: source.into() }
    }

    pub(super) fn damaged(entry: &[u8], what: impl Into<String>) -> Self {
        Self::Damaged { entry: text(entry), what: what.into() }
    }
}

/// A name as it is shown, cut where it is very long.
pub(super) fn text(name: &[u8]) -> String {
    const LONGEST: usize = 512;
    let shown = String::from_utf8_lossy(&name[..name.len().min(LONGEST)]).into_owned();
    if name.len() > LONGEST { shown + "…" } else { shown }
}
