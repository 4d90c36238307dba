//! The code base of a sample on its way into a sandbox: as an archive that is unpacked there.
//!
//! A code base in git is made into a new repository here, beside the operator's: only what the commit is made of is copied into it, so that
//! nothing that came after the commit can be in it. The others go as they are, and become a repository of one commit in the sandbox, if there
//! is git.

mod git;
mod scratch;

pub use scratch::sweep;

use super::{Codebase, Sample};
use crate::archive::{self, Compression, Packer, Packing, Patterns, Top};
use rustix::fs::CWD;
use scratch::Scratch;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;

/// Bytes of one piece of the archive.
const PIECE: usize = 512 << 10;

/// How long it may take to get a code base ready.
const LIMIT: Duration = Duration::from_secs(600);

/// How much of the past a repository has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// The commits that the sample's commit was made upon.
    #[default]
    Past,
    /// The sample's files as one commit.
    None,
}

/// Why a code base cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CodebaseError {
    /// The server's host has no git.
    #[error("the server's host has no git, which it needs for code bases in git repositories; install git there")]
    NoGit,
    /// What git said.
    #[error("git could not {step}: {said}")]
    Git {
        /// What was being done.
        step: &'static str,
        /// The end of its output.
        said: String,
    },
    /// It takes too long.
    #[error("its code base was not ready within {} s", LIMIT.as_secs())]
    TooLong,
    /// A file cannot be read or written.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A code base that is ready to be packed.
#[derive(Debug)]
pub struct Workspace(Source);

#[derive(Debug)]
enum Source {
    /// A working tree with its repository, made here.
    Repository(Scratch),
    Directory(PathBuf),
    Archive(PathBuf),
}

impl Workspace {
    /// Gets the code base of a sample ready; `scratch` is a directory for what has to be made.
    pub async fn open(sample: &Sample, history: History, scratch: &Path) -> Result<Self, CodebaseError> {
        let source = match &sample.codebase {
            Codebase::Directory(directory) => Source::Directory(directory.clone()),
            Codebase::Archive(archive) => Source::Archive(archive.clone()),
            Codebase::Git { repository, commit } => {
                let scratch = Scratch::new(scratch)?;
                let made = git::copy(repository, commit, history, scratch.path());
                tokio::time::timeout(LIMIT, made).await.map_err(|_| CodebaseError::TooLong)??;
                Source::Repository(scratch)
            }
        };
        Ok(Self(source))
    }

    /// Whether it has no repository yet.
    pub fn lacks_repository(&self) -> bool {
        !matches!(self.0, Source::Repository(_))
    }

    /// The archive, in pieces; a failure is the last one. It is packed as its pieces are taken, and given up when they are not wanted any more.
    pub fn pack(self) -> mpsc::Receiver<Result<Vec<u8>, String>> {
        let (give, pieces) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let packed = match &self.0 {
                Source::Repository(scratch) => pack(&scratch.path().join(git::TREE), &[], &give),
                // A repository of the operator's would bring its own past, and what came after.
                Source::Directory(directory) => pack(directory, &[".git"], &give),
                Source::Archive(archive) => pass_on(archive, &give),
            };
            if let Err(error) = packed {
                // Who does not wait for pieces does not wait for this either.
                let _ = give.blocking_send(Err(error));
            }
        });
        pieces
    }
}

fn pack(directory: &Path, excluded: &[&str], give: &mpsc::Sender<Result<Vec<u8>, String>>) -> Result<(), String> {
    let excluded = Patterns::new(excluded.iter().copied())?;
    let how = Packing { compression: Compression::None, excluded, honours_gitignore: false, changed_since: None };
    let failed = |error: archive::Error| error.to_string();
    let file = Packer::open(CWD, directory.as_os_str().as_bytes()).map_err(failed)?;
    let file = file.ok_or("the code base is no directory")?;
    let mut packer = Packer::new(vec![Top { name: Vec::new(), file }], how).map_err(failed)?;
    while let Some(piece) = packer.next(PIECE, &|| !give.is_closed()).map_err(failed)? {
        if give.blocking_send(Ok(piece)).is_err() {
            break;
        }
    }
    Ok(())
}

fn pass_on(archive: &Path, give: &mpsc::Sender<Result<Vec<u8>, String>>) -> Result<(), String> {
    let failed = |error: io::Error| format!("the archive of the code base cannot be read: {error}");
    let mut file = File::open(archive).map_err(failed)?;
    loop {
        let mut piece = Vec::new();
        let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece).map_err(failed)?;
        if read == 0 || give.blocking_send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
