//! What went wrong with a path, in words and with a stable reason.

use crate::{
    archive,
    error::{Error, Reason},
};
use std::{fs, io, path::Path};

/// Result of work on files.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the path that a system call failed with.
pub(super) trait At<T> {
    /// The error of this path.
    fn at(self, path: &Path) -> Result<T>;
    /// The error of this path, which is to be made: what is missing is a directory above it.
    fn at_new(self, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| explain(path, &error.into()))
    }

    fn at_new(self, path: &Path) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            let missing = path.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty());
            let missing = missing.take_while(|above| is_missing(above)).last();
            match missing.filter(|_| error.kind() == io::ErrorKind::NotFound) {
                Some(directory) => about(
                    directory,
                    Reason::FileNotFound,
                    "was not found; set `parents` to make the directories that are missing",
                ),
                None => explain(path, &error),
            }
        })
    }
}

/// What an error of an archive is for a client.
pub(super) fn of_archive(error: archive::Error) -> Error {
    match error {
        archive::Error::Io { path, source } => explain(Path::new(&path), &source),
        archive::Error::GivenUp => Error::internal("work on an archive was given up", error),
        archive::Error::Damaged { .. } => Error::invalid("data", error.to_string()),
        archive::Error::Refused { .. } => {
            let message =
                format!("{error}. What came before it was unpacked; set `skip_refused` to leave such entries out");
            Error::file(Reason::EntryRefused, message)
        }
        archive::Error::TooLarge { .. } => Error::file(Reason::FileTooLarge, error.to_string()),
    }
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// An error of this path.
fn about(path: &Path, reason: Reason, what: &str) -> Error {
    let name = path.to_string_lossy();
    Error::File { reason, message: format!("\"{name}\" {what}"), path: Some(name.into_owned()) }
}

fn explain(path: &Path, error: &io::Error) -> Error {
    let name = path.to_string_lossy();
    let (reason, what) = match error.raw_os_error() {
        Some(libc::ENOENT) => (Reason::FileNotFound, "was not found".to_owned()),
        Some(libc::EEXIST) => (Reason::AlreadyExists, "exists already".to_owned()),
        Some(libc::EACCES | libc::EPERM) => {
            (Reason::PermissionDenied, "may not be accessed in this way by this user; name another `user`".to_owned())
        }
        Some(libc::EISDIR) => (Reason::IsADirectory, "is a directory; name a file in it".to_owned()),
        Some(libc::ENOTDIR) => (Reason::NotADirectory, not_a_directory(path).to_owned()),
        Some(libc::ENOTEMPTY) => {
            (Reason::DirectoryNotEmpty, "is a directory that is not empty; set `recursive` to remove it".to_owned())
        }
        Some(libc::ENOSPC | libc::EDQUOT) => {
            (Reason::NoSpace, "cannot be written: the sandbox's disk is full; remove files".to_owned())
        }
        Some(libc::EFBIG) => (Reason::FileTooLarge, "would be larger than a file may be".to_owned()),
        Some(libc::ELOOP) => (Reason::TooManyLinks, "leads through too many symbolic links".to_owned()),
        Some(libc::EROFS) => (Reason::ReadOnly, "is on a file system that cannot be written to".to_owned()),
        Some(libc::ENAMETOOLONG) => {
            return Error::invalid(
                "path",
                format!("\"{name}\" is too long: a name may have at most 255 bytes, a path 4095"),
            );
        }
        Some(libc::ENXIO) => return not_a_file(path),
        Some(libc::EBUSY) => return is_in_use(path),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) => {
            let message = format!("\"{name}\": the sandbox has no memory, process or open file left for this: {error}");
            return Error::exhausted(Reason::SandboxOutOfResources, message);
        }
        _ => (Reason::IoError, format!("cannot be accessed: {error}")),
    };
    about(path, reason, &what)
}

/// A path that the system holds.
pub(super) fn is_in_use(path: &Path) -> Error {
    let name = path.to_string_lossy();
    Error::invalid(
        "path",
        format!(
            "\"{name}\" is a file system of its own (a mount), or in use by the system, and can be neither removed nor moved"
        ),
    )
}

/// A directory that is not empty, in the way of something else.
pub(super) fn is_full(path: &Path) -> Error {
    let what = "is a directory that is not empty; only an empty one is replaced, so remove what is in it first";
    about(path, Reason::DirectoryNotEmpty, what)
}

/// A FIFO, socket or device where a file was needed.
pub(super) fn not_a_file(path: &Path) -> Error {
    about(path, Reason::NotAFile, "is a FIFO, socket or device, and no regular file")
}

/// A directory where a file was needed.
pub(super) fn is_a_directory(path: &Path) -> Error {
    explain(path, &io::Error::from_raw_os_error(libc::EISDIR))
}

fn not_a_directory(path: &Path) -> &'static str {
    if std::fs::symlink_metadata(path).is_ok() {
        "is no directory, and one is needed here"
    } else {
        "leads through something that is no directory"
    }
}

/// A directory that may not be copied, because nobody has said that all that is in it is meant.
pub(super) fn is_not_copied(path: &Path) -> Error {
    about(path, Reason::IsADirectory, "is a directory; set `recursive` to copy it with all that is in it")
}

/// A path that names no entry of a directory, like `/`.
pub(super) fn no_name(path: &Path) -> Error {
    Error::invalid(
        "path",
        format!("\"{}\" has no name of its own; name an entry of a directory", path.to_string_lossy()),
    )
}
