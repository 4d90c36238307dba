//! Packing trees into an archive, a piece at a time.

use super::{
    compression::{Compression, Encoder},
    directory::DIRECTORY,
    entry::{Entry, Kind},
    error::{Error, Result},
    header::{self, BLOCK},
    ignored::Patterns,
    sparse,
    walk::Walk,
};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::CStr,
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::FileExt,
};

/// Bytes of a file that are read at one time.
const PIECE: usize = 128 << 10;

/// Files with several names that are remembered, so that the others become links to the first.
const MOST_LINKED: usize = 100_000;

/// What fills a file up that has become shorter, and the end of an archive.
const ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// What is packed, and how.
#[derive(Debug, Clone)]
pub struct Packing {
    /// How the archive is compressed.
    pub compression: Compression,
    /// What is left out.
    pub excluded: Patterns,
    /// Whether what `.gitignore` files name is left out.
    pub honours_gitignore: bool,
    /// Only what has changed at this time or later, by the clock of its file system: seconds and nanoseconds, the directories that it is in,
    /// and all of a directory that may have been renamed since.
    pub changed_since: Option<(i64, u32)>,
}

/// One of the paths that are packed.
pub struct Top {
    /// Its name in the archive; empty for a directory whose contents have none of their own.
    pub name: Vec<u8>,
    /// It, open.
    pub file: OwnedFd,
}

/// An archive that is being made.
pub struct Packer {
    how: Packing,
    tops: std::vec::IntoIter<Top>,
    /// The tree that is being walked through, and what its names begin with.
    walk: Option<(Vec<u8>, Walk)>,
    reading: Option<Reading>,
    /// The directories above what was found last.
    above: Vec<Above>,
    /// Directories that have not changed: they are packed when something in them is.
    unchanged: Vec<Entry>,
    linked: HashMap<(u64, u64), Vec<u8>>,
    encoder: Encoder,
    is_over: bool,
}

/// A directory on the way.
struct Above {
    path: Vec<u8>,
    /// Whether it has changed.
    is_since: bool,
    /// Whether all that is in it is packed, changed or not.
    is_whole: bool,
}

/// A file that is being read.
struct Reading {
    file: File,
    path: Vec<u8>,
    pieces: std::vec::IntoIter<(u64, u64)>,
    at: u64,
    left: u64,
    padding: usize,
}

