//! A page of what differs from an image, collected alike in both runtimes.

use crate::runtime::{ChangeKind, Changes, ChangesWanted, FileChange};
use std::{collections::BTreeMap, ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

/// Paths that Sandshell itself puts into a sandbox, and what is mounted there.
const OURS: [&str; 7] =
    ["/proc", "/dev", "/sys", "/run/sandshell", "/run/sandshell-start", "/.sandshell", "/etc/resolv.conf"];

/// Bytes of the paths of a page, well below what an answer may have.
const MOST_BYTES: usize = 2 << 20;

/// What orders paths name by name: a slash is less than everything that a name may have.
pub(in crate::runtime) fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

fn path_of(key: &[u8]) -> Vec<u8> {
    key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect()
}

/// Whether one path is below another.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Whether it is no doing of the sandbox's.
pub(in crate::runtime) fn is_ours(path: &[u8]) -> bool {
    OURS.iter().any(|ours| path == ours.as_bytes() || is_below(path, ours.as_bytes()))
}

/// Collects a page out of differences that come in any order: the first so many behind a path. Nothing else is held.
pub(in crate::runtime) struct Page {
    after: Vec<u8>,
    most: usize,
    found: BTreeMap<Vec<u8>, ChangeKind>,
    bytes: usize,
    /// Whether some did not fit.
    is_cut: bool,
    /// Behind this nothing is known.
    known_until: Option<Vec<u8>>,
    /// Whether `/run` was modified, has something that is not ours, and something that is.
    run: (bool, bool, bool),
}

impl Page {
    pub(in crate::runtime) fn new(wanted: &ChangesWanted) -> Self {
        Self {
            after: key(&wanted.after),
            most: wanted.most.max(1),
            found: BTreeMap::new(),
            bytes: 0,
            is_cut: false,
            known_until: None,
            run: (false, false, false),
        }
    }

    /// Adds a difference.
    pub(in crate::runtime) fn add(&mut self, path: &[u8], kind: ChangeKind) {
        let ours = is_ours(path);
        if is_below(path, b"/run") {
            (self.run.1, self.run.2) = (self.run.1 || !ours, self.run.2 || ours);
        }
        if path == b"/run" && kind == ChangeKind::Modified {
            // A directory changes when something is made in it, and perhaps that was us alone.
            self.run.0 = true;
        } else if !ours && path != b"/" {
            self.insert(key(path), kind);
        }
    }

    fn insert(&mut self, key: Vec<u8>, kind: ChangeKind) {
        if key <= self.after {
            return;
        }
        self.bytes += key.len();
        self.found.insert(key, kind);
        while self.found.len() > self.most || (self.bytes > MOST_BYTES && self.found.len() > 1) {
            let Some((last, _)) = self.found.pop_last() else { break };
            self.bytes -= last.len();
            self.is_cut = true;
        }
    }

    /// Only up to this path it is known what differs.
    pub(in crate::runtime) fn known_until(&mut self, path: &[u8]) {
        let key = key(path);
        if self.known_until.as_ref().is_none_or(|known| key < *known) {
            self.known_until = Some(key);
        }
    }

    /// The page.
    pub(in crate::runtime) fn finish(mut self) -> Changes {
        let (is_modified, has_others, has_ours) = self.run;
        if is_modified && (has_others || !has_ours) {
            self.insert(key(b"/run"), ChangeKind::Modified);
        }
        let mut next = None;
        if let Some(known) = self.known_until.take() {
            // What is behind it would come twice.
            drop(self.found.split_off(&[known.as_slice(), &[0]].concat()));
            next = Some(known);
            if self.is_cut && self.found.last_key_value().is_some_and(|(last, _)| Some(last) < next.as_ref()) {
                next = self.found.last_key_value().map(|(last, _)| last.clone());
            }
        } else if self.is_cut {
            next = self.found.last_key_value().map(|(last, _)| last.clone());
        }
        let changes = self.found.into_iter().map(|(key, kind)| FileChange { path: path_of(&key), kind });
        Changes { changes: changes.collect(), next: next.map(|key| path_of(&key)) }
    }
}

/// The path of something in a directory that is mounted somewhere.
pub(in crate::runtime) fn joined(mount: &Path, below: &[u8]) -> Vec<u8> {
    mount.join(OsStr::from_bytes(below)).into_os_string().as_bytes().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(after: &str, most: usize, paths: &[&str], known_until: Option<&str>) -> (Vec<String>, Option<String>) {
        let mut page = Page::new(&ChangesWanted { after: after.into(), most });
        paths.iter().for_each(|path| page.add(path.as_bytes(), ChangeKind::Modified));
        if let Some(known) = known_until {
            page.known_until(known.as_bytes());
        }
        let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
        let done = page.finish();
        (done.changes.into_iter().map(|change| text(change.path)).collect(), done.next.map(text))
    }

    #[test]
    fn pages_follow_each_other_in_order_of_the_names() {
        let all = ["/b", "/a-b", "/a/c", "/a", "/proc/x"];
        assert_eq!(page("", 9, &all, None), (vec!["/a".into(), "/a/c".into(), "/a-b".into(), "/b".into()], None));
        assert_eq!(page("", 2, &all, None), (vec!["/a".into(), "/a/c".into()], Some("/a/c".into())));
        assert_eq!(page("/a/c", 2, &all, None), (vec!["/a-b".into(), "/b".into()], None));
        assert_eq!(page("", 9, &all, Some("/a/c")), (vec!["/a".into(), "/a/c".into()], Some("/a/c".into())));
        assert_eq!(page("", 1, &all, Some("/a/c")), (vec!["/a".into()], Some("/a".into())));
        assert_eq!(page("/a/c", 9, &all, Some("/a/z")), (vec![], Some("/a/z".into())));
    }

    #[test]
    fn what_sandshell_makes_is_no_change() {
        assert_eq!(page("", 9, &["/run", "/run/sandshell", "/etc/resolv.conf"], None), (vec![], None));
        assert_eq!(page("", 1, &["/run", "/run/sandshell", "/srv"], None), (vec!["/srv".into()], None));
        let (changes, _) = page("", 9, &["/run", "/run/sandshell", "/run/x", "/run/sandshell2"], None);
        assert_eq!(changes, ["/run", "/run/sandshell2", "/run/x"]);
    }

    #[test]
    fn a_page_has_a_bound_of_bytes() {
        let long: Vec<_> = (0..2000).map(|number| format!("/{number:04}{}", "x".repeat(4000))).collect();
        let long: Vec<_> = long.iter().map(String::as_str).collect();
        let (changes, next) = page("", 10_000, &long, None);
        assert!(changes.len() < 600 && next.as_ref() == changes.last(), "{}", changes.len());
    }
}
