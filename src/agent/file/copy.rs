//! Copying files and trees of them.

use super::{
    describe::is_special,
    draft::{Draft, How},
    error::{At, Result, is_not_copied, no_name, not_a_file},
    place::parent_and_name,
    work::Wanted,
};
use crate::error::Error;
use std::{
    fs::{self, DirBuilder, File, FileTimes, Metadata, Permissions},
    io::Read,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown, symlink},
    path::Path,
};

/// How something is copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copying {
    /// Whether a file that has the new path is replaced.
    pub(super) overwrite: bool,
    /// Whether a directory is copied with all that is in it.
    pub(super) recursive: bool,
    /// Whether the copy belongs to whom the original does.
    pub(super) keep_owner: bool,
    /// Whether what a symbolic link leads to is copied, and not the link.
    pub(super) follow: bool,
}

/// Bytes that are copied before it is asked whether anybody wants the rest.
const PIECE: usize = 1 << 20;

/// Copies what a path names to another.
pub(super) fn copy(from: &Path, to: &Path, how: Copying, wanted: &Wanted) -> Result<()> {
    parent_and_name(to).ok_or_else(|| no_name(to))?;
    let found = if how.follow { fs::metadata(from) } else { fs::symlink_metadata(from) }.at(from)?;
    if found.is_dir() {
        if !how.recursive {
            return Err(is_not_copied(from));
        }
        // Else it would never end.
        let (inside, of) = (to.parent().and_then(|parent| fs::canonicalize(parent).ok()), fs::canonicalize(from).ok());
        if let (Some(inside), Some(of)) = (inside, of)
            && inside.starts_with(of)
        {
            return Err(Error::invalid("new_path", "is inside of what is copied"));
        }
    }
    if is_special(&found) {
        return Err(not_a_file(from));
    }
    one(from, to, &found, how, wanted)
}

/// Copies one entry, and all that is in it.
fn one(from: &Path, to: &Path, found: &Metadata, how: Copying, wanted: &Wanted) -> Result<()> {
    wanted.check()?;
    if found.is_symlink() {
        symlink(fs::read_link(from).at(from)?, to).at(to)?;
    } else if found.is_dir() {
        return tree(from, to, found, how, wanted);
    } else {
        file(from, to, found, how, wanted)?;
    }
    keep_owner(to, found, how);
    Ok(())
}

fn file(from: &Path, to: &Path, found: &Metadata, how: Copying, wanted: &Wanted) -> Result<()> {
    let mut original = File::open(from).at(from)?;
    let mode = Some(found.mode() & 0o7777);
    let draft = Draft::begin(to, How { mode, exclusive: !how.overwrite, ..How::default() })?;
    loop {
        wanted.check()?;
        // The kernel copies it, or shares it, where it can.
        let mut target = draft.file();
        let copied = std::io::copy(&mut (&mut original).take(PIECE as u64), &mut target).at(draft.target())?;
        if copied == 0 {
            break;
        }
    }
    let times = FileTimes::new();
    let times = found.modified().map_or(times, |time| times.set_modified(time));
    draft.file().set_times(times).at(to)?;
    draft.finish()?;
    Ok(())
}

fn tree(from: &Path, to: &Path, found: &Metadata, how: Copying, wanted: &Wanted) -> Result<()> {
    // Open to its user alone until it is complete, and to whoever copies into it.
    DirBuilder::new().mode(0o700).create(to).at(to)?;
    for entry in fs::read_dir(from).at(from)? {
        let entry = entry.at(from)?;
        let found = entry.metadata().at(&entry.path())?;
        if !is_special(&found) {
            one(&entry.path(), &to.join(entry.file_name()), &found, how, wanted)?;
        }
    }
    keep_owner(to, found, how);
    fs::set_permissions(to, Permissions::from_mode(found.mode() & 0o7777)).at(to)?;
    if let (Ok(time), Ok(directory)) = (found.modified(), File::open(to)) {
        directory.set_times(FileTimes::new().set_modified(time)).at(to)?;
    }
    Ok(())
}

fn keep_owner(path: &Path, found: &Metadata, how: Copying) {
    if how.keep_owner {
        // Who may not give files away makes files of their own.
        let _ = lchown(path, Some(found.uid()), Some(found.gid()));
    }
}
