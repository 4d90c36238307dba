//! What an archive says of one file.

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    /// A device, FIFO or socket, or something that is not known.
    Special,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Its name as the archive has it.
    pub(super) path: Vec<u8>,
    /// Where a link leads.
    pub(super) link: Vec<u8>,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// When its contents changed: seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    /// Bytes of the file, holes included.
    pub(super) size: u64,
    /// Bytes of it that the archive has.
    pub(super) stored: u64,
    /// Where the stored bytes belong: offset and length, in order. `None` for a file without holes.
    pub(super) map: Option<Vec<(u64, u64)>>,
}
