//! Requests of FileService.

use super::{Checks, MAX_PATH};
use crate::{
    api::v1::{
        ChangesRequest, Compression, CopyRequest, ExportRequest, FindRequest, ImportOpen, ListRequest,
        MakeDirectoryRequest, MoveRequest, ReadRequest, RemoveRequest, ReplaceRequest, SearchRequest,
        SetAttributesRequest, StatRequest, WatchRequest, WriteOpen, file::Type,
    },
    error::Result,
};
use prost_types::Timestamp;

/// Characters of a user with a group.
const MAX_USER: usize = 256;

/// Permission bits, with set-user-id, set-group-id and sticky.
const MAX_MODE: u32 = 0o7777;

/// Bytes of a text that is replaced, and of the new one.
const MAX_TEXT: usize = 1 << 20;

/// Paths, and patterns, of one request.
const MAX_PATHS: i64 = 1000;

/// Results of one search for names, lines of one search for text, and lines around each.
const MAX_RESULTS: i64 = 1_000_000;
const MAX_MATCHES: i64 = 100_000;
const MAX_CONTEXT: i64 = 20;

/// Bytes of a regular expression.
const MAX_PATTERN: usize = 64 << 10;

/// Bytes of a page token: a path, in base64.
const MAX_TOKEN: usize = 8192;

/// Differences from the image on one page.
const MAX_CHANGES: i64 = 10_000;

/// What every request has.
fn begin(sandbox_id: &str, path: &str, raw_path: &[u8], user: &str) -> Checks {
    let mut checks = Checks::default();
    checks.required("sandbox_id", sandbox_id);
    checks.path("path", path, "raw_path", raw_path);
    checks.text("user", user, MAX_USER);
    checks
}

impl Checks {
    /// A path in either form. The kernel counts a NUL at its end too.
    fn path(&mut self, field: &str, path: &str, raw_field: &str, raw: &[u8]) {
        match (path.is_empty(), raw.is_empty()) {
            (true, true) => self.wrong(field, "is required"),
            (false, false) => self.wrong(raw_field, format!("stands in place of `{field}`; send one of them")),
            _ => {}
        }
        self.text(field, path, MAX_PATH - 1);
        if raw.len() > MAX_PATH - 1 {
            self.wrong(raw_field, format!("has {} bytes; may have at most {}", raw.len(), MAX_PATH - 1));
        }
        self.check(!raw.contains(&0), raw_field, "must not contain NUL");
    }

    fn mode(&mut self, mode: Option<u32>) {
        if let Some(mode) = mode.filter(|mode| *mode > MAX_MODE) {
            self.wrong(
                "mode",
                format!("is {mode:#o}; must be 0 to {MAX_MODE:#o} (a number in octal, as chmod has it)"),
            );
        }
    }

    fn patterns(&mut self, field: &str, patterns: &[String]) {
        self.range(field, patterns.len() as i64, 0, MAX_PATHS);
        for (at, pattern) in patterns.iter().enumerate() {
            self.text(&format!("{field}[{at}]"), pattern, MAX_PATH - 1);
        }
    }

    fn time(&mut self, field: &str, time: Option<&Timestamp>) {
        let is_right = time.is_none_or(|time| (0..1_000_000_000).contains(&time.nanos));
        self.check(is_right, field, "is no time: nanos must be 0 to 999999999");
    }
}

pub(in crate::server) fn stat(request: &StatRequest) -> Result<()> {
    begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user).finish()
}

pub(in crate::server) fn list(request: &ListRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    // Whether it is one of this list's, the agent knows.
    checks.page(request.page_size, request.page_token.len() <= MAX_TOKEN);
    checks.finish()
}

pub(in crate::server) fn read(request: &ReadRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    checks.check(request.length >= 0, "length", "must not be negative; 0 means all that follow");
    checks.finish()
}

pub(in crate::server) fn write(open: &WriteOpen) -> Result<()> {
    let mut checks = begin(&open.sandbox_id, &open.path, &open.raw_path, &open.user);
    checks.mode(open.mode);
    checks.text("if_etag", &open.if_etag, MAX_USER);
    let both = open.exclusive && !open.if_etag.is_empty();
    checks.check(!both, "if_etag", "is of a file that is there, which `exclusive` excludes");
    checks.finish()
}

pub(in crate::server) fn remove(request: &RemoveRequest) -> Result<()> {
    begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user).finish()
}

pub(in crate::server) fn move_(request: &MoveRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    checks.path("new_path", &request.new_path, "raw_new_path", &request.raw_new_path);
    checks.finish()
}

pub(in crate::server) fn copy(request: &CopyRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    checks.path("new_path", &request.new_path, "raw_new_path", &request.raw_new_path);
    checks.finish()
}

pub(in crate::server) fn make_directory(request: &MakeDirectoryRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    checks.mode(request.mode);
    checks.finish()
}

pub(in crate::server) fn set_attributes(request: &SetAttributesRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    checks.mode(request.mode);
    checks.text("owner", &request.owner, MAX_USER);
    checks.text("group", &request.group, MAX_USER);
    checks.time("modify_time", request.modify_time.as_ref());
    checks.time("access_time", request.access_time.as_ref());
    let nothing = request.mode.is_none()
        && request.owner.is_empty()
        && request.group.is_empty()
        && request.modify_time.is_none()
        && request.access_time.is_none();
    checks.check(!nothing, "mode", "nothing is to be changed; give at least one of mode, owner, group and times");
    checks.finish()
}

