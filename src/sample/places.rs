//! What a `sample.toml` names: files and directories beside it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What something has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    File,
    Directory,
    Either,
}

/// The place that a file of `base` names, which has to be below `bound` after all links were followed: datasets come from everywhere,
/// and none may make the server show or copy other files of its host. Both are absolute and without links.
pub(super) fn below(bound: &Path, base: &Path, named: &str, form: Form) -> Result<PathBuf, String> {
    if named.is_empty() {
        return Err("is empty".to_owned());
    }
    if Path::new(named).is_absolute() {
        return Err(format!("{named} must be relative to the directory of sample.toml"));
    }
    let found = fs::canonicalize(base.join(named)).map_err(|error| format!("{named}: {error}"))?;
    if !found.starts_with(bound) || found == bound {
        return Err(format!("{named} leads out of {}", bound.display()));
    }
    let kind = fs::metadata(&found).map_err(|error| format!("{named}: {error}"))?;
    match form {
        Form::File if !kind.is_file() => Err(format!("{named} must be a regular file")),
        Form::Directory if !kind.is_dir() => Err(format!("{named} must be a directory")),
        Form::Either if !kind.is_file() && !kind.is_dir() => {
            Err(format!("{named} must be a regular file or a directory"))
        }
        _ => Ok(found),
    }
}

/// Opens a regular file. Nothing else is waited for, whatever it has become meanwhile.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

/// The text of a file that has at most so many bytes.
pub(super) fn text(path: &Path, most: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("has more than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        format!("is not UTF-8 from byte {valid} on")
    })
}
