//! Where the copy of one file goes on this host.

use super::error::CliError;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What is copied to.
pub(super) enum CopyTarget {
    /// A regular file, which takes the place of what is there in one step.
    File {
        /// Where it is.
        path: PathBuf,
        /// The copy under way, which goes unless it has taken its place.
        draft: PathBuf,
    },
    /// A device or a FIFO: it is written to, and stays what it is.
    Other(PathBuf),
}

impl CopyTarget {
    /// The target that a path names. A symbolic link stays, and what it leads to is replaced.
    pub(super) fn at(to: &Path) -> Result<Self, CliError> {
        let wrong = |why: &str| Err(CliError::option(format!("{} {why}", to.display())));
        let path = match fs::metadata(to) {
            Ok(found) if found.is_dir() => return wrong("is a directory; name the file"),
            Ok(found) if found.is_file() => fs::canonicalize(to),
            Ok(_) => return Ok(Self::Other(to.to_owned())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) if fs::symlink_metadata(to).is_ok() => return wrong("is a symbolic link to nothing"),
            Err(_) => Ok(to.to_owned()),
        };
        let path = path.map_err(|error| CliError::option(format!("{}: {error}", to.display())))?;
        let Some(name) = path.file_name() else { return wrong("is a directory; name the file") };
        let name = format!(".{}.{}", name.to_string_lossy(), uuid::Uuid::new_v4().simple());
        let draft = path.with_file_name(name);
        Ok(Self::File { path, draft })
    }

    /// Opens it for writing.
    pub(super) fn open(&self, mode: u32) -> io::Result<File> {
        match self {
            Self::File { draft, .. } => {
                let created = File::create_new(draft)?;
                created.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
                Ok(created)
            }
            Self::Other(path) => File::options().write(true).open(path),
        }
    }

    /// All of it is written.
    pub(super) fn finish(self) -> Result<(), CliError> {
        match &self {
            Self::File { path, draft } => {
                fs::rename(draft, path).map_err(|error| CliError::option(format!("{}: {error}", path.display())))
            }
            Self::Other(_) => Ok(()),
        }
    }
}

impl Drop for CopyTarget {
    fn drop(&mut self) {
        if let Self::File { draft, .. } = self {
            // One that has taken its place, or was not begun, is not there.
            let _ = fs::remove_file(draft);
        }
    }
}
