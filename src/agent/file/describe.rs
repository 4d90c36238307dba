//! What a path names, as a client sees it.

use super::{
    super::users,
    error::{At, Result},
    place::{Near, tidy},
};
use crate::api::v1::{File, file::Type};
use std::{
    collections::HashMap,
    fs::{self, Metadata},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

/// Names of users and groups, as they are when a call begins.
pub(super) struct Names([HashMap<u32, String>; 2]);

impl Names {
    pub(super) fn read() -> Self {
        // Of several names for one number the first counts.
        Self(users::names().map(|names| names.into_iter().rev().collect()))
    }

    fn name(&self, which: usize, id: u32) -> String {
        self.0[which].get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// Describes a path, whose links at the end are followed if `follow` says so.
    pub(super) fn look(&self, path: &Path, follow: bool) -> Result<File> {
        let near = Near::of(path).at(path)?;
        let found = if follow { fs::metadata(near.path()) } else { fs::symlink_metadata(near.path()) }.at(path)?;
        Ok(self.describe(path, &found))
    }

    /// Describes what was found at a path.
    pub(super) fn describe(&self, path: &Path, found: &Metadata) -> File {
        let told = tidy(path);
        let bytes = told.as_os_str().as_bytes();
        let is_text = std::str::from_utf8(bytes).is_ok();
        let link_target = if found.is_symlink() {
            // One that is gone meanwhile leads nowhere.
            let read = Near::of(path).and_then(|near| fs::read_link(near.path()));
            read.map(|target| target.to_string_lossy().into_owned()).unwrap_or_default()
        } else {
            String::new()
        };
        File {
            path: String::from_utf8_lossy(bytes).into_owned(),
            r#type: kind(found).into(),
            size_bytes: if found.is_file() { i64::try_from(found.len()).unwrap_or(i64::MAX) } else { 0 },
            mode: found.mode() & 0o7777,
            owner: self.name(0, found.uid()),
            group: self.name(1, found.gid()),
            modify_time: Some(prost_types::Timestamp { seconds: found.mtime(), nanos: found.mtime_nsec() as i32 }),
            etag: etag(found),
            link_target,
            raw_path: if is_text { bytes::Bytes::new() } else { bytes::Bytes::copy_from_slice(bytes) },
            uid: found.uid(),
            gid: found.gid(),
        }
    }
}

fn kind(found: &Metadata) -> Type {
    let kind = found.file_type();
    match () {
        () if kind.is_file() => Type::File,
        () if kind.is_dir() => Type::Directory,
        () if kind.is_symlink() => Type::Symlink,
        () => Type::Other,
    }
}

/// Another file of the same name has another number, and a change of contents or attributes another time.
pub(super) fn etag(found: &Metadata) -> String {
    format!(
        "{:x}-{:x}-{:x}.{:x}-{:x}.{:x}",
        found.ino(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec()
    )
}

/// Whether a file holds bytes that can be read to an end.
pub(super) fn is_special(found: &Metadata) -> bool {
    let kind = found.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device()
}
