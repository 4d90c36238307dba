//! What a watch tells, as a client sees it.

use crate::api::v1::{Armed, Change, Overflow, WatchResponse, change::Kind, watch_response::Event};
use bytes::Bytes;
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Tells what has become of paths below one.
pub(super) struct Telling(PathBuf);

/// Changes are told from now on.
pub(super) fn armed() -> WatchResponse {
    WatchResponse { event: Some(Event::Armed(Armed {})) }
}

/// Changes were lost.
pub(super) fn overflow() -> WatchResponse {
    WatchResponse { event: Some(Event::Overflow(Overflow {})) }
}

impl Telling {
    pub(super) fn below(top: &Path) -> Self {
        Self(top.to_owned())
    }

    pub(super) fn top(&self) -> &Path {
        &self.0
    }

    /// Something was made, modified or removed.
    pub(super) fn change(&self, kind: Kind, path: &[u8], is_directory: bool) -> WatchResponse {
        let (path, raw_path) = self.named(path);
        let change = Change { kind: kind.into(), path, raw_path, is_directory, ..Change::default() };
        WatchResponse { event: Some(Event::Change(change)) }
    }

    /// Something was renamed.
    pub(super) fn renamed(&self, from: &[u8], to: &[u8], is_directory: bool) -> WatchResponse {
        let ((path, raw_path), (old_path, raw_old_path)) = (self.named(to), self.named(from));
        let kind = Kind::Renamed.into();
        let change = Change { kind, path, raw_path, old_path, raw_old_path, is_directory };
        WatchResponse { event: Some(Event::Change(change)) }
    }

    /// A path from the top: as text, and its bytes if they are none.
    fn named(&self, path: &[u8]) -> (String, Bytes) {
        let whole = if path.is_empty() { self.0.clone() } else { self.0.join(OsStr::from_bytes(path)) };
        let bytes = whole.as_os_str().as_bytes();
        let is_text = std::str::from_utf8(bytes).is_ok();
        let raw = if is_text { Bytes::new() } else { Bytes::copy_from_slice(bytes) };
        (String::from_utf8_lossy(bytes).into_owned(), raw)
    }
}