impl Packer {
    /// Opens what a path names, following links. What is no regular file and no directory is `None`.
    pub fn open(directory: impl AsFd, path: &[u8]) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let failed = |error: Errno| Error::io(path, error);
        let file = openat(directory, path, flags, Mode::empty()).map_err(failed)?;
        let kind = FileType::from_raw_mode(fstat(&file).map_err(failed)?.st_mode);
        Ok(matches!(kind, FileType::RegularFile | FileType::Directory).then_some(file))
    }

    pub fn new(tops: Vec<Top>, how: Packing) -> Result<Self> {
        let encoder = Encoder::new(how.compression).map_err(|error| Error::io("", error))?;
        let tops = tops.into_iter();
        Ok(Self {
            how,
            tops,
            walk: None,
            reading: None,
            above: Vec::new(),
            unchanged: Vec::new(),
            linked: HashMap::new(),
            encoder,
            is_over: false,
        })
    }

    /// The next bytes of the archive: at least so many, unless they are the last. `None` at the end.
    pub fn next(&mut self, least: usize, wanted: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>> {
        while self.encoder.out().len() < least && !self.is_over {
            if !wanted() {
                return Err(Error::GivenUp);
            }
            if self.reading.is_some() {
                self.read()?;
            } else if self.walk.is_some() {
                self.step()?;
            } else if let Some(top) = self.tops.next() {
                self.begin(top)?;
            } else {
                self.write(&ZEROS, b"")?;
                self.encoder.finish().map_err(|error| Error::io("", error))?;
                self.is_over = true;
            }
        }
        let out = std::mem::take(self.encoder.out());
        Ok((!out.is_empty()).then_some(out))
    }

    fn write(&mut self, bytes: &[u8], path: &[u8]) -> Result<()> {
        self.encoder.write(bytes).map_err(|error| Error::io(path, error))
    }

    fn begin(&mut self, top: Top) -> Result<()> {
        self.above.clear();
        let stat = fstat(&top.file).map_err(|error| Error::io(&top.name, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.file(top.file, top.name);
        }
        let mut prefix = top.name;
        if prefix.is_empty() {
            // It has no name, but attributes.
            self.directory(b"./".to_vec(), &stat)?;
        } else {
            prefix.push(b'/');
            self.directory(prefix.clone(), &stat)?;
        }
        let walk = Walk::new(top.file, self.how.excluded.clone(), self.how.honours_gitignore)?;
        self.walk = Some((prefix, walk));
        Ok(())
    }

    /// Takes the next entry of the tree.
    fn step(&mut self) -> Result<()> {
        let Some((prefix, walk)) = &mut self.walk else { return Ok(()) };
        let found = match walk.next() {
            None => {
                self.walk = None;
                return Ok(());
            }
            Some(found) => found?,
        };
        let mut path = [prefix.as_slice(), &found.path].concat();
        let (stat, kind) = (found.stat, found.kind());
        if kind == FileType::Directory {
            path.push(b'/');
            return self.directory(path, &stat);
        }
        leave_above(&mut self.above, &path);
        let is_whole = self.above.last().is_some_and(|above| above.is_whole);
        if !is_whole && !is_since(&stat, self.how.changed_since) {
            return Ok(());
        }
        match kind {
            FileType::Symlink => {
                let link = link_target(found.directory, &found.name);
                match link {
                    Ok(link) => self.put(&Entry { link, ..entry(Kind::Symlink, path, &stat) }),
                    // It is gone meanwhile, or something else now.
                    Err(Errno::NOENT | Errno::INVAL) => Ok(()),
                    Err(error) => Err(Error::io(path, error)),
                }
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                match openat(found.directory, &found.name, flags, Mode::empty()) {
                    Ok(file) => self.file(file, path),
                    Err(Errno::NOENT | Errno::LOOP) => Ok(()),
                    Err(error) => Err(Error::io(path, error)),
                }
            }
            // FIFOs, sockets and devices.
            _ => Ok(()),
        }
    }

    fn directory(&mut self, path: Vec<u8>, stat: &Stat) -> Result<()> {
        let entry = entry(Kind::Directory, path, stat);
        let (is_since, is_whole) = self.enter(&entry, stat);
        if is_since || is_whole {
            return self.put(&entry);
        }
        self.leave_to(&entry.path);
        self.unchanged.push(entry);
        Ok(())
    }

    /// Enters a directory: whether it has changed, and whether it is packed with all that is in it.
    ///
    /// One that was renamed or moved has a new time itself, while what is in it has old ones. That its own time is new while its contents'
    /// is old says that it was renamed, or has other attributes. Afterwards something in it may have been made, which renews both
    /// times. But renaming it has also changed the directory that it is in. Whenever that can be, all of it is packed: too much is no loss.
    fn enter(&mut self, entry: &Entry, stat: &Stat) -> (bool, bool) {
        leave_above(&mut self.above, &entry.path);
        let Some(since) = self.how.changed_since else { return (true, true) };
        let is_since = is_since(stat, Some(since));
        let above = self.above.last();
        let is_whole = above.is_some_and(|above| above.is_whole)
            || is_since && (entry.mtime < since || above.is_some_and(|above| above.is_since));
        self.above.push(Above { path: entry.path.clone(), is_since, is_whole });
        (is_since, is_whole)
    }

    /// Forgets unchanged directories that this path is not in.
    fn leave_to(&mut self, path: &[u8]) {
        self.unchanged.retain(|above| above.path == b"./" || path.starts_with(&above.path));
    }

    fn put(&mut self, entry: &Entry) -> Result<()> {
        self.leave_to(&entry.path);
        for above in std::mem::take(&mut self.unchanged) {
            self.write(&header::written(&above), &above.path)?;
        }
        let blocks = header::written(entry);
        self.write(&blocks, &entry.path)
    }

    fn file(&mut self, file: OwnedFd, path: Vec<u8>) -> Result<()> {
        let stat = fstat(&file).map_err(|error| Error::io(&path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            // Something else was put in its place.
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let which = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&which) {
                let link = first.clone();
                return self.put(&Entry { link, ..entry(Kind::HardLink, path, &stat) });
            }
            if self.linked.len() < MOST_LINKED {
                self.linked.insert(which, path.clone());
            }
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let has_holes = u64::try_from(stat.st_blocks).unwrap_or_default() * 512 < size;
        let map = if has_holes { sparse::pieces(&file, size) } else { None };
        let stored = map.as_ref().map_or(size, |map| map.iter().map(|(_, length)| length).sum());
        let entry = Entry { size, stored, map, ..entry(Kind::File, path.clone(), &stat) };
        self.put(&entry)?;
        self.reading = Some(Reading {
            file: file.into(),
            path,
            pieces: entry.map.unwrap_or_else(|| vec![(0, size)]).into_iter(),
            at: 0,
            left: 0,
            padding: usize::try_from(stored.next_multiple_of(BLOCK as u64) - stored).unwrap_or_default(),
        });
        Ok(())
    }

    /// Reads on in a file.
    fn read(&mut self) -> Result<()> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        if reading.left == 0 {
            match reading.pieces.next() {
                Some((at, left)) => (reading.at, reading.left) = (at, left),
                None => {
                    let (padding, path) = (reading.padding, std::mem::take(&mut reading.path));
                    self.reading = None;
                    return self.write(&ZEROS[..padding], &path);
                }
            }
            return Ok(());
        }
        let most = usize::try_from(reading.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; most];
        let mut read = reading.file.read_at(&mut piece, reading.at).map_err(|error| Error::io(&reading.path, error))?;
        if read == 0 {
            // It has become shorter, and its header is written.
            read = most;
        }
        reading.at += read as u64;
        reading.left -= read as u64;
        self.encoder.write(&piece[..read]).map_err(|error| Error::io(&reading.path, error))
    }
}

/// Leaves the directories that this path is not in.
fn leave_above(directories: &mut Vec<Above>, path: &[u8]) {
    while directories.last().is_some_and(|above| above.path != b"./" && !path.starts_with(&above.path)) {
        directories.pop();
    }
}

fn entry(kind: Kind, path: Vec<u8>, stat: &Stat) -> Entry {
    Entry {
        kind,
        path,
        link: Vec::new(),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
        size: 0,
        stored: 0,
        map: None,
    }
}

/// Whether it has changed at this time or later.
fn is_since(stat: &Stat, since: Option<(i64, u32)>) -> bool {
    let changed = (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or_default());
    since.is_none_or(|since| changed >= since)
}

fn link_target(directory: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>, Errno> {
    readlinkat(directory, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

/// Opens a directory that a path names, following links, and makes it and those above it if they are missing. Says whether it was
/// made.
pub fn open_or_make(path: &std::path::Path) -> Result<(OwnedFd, bool)> {
    let failed = |error: std::io::Error| Error::Io { path: path.display().to_string(), source: error };
    let is_new = statat(rustix::fs::CWD, path, AtFlags::empty()).is_err();
    if is_new {
        std::fs::create_dir_all(path).map_err(failed)?;
    }
    Ok((open_directory(path)?, is_new))
}

/// Opens a directory that a path names, following links.
pub fn open_directory(path: &std::path::Path) -> Result<OwnedFd> {
    let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| Error::Io { path: path.display().to_string(), source: error.into() })
}

/// An archive of one file of these bytes.
pub fn one_file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let size = bytes.len() as u64;
    let entry = Entry {
        kind: Kind::File,
        path: name.as_bytes().to_vec(),
        link: Vec::new(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        size,
        stored: size,
        map: None,
    };
    let mut archive = header::written(&entry);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    archive.extend_from_slice(&ZEROS);
    archive
}
