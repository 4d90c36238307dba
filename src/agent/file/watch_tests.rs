#![allow(clippy::unwrap_used)]
//! Whatever happens in a tree, and however fast: who watches it knows in the end all that is there.

use super::{
    watch::{State, Watching},
    work::Wanted,
};
use crate::api::v1::{change::Kind, watch_response::Event};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// Ends a hang, and nothing else.
const LONG: Duration = Duration::from_secs(60);

/// What a client knows that keeps a list by what it is told.
#[derive(Default)]
struct Known(BTreeSet<PathBuf>);

impl Known {
    fn hear(&mut self, event: Event) {
        let Event::Change(change) = event else { panic!("nothing may be lost here: {event:?}") };
        let (path, old) = (PathBuf::from(&change.path), PathBuf::from(&change.old_path));
        assert!(!change.path.contains("/.sandshell-") && !change.path.contains('#'), "a draft: {change:?}");
        match change.kind() {
            Kind::Created => drop(self.0.insert(path)),
            Kind::Removed => self.0.retain(|known| !known.starts_with(&path)),
            Kind::Renamed => {
                self.0.retain(|known| !known.starts_with(&path));
                let moved = self.0.iter().filter(|known| known.starts_with(&old));
                let moved: Vec<_> = moved.map(|known| path.join(known.strip_prefix(&old).unwrap())).collect();
                self.0.retain(|known| !known.starts_with(&old));
                // A path joined with nothing gets a slash behind it, which does not count in comparisons.
                self.0.extend(moved);
                self.0.insert(path);
            }
            Kind::Modified | Kind::Unspecified => {}
        }
    }
}

/// All that is in a directory.
fn all(directory: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        into.insert(entry.path());
        if entry.file_type().unwrap().is_dir() {
            all(&entry.path(), into);
        }
    }
}

/// Watches while something is done in another thread, and compares.
fn watched(what: impl FnOnce(&Path) + Send + 'static) {
    let here = tempfile::tempdir().unwrap();
    let top = here.path().to_owned();
    let wanted = Wanted::default();
    let mut watching = Watching::begin(&top, true, Arc::new(Semaphore::new(100_000))).unwrap();
    while !watching.arm(&wanted).unwrap() {}
    let doing = {
        let top = top.clone();
        std::thread::spawn(move || {
            what(&top);
            fs::write(top.join("the end"), "").unwrap();
        })
    };
    let (mut known, start) = (Known::default(), Instant::now());
    let end = top.join("the end");
    let mut is_quiet = false;
    while !(known.0.contains(&end) && is_quiet) {
        let part = watching.next(&wanted).unwrap();
        is_quiet = part.state == State::All;
        part.events.into_iter().for_each(|told| known.hear(told.event.unwrap()));
        if part.state != State::More {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(start.elapsed() < LONG, "the end was never told");
    }
    doing.join().unwrap();
    let mut there = BTreeSet::new();
    all(&top, &mut there);
    let lost: Vec<_> = there.difference(&known.0).collect();
    assert!(lost.is_empty(), "never told: {lost:?}");
}

#[test]
fn chains_of_directories_are_told_whole() {
    watched(|top| {
        for number in 0..1000 {
            let directory = top.join(format!("dd/{number}/x/y/z"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("f"), "x").unwrap();
        }
    });
}

#[test]
fn what_takes_the_place_of_something_removed_is_told_after_it() {
    watched(|top| {
        let at = |path: &str| top.join(path);
        for _ in 0..200 {
            fs::create_dir(at("s")).unwrap();
            fs::remove_dir(at("s")).unwrap();
            fs::create_dir(at("s")).unwrap();
            fs::write(at("s/q"), "").unwrap();
            fs::create_dir_all(at("s/d/e")).unwrap();
            fs::remove_dir_all(at("s")).unwrap();
        }
        fs::create_dir_all(at("s/d/e")).unwrap();
        fs::write(at("s/d/q"), "").unwrap();
    });
}
