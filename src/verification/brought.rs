//! Which entries of an archive are brought, and what is still missing when all of it has gone by.
//!
//! A file with several names comes once, and under its other names as a hard link to the first. Where that first name is not brought, because it
//! is the sample's, the file has to be packed once more without it.

use crate::archive::Passing;
use std::collections::HashSet;

/// Names of files that are not brought, as which files come that are. Each costs another archive.
pub(super) const MOST_NAMES: usize = 16;

/// What is brought of one workspace into another.
#[derive(Debug)]
pub(super) struct Brought {
    wanted: HashSet<Vec<u8>>,
    /// What of it has not come yet.
    missing: HashSet<Vec<u8>>,
    /// Names that are not brought, of files that come as links to these.
    first_names: HashSet<Vec<u8>>,
}

impl Brought {
    pub(super) fn new(wanted: HashSet<Vec<u8>>) -> Self {
        Self { missing: wanted.clone(), wanted, first_names: HashSet::new() }
    }

    /// Whether an entry that goes by is brought.
    pub(super) fn takes(&mut self, entry: Passing<'_>) -> bool {
        if !self.missing.contains(entry.path) {
            return false;
        }
        if let Some(first) = entry.first_name
            && (!self.wanted.contains(first) || self.missing.contains(first))
        {
            if self.first_names.len() < MOST_NAMES {
                self.first_names.insert(first.to_vec());
            }
            return false;
        }
        self.missing.remove(entry.path)
    }

    /// Forgets what need not come by itself: directories come with what is in them.
    pub(super) fn without(&mut self, directories: &HashSet<Vec<u8>>) {
        self.missing.retain(|path| !directories.contains(path));
    }

    /// Whether all has come.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The names that another archive has to leave out, so that files come under those that are brought. `None`: one cannot be named.
    pub(super) fn first_names(&mut self) -> Option<Vec<String>> {
        std::mem::take(&mut self.first_names).iter().map(|path| pattern_of(path)).collect()
    }
}

/// The pattern that names just this path.
fn pattern_of(path: &[u8]) -> Option<String> {
    let mut pattern = "/".to_owned();
    for character in std::str::from_utf8(path).ok()?.chars() {
        if character.is_control() {
            return None;
        }
        if character == ' ' || (character.is_ascii_punctuation() && character != '/') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Patterns;

    fn passing<'a>(path: &'a str, first_name: Option<&'a str>) -> Passing<'a> {
        Passing { path: path.as_bytes(), is_directory: false, first_name: first_name.map(str::as_bytes) }
    }

    #[test]
    fn a_link_comes_only_after_what_it_is_a_link_to() {
        let mut brought = Brought::new(["a", "b", "c"].map(|path| path.as_bytes().to_vec()).into());
        assert!(brought.takes(passing("a", None)) && brought.takes(passing("b", Some("a"))));
        assert!(!brought.takes(passing("tests/t", None)) && !brought.takes(passing("c", Some("tests/t"))));
        assert!(!brought.is_complete());
        assert_eq!(brought.first_names(), Some(vec!["/tests/t".to_owned()]));
        assert!(brought.takes(passing("c", None)) && brought.is_complete());
        assert_eq!(brought.first_names(), Some(vec![]));
    }

    #[test]
    fn a_pattern_names_just_its_path() {
        for path in ["a", "a b ", "*", "[a]", "!a", "#a", "a\\", "a?", "ä/ö", "-", "a/**"] {
            let pattern = pattern_of(path.as_bytes()).unwrap();
            let patterns = Patterns::new([pattern.as_str()]).unwrap();
            assert_eq!(patterns.says(path.as_bytes(), false), Some(true), "{path}: {pattern}");
            for other in ["b", "x/a", "ab", "a/b", "a/b/c"] {
                assert_eq!(patterns.says(other.as_bytes(), false), None, "{path}: {pattern}: {other}");
            }
        }
        assert_eq!((pattern_of(b"\xff"), pattern_of(b"a\nb")), (None, None));
    }
}