pub(in crate::server) fn replace(request: &ReplaceRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    checks.required("old", &request.old);
    for (field, text) in [("old", &request.old), ("new", &request.new)] {
        if text.len() > MAX_TEXT {
            checks.wrong(field, format!("has {} bytes; may have at most {MAX_TEXT}", text.len()));
        }
    }
    checks.check(request.old.is_empty() || request.old != request.new, "new", "is the same as `old`");
    checks.text("if_etag", &request.if_etag, MAX_USER);
    checks.finish()
}

pub(in crate::server) fn import(open: &ImportOpen) -> Result<()> {
    let mut checks = begin(&open.sandbox_id, &open.path, &open.raw_path, &open.user);
    checks.known::<Compression>("compression", open.compression);
    checks.check(open.max_bytes >= 0, "max_bytes", "must not be negative; 0 means 16 GiB");
    checks.check(open.max_entries >= 0, "max_entries", "must not be negative; 0 means 1000000");
    checks.finish()
}

pub(in crate::server) fn export(request: &ExportRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", &request.sandbox_id);
    checks.text("user", &request.user, MAX_USER);
    let paths = request.paths.len() + request.raw_paths.len();
    checks.range("paths", paths as i64, 1, MAX_PATHS);
    for (at, path) in request.paths.iter().enumerate() {
        checks.path(&format!("paths[{at}]"), path, &format!("paths[{at}]"), b"");
    }
    for (at, path) in request.raw_paths.iter().enumerate() {
        checks.path(&format!("raw_paths[{at}]"), "", &format!("raw_paths[{at}]"), path);
    }
    checks.patterns("exclude", &request.exclude);
    checks.known::<Compression>("compression", request.compression);
    checks.time("changed_since", request.changed_since.as_ref());
    checks.finish()
}

pub(in crate::server) fn find(request: &FindRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    checks.patterns("globs", &request.globs);
    for (at, kind) in request.types.iter().enumerate() {
        checks.known::<Type>(&format!("types[{at}]"), *kind);
    }
    checks.check(request.min_size_bytes.is_none_or(|size| size >= 0), "min_size_bytes", "must not be negative");
    checks.check(request.max_size_bytes.is_none_or(|size| size >= 0), "max_size_bytes", "must not be negative");
    checks.time("modified_after", request.modified_after.as_ref());
    checks.time("modified_before", request.modified_before.as_ref());
    checks.check(request.max_depth >= 0, "max_depth", "must not be negative; 0 means all");
    checks.range("max_results", request.max_results.into(), 0, MAX_RESULTS);
    checks.finish()
}

pub(in crate::server) fn search(request: &SearchRequest) -> Result<()> {
    let mut checks = begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user);
    checks.required("pattern", &request.pattern);
    checks.text("pattern", &request.pattern, MAX_PATTERN);
    checks.patterns("globs", &request.globs);
    checks.range("context_lines", request.context_lines.into(), 0, MAX_CONTEXT);
    checks.range("max_matches", request.max_matches.into(), 0, MAX_MATCHES);
    checks.finish()
}

pub(in crate::server) fn changes(request: &ChangesRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.required("sandbox_id", &request.sandbox_id);
    checks.range("page_size", request.page_size.into(), 0, MAX_CHANGES);
    checks.check(request.page_token.len() <= MAX_TOKEN, "page_token", crate::rpc::paging::BAD_TOKEN);
    checks.finish()
}

pub(in crate::server) fn watch(request: &WatchRequest) -> Result<()> {
    begin(&request.sandbox_id, &request.path, &request.raw_path, &request.user).finish()
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};

    #[test]
    fn all_violations_come_at_once() {
        let request = StatRequest { raw_path: vec![0].into(), user: "\0".into(), ..StatRequest::default() };
        assert_eq!(fields(stat(&request)), ["sandbox_id", "raw_path", "user"]);
        let open = WriteOpen { mode: Some(0o10000), exclusive: true, if_etag: "e".into(), ..WriteOpen::default() };
        assert_eq!(fields(write(&open)), ["sandbox_id", "path", "mode", "if_etag"]);
        let request = MoveRequest { new_path: "a".into(), raw_new_path: "b".into(), ..MoveRequest::default() };
        assert_eq!(fields(move_(&request)), ["sandbox_id", "path", "raw_new_path"]);
        let request = ReplaceRequest { sandbox_id: "s".into(), path: "p".into(), ..ReplaceRequest::default() };
        assert_eq!(fields(replace(&request)), ["old"]);
        let request = SetAttributesRequest { sandbox_id: "s".into(), path: "p".into(), ..Default::default() };
        assert_eq!(fields(set_attributes(&request)), ["mode"]);
        let open = ImportOpen { compression: 9, max_bytes: -1, max_entries: -1, ..ImportOpen::default() };
        let expected = ["sandbox_id", "path", "compression", "max_bytes", "max_entries"];
        assert_eq!(fields(import(&open)), expected);
        let request = ExportRequest { exclude: vec!["\0".into()], ..ExportRequest::default() };
        assert_eq!(fields(export(&request)), ["sandbox_id", "paths", "exclude[0]"]);
        let request = FindRequest { types: vec![17], max_depth: -1, max_results: -1, ..FindRequest::default() };
        assert_eq!(fields(find(&request)), ["sandbox_id", "path", "types[0]", "max_depth", "max_results"]);
        let request = SearchRequest { context_lines: 21, max_matches: 100_001, ..SearchRequest::default() };
        let expected = ["sandbox_id", "path", "pattern", "context_lines", "max_matches"];
        assert_eq!(fields(search(&request)), expected);
    }

    #[test]
    fn a_path_has_what_the_kernel_takes() {
        let of = |length| StatRequest { sandbox_id: "s".into(), path: "x".repeat(length), ..StatRequest::default() };
        assert!(stat(&of(4095)).is_ok());
        assert_eq!(fields(stat(&of(4096))), ["path"]);
    }
}
