//! A name for what a skeleton is made from: the next server uses the same one again if nothing has changed, because
//! making hundreds of files takes longer than everything else at a start.

use super::etc;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Changes with what `skeleton` and `etc` make out of the same host.
const FORMAT: u32 = 1;

/// The name of the skeleton for a host's root directory, of which these directories are shown.
pub(super) fn name(host: &Path, shown: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    (FORMAT, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    for shown in shown {
        (shown, fs::read_link(host.join(shown)).ok(), host.join(shown).is_dir()).hash(&mut hasher);
    }
    for source in etc::COPIED.iter().chain(&["passwd", "group"]) {
        add(&host.join("etc").join(source), &mut hasher, 0);
    }
    format!("host-{:016x}", hasher.finish())
}

/// Adds everything that tells a changed file from the same one without reading it.
fn add(path: &Path, hasher: &mut DefaultHasher, depth: u32) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    path.hash(hasher);
    if meta.is_symlink() {
        // Not its times: the skeleton may hold another name for it, which changes them.
        let Ok(link) = fs::read_link(path) else { return };
        link.hash(hasher);
        if !etc::leads_inside(path, &link) {
            // Then its target's content is copied in its place.
            fs::metadata(path).ok().map(|meta| state(&meta)).hash(hasher);
        }
        return;
    }
    state(&meta).hash(hasher);
    if meta.is_dir() && depth < etc::MAX_DEPTH {
        let mut names: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        names.sort();
        names.iter().for_each(|path| add(path, hasher, depth + 1));
    }
}

fn state(meta: &fs::Metadata) -> (u64, u32, u64, i64, i64) {
    (meta.ino(), meta.mode(), meta.size(), meta.ctime(), meta.ctime_nsec())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_changes_the_name_and_nothing_else_does() {
        let host = tempfile::tempdir().unwrap();
        fs::create_dir_all(host.path().join("etc/apt")).unwrap();
        fs::write(host.path().join("etc/apt/sources.list"), "one").unwrap();
        let first = name(host.path(), &["usr"]);
        assert_eq!(first, name(host.path(), &["usr"]));
        fs::write(host.path().join("etc/apt/sources.list"), "other").unwrap();
        assert_ne!(first, name(host.path(), &["usr"]));
    }
}
