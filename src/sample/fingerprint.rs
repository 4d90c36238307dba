//! What a sample's files come to: a hash that changes with any of them.

use super::{Codebase, Sample, places};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

/// Of larger files it is size and time of change that count, so that a catalogue of large archives is read in a moment.
const MOST_CONTENT: u64 = 1 << 20;

/// More than a sample should have.
const MOST_ENTRIES: usize = 100_000;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum FingerprintError {
    #[error("has more than {MOST_ENTRIES} files and directories; keep the code base in a git repository or an archive")]
    TooMany,
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// That of a sample, as its files are now.
pub(super) fn of(sample: &Sample) -> Result<String, FingerprintError> {
    let apart = match &sample.codebase {
        Codebase::Git { repository, .. } => vec![repository.clone()],
        Codebase::Directory(_) | Codebase::Archive(_) => Vec::new(),
    };
    of_directory(&sample.directory, &apart)
}

/// Hashes all that is in a directory, apart from what is in these: repositories of which the sample names a commit.
fn of_directory(top: &Path, without: &[PathBuf]) -> Result<String, FingerprintError> {
    let (mut hash, mut entries) = (Sha256::new(), 0_usize);
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        let failed = |source| FingerprintError::Io { path: directory.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            entries += 1;
            if entries > MOST_ENTRIES {
                return Err(FingerprintError::TooMany);
            }
            names.push(entry.map_err(failed)?.path());
        }
        names.sort();
        for path in names {
            if without.contains(&path) {
                continue;
            }
            let failed = |source| FingerprintError::Io { path: path.clone(), source };
            let about = fs::symlink_metadata(&path).map_err(failed)?;
            let name = path.strip_prefix(top).unwrap_or(&path).as_os_str().as_bytes();
            entry(&mut hash, &path, name, &about).map_err(failed)?;
            if about.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Each part is preceded by its length, so that no two trees come to the same bytes.
fn entry(hash: &mut Sha256, path: &Path, name: &[u8], about: &Metadata) -> io::Result<()> {
    part(hash, name);
    if about.is_symlink() {
        part(hash, b"link");
        part(hash, fs::read_link(path)?.as_os_str().as_bytes());
    } else if about.is_dir() {
        part(hash, b"directory");
    } else if about.is_file() {
        // Other bits depend on who has copied the sample here.
        part(hash, if about.permissions().mode() & 0o111 == 0 { b"file" } else { b"program" });
        if about.len() > MOST_CONTENT {
            part(hash, format!("{} {} {}", about.len(), about.mtime(), about.mtime_nsec()).as_bytes());
        } else {
            let mut content = Vec::new();
            places::open(path)?.take(MOST_CONTENT).read_to_end(&mut content)?;
            part(hash, &content);
        }
    } else {
        part(hash, b"other");
    }
    Ok(())
}

fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
