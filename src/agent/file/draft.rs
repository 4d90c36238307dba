//! Writing a file so that it is there whole or not at all: the bytes go into a draft without a name, which takes the place of
//! the file in one step when it is complete. A draft that is given up, for whatever reason, leaves nothing.

use super::{
    describe::{etag, is_special},
    error::{At, Result, is_a_directory, no_name, not_a_file},
    place::{behind_links, make_parents, parent_and_name},
};
use crate::error::{Error, Reason};
use rustix::{
    fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags, accessat, linkat, openat, renameat_with},
    io::Errno,
};
use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

/// Mode of a new file.
const NEW_FILE: u32 = 0o644;

/// How a file is written.
#[derive(Debug, Default)]
pub(super) struct How {
    /// Permission bits, if they are given.
    pub(super) mode: Option<u32>,
    /// Whether directories that are missing are made.
    pub(super) parents: bool,
    /// Whether nothing may be there.
    pub(super) exclusive: bool,
    /// Whether what comes is added to what is there.
    pub(super) append: bool,
    /// The etag that it must have, or empty.
    pub(super) if_etag: String,
    /// Whether the file keeps the owner that it has.
    pub(super) keep_owner: bool,
}

/// A file that is being written.
pub(super) struct Draft {
    file: File,
    /// Where it goes.
    target: PathBuf,
    how: How,
    /// Mode of the file that was there in the beginning.
    mode: Option<u32>,
    stage: Stage,
}

enum Stage {
    /// It has no name yet.
    Nameless,
    /// It has one that nobody knows.
    Named(PathBuf),
    /// It is the file itself: what is appended, and a draft in its place.
    InPlace,
}

impl Draft {
    /// Begins to write what a path names.
    pub(super) fn begin(path: &Path, how: How) -> Result<Self> {
        let target = behind_links(path).at(path)?;
        let (parent, _) = parent_and_name(&target).ok_or_else(|| no_name(path))?;
        if how.parents {
            make_parents(&target)?;
        }
        let mode = look(&target, &how)?.map(|found| found.mode() & 0o7777);
        if how.append {
            let create = if how.exclusive { OFlags::EXCL } else { OFlags::empty() };
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC | create;
            let new = Mode::from_raw_mode(how.mode.unwrap_or(NEW_FILE) & 0o777);
            let file = File::from(openat(CWD, &target, flags, new).at_new(&target)?);
            return Ok(Self { file, target, how, mode, stage: Stage::InPlace });
        }
        let private = Mode::from_raw_mode(0o600);
        match openat(CWD, parent, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, private) {
            Ok(file) => Ok(Self { file: file.into(), target, how, mode, stage: Stage::Nameless }),
            // Not every file system can.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let name = hidden_name(&target);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = File::from(openat(CWD, &name, flags, private).at(&target)?);
                Ok(Self { file, target, how, mode, stage: Stage::Named(name) })
            }
            Err(error) => Err(error).at_new(&target),
        }
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<()> {
        self.file.write_all(data).at(&self.target)
    }

    /// Where it is written, links resolved.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Puts the draft in its place, and says what the file is now; and gives what was there before, held open. When the last who holds it
    /// lets go, the kernel frees its pages one by one, for which a client need not wait.
    pub(super) fn finish(mut self) -> Result<(Metadata, Option<OwnedFd>)> {
        if let Stage::InPlace = self.stage {
            if let Some(mode) = self.how.mode {
                self.file.set_permissions(Permissions::from_mode(mode)).at(&self.target)?;
            }
            return Ok((self.file.metadata().at(&self.target)?, None));
        }
        let before = look(&self.target, &self.how)?;
        // A link that somebody has put there meanwhile is replaced, and has no mode or owner that a file could have.
        let before = before.filter(|before| !before.is_symlink());
        if let Some(before) = before.as_ref().filter(|_| self.how.keep_owner) {
            // Who may not give files away writes files of their own.
            let own = self.file.metadata().at(&self.target)?;
            if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
                let _ = fchown(&self.file, Some(before.uid()), Some(before.gid()));
            }
        }
        let path_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let replaced = before.as_ref().and_then(|_| openat(CWD, &self.target, path_only, Mode::empty()).ok());
        let there = before.as_ref().map(|before| before.mode() & 0o7777).or(self.mode);
        let mode = self.how.mode.or(there).unwrap_or(NEW_FILE);
        self.file.set_permissions(Permissions::from_mode(mode)).at(&self.target)?;
        self.place(before.is_none()).at(&self.target)?;
        self.stage = Stage::InPlace;
        Ok((self.file.metadata().at(&self.target)?, replaced))
    }

    /// A new file gets its name as a further one, and so is told to those who watch as one that was made; a name for the draft is needed
    /// only to take the place of a file.
    fn place(&mut self, is_new: bool) -> io::Result<()> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let link = |name: &Path| linkat(CWD, &own, CWD, name, AtFlags::SYMLINK_FOLLOW);
        if let Stage::Nameless = self.stage {
            if is_new || self.how.exclusive {
                match link(&self.target) {
                    Err(Errno::EXIST) if !self.how.exclusive => {}
                    linked => return Ok(linked?),
                }
            }
            let name = hidden_name(&self.target);
            link(&name)?;
            self.stage = Stage::Named(name);
        }
        let Stage::Named(name) = &self.stage else { return Ok(()) };
        if is_new && linkat(CWD, name, CWD, &self.target, AtFlags::empty()).is_ok() {
            return fs::remove_file(name);
        }
        let flags = if self.how.exclusive { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        Ok(renameat_with(CWD, name, CWD, &self.target, flags)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Stage::Named(name) = &self.stage {
            // Nothing more can be done about one that cannot be removed.
            let _ = fs::remove_file(name);
        }
    }
}

/// Whether what is there may be written over in this way.
fn look(target: &Path, how: &How) -> Result<Option<Metadata>> {
    let found = match fs::symlink_metadata(target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !how.if_etag.is_empty() {
                return Err(changed(target, "is not there any more"));
            }
            return Ok(None);
        }
        Err(error) => return Err(error).at(target),
    };
    if how.exclusive && !how.append {
        return Err(Errno::EXIST).at(target);
    }
    if found.is_dir() {
        return Err(is_a_directory(target));
    }
    if is_special(&found) {
        return Err(not_a_file(target));
    }
    if !how.if_etag.is_empty() && etag(&found) != how.if_etag {
        return Err(changed(target, "has changed"));
    }
    if found.is_symlink() {
        return Ok(Some(found));
    }
    // A file that its user may not write is not replaced either, although its directory would allow it.
    accessat(CWD, target, Access::WRITE_OK, AtFlags::EACCESS).at(target)?;
    Ok(Some(found))
}

fn changed(path: &Path, how: &str) -> Error {
    let name = path.to_string_lossy();
    Error::file(Reason::EtagMismatch, format!("\"{name}\" {how} since it had the etag asked for; read it again"))
}

/// What the name of a draft begins with. Thirty-two digits follow.
const HIDDEN: &str = ".sandshell-";

/// A name beside the file that nobody else uses.
fn hidden_name(target: &Path) -> PathBuf {
    target.with_file_name(format!("{HIDDEN}{}", uuid::Uuid::new_v4().simple()))
}

/// Whether a name is a draft's.
pub(super) fn is_hidden(name: &[u8]) -> bool {
    let digits = name.strip_prefix(HIDDEN.as_bytes()).unwrap_or_default();
    digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)
}
