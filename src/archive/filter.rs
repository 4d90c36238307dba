//! An archive on its way, with some of its entries left out. Nothing is held but the header of the entry that goes by.

use super::{
    entry::{Entry, Kind},
    error::{Error, Result},
    format::{Reader, Receive},
    header::{self, BLOCK},
};

/// What an entry is that goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passing<'a> {
    /// Its path as the archive has it, without `./` in front and without a slash behind.
    pub path: &'a [u8],
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Of a hard link, the path in the archive that it is another name of.
    pub first_name: Option<&'a [u8]>,
}

/// Decides of each entry whether it stays.
pub(super) type Keep = Box<dyn FnMut(Passing<'_>) -> bool + Send>;

/// Takes an archive and gives what is left of it.
pub struct Filter {
    reader: Reader,
    writer: Writer,
}

struct Writer {
    keep: Keep,
    out: Vec<u8>,
    /// Whether the entry that goes by stays.
    is_kept: bool,
    /// Bytes of it so far.
    written: usize,
}

impl Filter {
    pub fn new(keep: Keep) -> Self {
        Self { reader: Reader::new(), writer: Writer { keep, out: Vec::new(), is_kept: false, written: 0 } }
    }

    /// Takes bytes of the archive, and gives those that stay.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.reader.push(bytes, &mut self.writer)?;
        Ok(std::mem::take(&mut self.writer.out))
    }

    /// All bytes have come: what ends the archive.
    pub fn finish(self) -> Result<Vec<u8>> {
        if !self.reader.may_end() {
            return Err(Error::damaged(self.reader.current(), "it ends in the middle"));
        }
        Ok(vec![0; 2 * BLOCK])
    }
}

impl Receive for Writer {
    fn begin(&mut self, entry: Entry) -> Result<()> {
        let path = plain(&entry.path);
        let first_name = (entry.kind == Kind::HardLink).then(|| plain(&entry.link));
        // What cannot be unpacked is nobody's loss.
        let passes = entry.kind != Kind::Special;
        let is_directory = entry.kind == Kind::Directory;
        self.is_kept = passes && (self.keep)(Passing { path, is_directory, first_name });
        self.written = 0;
        if self.is_kept {
            self.out.extend_from_slice(&header::written(&entry));
        }
        Ok(())
    }

    fn data(&mut self, _at: u64, bytes: &[u8]) -> Result<()> {
        if self.is_kept {
            self.out.extend_from_slice(bytes);
            self.written = (self.written + bytes.len()) % BLOCK;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.is_kept && self.written > 0 {
            self.out.resize(self.out.len() + BLOCK - self.written, 0);
        }
        Ok(())
    }
}

/// A path without `./` in front and without a slash behind.
fn plain(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path)
}
