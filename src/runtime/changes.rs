//! How a sandbox's files differ from its image, as runtimes tell it.

/// Which part of the differences is wanted.
#[derive(Debug, Clone)]
pub struct ChangesWanted {
    /// Those that come after this path; empty for the first.
    pub after: Vec<u8>,
    /// How many, at most.
    pub most: usize,
}

/// A part of the differences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// In order of their paths, name by name and byte by byte.
    pub changes: Vec<FileChange>,
    /// Where to go on. `None`: there are no more.
    pub next: Option<Vec<u8>>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The whole path, absolute.
    pub path: Vec<u8>,
    /// What has become of it.
    pub kind: ChangeKind,
}

/// What has become of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The image has nothing of this name.
    Added,
    /// The image has something else of this name.
    Modified,
    /// The image has something of this name, and the sandbox has not.
    Removed,
}
