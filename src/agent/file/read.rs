//! Reading a file's bytes.

use super::{
    describe::{Names, is_special},
    error::{At, Result, is_a_directory, not_a_file},
};
use crate::{api::v1, error::Error, rpc::transport::FILE_PIECE};
use bytes::{Bytes, BytesMut};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// A file that is being read.
pub(super) struct Reading {
    file: File,
    path: PathBuf,
    /// Bytes wanted yet.
    left: u64,
}

impl Reading {
    /// Opens a file at the byte that is wanted first.
    pub(super) fn open(path: &Path, offset: i64, length: i64) -> Result<(Self, v1::File)> {
        // Neither a FIFO without a writer nor a device holds anybody up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(path, flags, Mode::empty()).at(path)?);
        let found = file.metadata().at(path)?;
        if found.is_dir() {
            return Err(is_a_directory(path));
        }
        if is_special(&found) {
            return Err(not_a_file(path));
        }
        let start = match u64::try_from(offset) {
            Ok(offset) => offset,
            Err(_) => found.len().saturating_sub(offset.unsigned_abs()),
        };
        // The kernel counts up to there, the bytes of a read included.
        if start > i64::MAX.unsigned_abs() - FILE_PIECE as u64 {
            return Err(Error::invalid("offset", "is beyond what a file can have"));
        }
        if start > 0 {
            file.seek(SeekFrom::Start(start))
                .map_err(|_| Error::invalid("offset", "is beyond what a file can have"))?;
        }
        let left = if length == 0 { u64::MAX } else { length.unsigned_abs() };
        let described = Names::read().describe(path, &found);
        Ok((Self { file, path: path.to_owned(), left }, described))
    }

    /// The bytes that follow; empty at the end.
    pub(super) fn next(&mut self) -> Result<Bytes> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(FILE_PIECE);
        let mut piece = BytesMut::zeroed(most);
        let mut have = 0;
        while have < most {
            match self.file.read(&mut piece[have..]) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Files of the kernel's that have nothing to say now.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).at(&self.path),
            }
        }
        piece.truncate(have);
        self.left -= have as u64;
        Ok(piece.freeze())
    }
}
