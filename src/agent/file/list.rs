//! Listing directories, page by page. A page is read from the file system each time, so nothing is kept between pages, and
//! what is added or removed meanwhile moves nothing.

use super::{
    describe::Names,
    error::{At, Result},
    place::Near,
    work::Wanted,
};
use crate::{
    api::v1::{File, ListResponse},
    error::Error,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// Entries of a page unless the client says otherwise, and at most.
const DEFAULT_SIZE: usize = 100;
const MOST: usize = 1000;

/// Bytes of a page, below what gRPC clients take by default.
const MOST_BYTES: usize = 3 << 20;

/// Entries that are counted.
const MOST_COUNTED: usize = 100_000;

/// Comes before the path of the last entry in a token.
const TOKEN: &str = "f";

/// A page that is being collected.
struct Page<'a> {
    names: Names,
    recursive: bool,
    size: usize,
    files: Vec<File>,
    bytes: usize,
    /// Path of the last entry taken, from the directory.
    last: PathBuf,
    /// Whether more follow.
    full: bool,
    /// Entries so far, when they are counted.
    counted: Option<usize>,
    wanted: &'a Wanted,
}

/// Lists a page of what is in a directory.
pub(super) fn list(
    directory: &Path,
    recursive: bool,
    page_size: i32,
    page_token: &str,
    wanted: &Wanted,
) -> Result<ListResponse> {
    let size = usize::try_from(page_size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_SIZE).min(MOST);
    let after = parse_token(page_token)?;
    let mut page = Page {
        names: Names::read(),
        recursive,
        size,
        files: Vec::new(),
        bytes: 0,
        last: PathBuf::new(),
        full: false,
        counted: after.is_none().then_some(0),
        wanted,
    };
    page.directory(directory, Path::new(""), after.as_deref())?;
    let counted = page.counted.filter(|count| *count <= MOST_COUNTED).unwrap_or_default();
    Ok(ListResponse {
        next_page_token: if page.full { token(&page.last) } else { String::new() },
        files: page.files,
        total_size: i32::try_from(counted).unwrap_or_default(),
    })
}

impl Page<'_> {
    /// Takes entries of a directory, of which `after` (from this directory) was taken last.
    fn directory(&mut self, directory: &Path, below: &Path, after: Option<&Path>) -> Result<()> {
        let mut names: Vec<(OsString, bool)> = Vec::new();
        for entry in fs::read_dir(Near::of(directory).at(directory)?.path()).at(directory)? {
            let entry = entry.at(directory)?;
            names.push((entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_dir())));
        }
        names.sort_unstable();
        let mut parts = after.unwrap_or(Path::new("")).components();
        let reached = parts.next().map(Component::as_os_str);
        let rest = Some(parts.as_path()).filter(|rest| !rest.as_os_str().is_empty());
        for (name, is_directory) in names {
            self.wanted.check()?;
            let order = reached.map(|reached| name.as_os_str().cmp(reached));
            if order == Some(std::cmp::Ordering::Less) {
                continue;
            }
            let path = directory.join(&name);
            let relative = below.join(&name);
            let was_reached = order == Some(std::cmp::Ordering::Equal);
            if !was_reached {
                self.entry(&path, &relative);
            }
            if is_directory && self.recursive && !self.is_done() {
                let after = if was_reached { rest } else { None };
                // One that is gone meanwhile, or may not be read, has nothing to list.
                let _ = self.directory(&path, &relative, after);
            }
            if self.is_done() {
                break;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, relative: &Path) {
        if let Some(count) = &mut self.counted {
            *count += 1;
        }
        if self.full {
            return;
        }
        if self.files.len() >= self.size || self.bytes >= MOST_BYTES {
            self.full = true;
            return;
        }
        // One that is gone meanwhile is no longer there to list.
        if let Ok(file) = self.names.look(path, false) {
            self.bytes += file.encoded_len();
            self.files.push(file);
            relative.clone_into(&mut self.last);
        }
    }

    /// Whether nothing that follows can change the answer.
    fn is_done(&self) -> bool {
        self.full && self.counted.is_none_or(|count| count > MOST_COUNTED)
    }
}

fn token(last: &Path) -> String {
    format!("{TOKEN}{}", URL_SAFE_NO_PAD.encode(last.as_os_str().as_bytes()))
}

fn parse_token(page_token: &str) -> Result<Option<PathBuf>> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let path = page_token.strip_prefix(TOKEN).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    match path.map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes))) {
        Some(path) if !path.as_os_str().is_empty() => Ok(Some(path)),
        _ => Err(Error::invalid("page_token", crate::rpc::paging::BAD_TOKEN)),
    }
}
