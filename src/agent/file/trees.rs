//! Whole trees in and out, as archives: from what a request says to what [`crate::archive`] does.

use super::{
    error::{Result, of_archive},
    place::place,
    work::Wanted,
};
use crate::{
    api::v1::{Compression as Wire, ExportRequest, ImportOpen, ImportResponse, RefusedEntry},
    archive::{Compression, Import, Limits, Packer, Packing, Patterns, Rules, Top, Unpacked, open_or_make},
    error::Error,
    rpc::transport::FILE_PIECE,
};
use bytes::Bytes;
use rustix::{
    fs::CWD,
    time::{ClockId, clock_gettime},
};
use std::{collections::HashSet, os::unix::ffi::OsStrExt, path::Path, time::Duration};

/// What an archive may have unless its client says otherwise: bytes when it is not compressed, and entries.
const MOST_BYTES: u64 = 16 << 30;
const MOST_ENTRIES: u64 = 1_000_000;

/// How many milliseconds the clock of file systems is waited for: several times what the slowest of Linux takes.
const MOST_WAITS: u32 = 100;

/// Bytes of an archive that are sent at one time, at least: what comes on top fits in one piece of a file.
const LEAST: usize = FILE_PIECE / 2;

fn compression(wire: i32) -> Option<Compression> {
    match Wire::try_from(wire) {
        Ok(Wire::None) => Some(Compression::None),
        Ok(Wire::Gzip) => Some(Compression::Gzip),
        Ok(Wire::Zstd) => Some(Compression::Zstd),
        Ok(Wire::Unspecified) | Err(_) => None,
    }
}

/// Begins to unpack.
pub(super) fn begin_import(path: &Path, open: &ImportOpen) -> Result<Import> {
    let (directory, is_new) = open_or_make(path).map_err(of_archive)?;
    let rules = Rules {
        owners: open.owners,
        skip_refused: open.skip_refused,
        outside_links: open.outside_links,
        top: is_new,
        no_git: false,
    };
    let or = |asked: i64, usual| u64::try_from(asked).ok().filter(|asked| *asked > 0).unwrap_or(usual);
    let limits = Limits { bytes: or(open.max_bytes, MOST_BYTES), entries: or(open.max_entries, MOST_ENTRIES) };
    Import::new(directory, compression(open.compression), rules, limits).map_err(of_archive)
}

/// Unpacks what has come.
pub(super) fn take(import: &mut Import, data: &[Bytes], wanted: &Wanted) -> Result<()> {
    for piece in data {
        let wanted = wanted.clone();
        import.take(piece, Box::new(move || wanted.is_wanted())).map_err(of_archive)?;
    }
    Ok(())
}

/// Ends an import.
pub(super) fn finish_import(import: Import, wanted: &Wanted) -> Result<ImportResponse> {
    let wanted = wanted.clone();
    let Unpacked { files, directories, symlinks, bytes, refused, refused_total } =
        import.finish(Box::new(move || wanted.is_wanted())).map_err(of_archive)?;
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(ImportResponse {
        files: count(files),
        bytes: count(bytes),
        directories: count(directories),
        symlinks: count(symlinks),
        refused: refused.into_iter().map(|(name, why)| RefusedEntry { name, why: why.to_string() }).collect(),
        refused_total: count(refused_total),
        end_time: None,
    })
}

/// A time that is later than the times of all that was done until now, and not later than those of what is done from now on. File
/// systems take the time from a clock that goes on in steps of some milliseconds and is behind the true time by up to two, or,
/// since Linux 6.13, sometimes from the true time. So that clock is waited for until it has passed the present.
pub(super) async fn next_step_of_the_clock() -> prost_types::Timestamp {
    let present = clock_gettime(ClockId::Realtime);
    let mut time = clock_gettime(ClockId::RealtimeCoarse);
    for _ in 0..MOST_WAITS {
        if (time.tv_sec, time.tv_nsec) > (present.tv_sec, present.tv_nsec) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        time = clock_gettime(ClockId::RealtimeCoarse);
    }
    prost_types::Timestamp { seconds: time.tv_sec, nanos: time.tv_nsec as i32 }
}

/// Begins to pack. All paths are opened first, so that one that is missing is told before anything is sent.
pub(super) fn begin_export(working_directory: &Path, request: &ExportRequest) -> Result<Packer> {
    let excluded = Patterns::new(request.exclude.iter().map(String::as_str));
    let excluded = excluded.map_err(|wrong| Error::invalid("exclude", format!("is no pattern: {wrong}")))?;
    let since = request.changed_since.as_ref();
    let how = Packing {
        compression: compression(request.compression).unwrap_or(Compression::None),
        excluded,
        honours_gitignore: request.ignored == Some(false),
        changed_since: since.map(|time| (time.seconds, u32::try_from(time.nanos).unwrap_or_default())),
    };
    let named = request.paths.iter().map(|path| place(working_directory, path, b""));
    let raw = request.raw_paths.iter().map(|path| place(working_directory, "", path));
    let (mut tops, mut names) = (Vec::new(), HashSet::new());
    for path in named.chain(raw) {
        let name = name_of(&path);
        if !names.insert(name.clone()) {
            let twice = String::from_utf8_lossy(&name);
            return Err(Error::invalid("paths", format!("has two paths that are both \"{twice}\" in the archive")));
        }
        let file = Packer::open(CWD, path.as_os_str().as_bytes()).map_err(of_archive)?;
        let file = file.ok_or_else(|| super::error::not_a_file(&path))?;
        tops.push(Top { name, file });
    }
    Packer::new(tops, how).map_err(of_archive)
}

/// What a path is in an archive: its last part, or nothing for a directory whose contents alone are wanted.
fn name_of(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes.ends_with(b"/..") {
        return Vec::new();
    }
    path.file_name().map(|name| name.as_bytes().to_owned()).unwrap_or_default()
}

/// The bytes that follow; `None` at the end.
pub(super) fn next_piece(packer: &mut Packer, wanted: &Wanted) -> Result<Option<Bytes>> {
    let piece = packer.next(LEAST, &|| wanted.is_wanted()).map_err(of_archive)?;
    Ok(piece.map(Bytes::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_path_names_it_in_an_archive() {
        let name = |path: &str| String::from_utf8(name_of(Path::new(path))).unwrap();
        assert_eq!(["/a/b", "/a/b/", "/a/b/.", "/", "/work/..", "/a/.b"].map(name), ["b", "", "", "", "", ".b"]);
    }
}
