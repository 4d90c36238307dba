#![allow(clippy::unwrap_used, clippy::print_stdout)]
//! Whatever happens in a tree, and however fast: who watches it knows in the end all that is there.

use super::{
    watch::{State, Watching},
    work::Wanted,
};
use crate::api::v1::{Overflow, change::Kind, watch_response::Event};
use rustix::fs::{CWD, RenameFlags, renameat_with};
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
fn watched(what: impl FnOnce(&Path, &Path) + Send + 'static) {
    let here = tempfile::tempdir().unwrap();
    let (top, aside) = (here.path().join("top"), here.path().join("aside"));
    fs::create_dir(&top).unwrap();
    fs::create_dir(&aside).unwrap();
    let wanted = Wanted::default();
    let mut watching = Watching::begin(&top, true, Arc::new(Semaphore::new(100_000))).unwrap();
    while !watching.arm(&wanted).unwrap() {}
    let doing = {
        let top = top.clone();
        std::thread::spawn(move || {
            what(&top, &aside);
            fs::write(top.join("the end"), "").unwrap();
        })
    };
    let (mut known, start) = (Known::default(), Instant::now());
    let end = top.join("the end");
    let mut is_quiet = false;
    let mut all_told = Vec::new();
    while !(known.0.contains(&end) && is_quiet) {
        let part = watching.next(&wanted).unwrap();
        is_quiet = part.state == State::All;
        for told in part.events {
            let told = told.event.unwrap();
            if let Event::Change(change) = &told {
                all_told.push(format!("{:?} {} {}", change.kind(), change.path, change.old_path));
            }
            known.hear(told);
        }
        if part.state != State::More {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(start.elapsed() < LONG, "the end was never told");
    }
    doing.join().unwrap();
    let mut there = BTreeSet::new();
    all(&top, &mut there);
    let lost: Vec<_> = there.difference(&known.0).collect();
    assert!(lost.is_empty(), "never told: {lost:?}; told was {all_told:#?}");
    let made_up: Vec<_> = known.0.difference(&there).collect();
    assert!(made_up.is_empty(), "told, and not there: {made_up:?}; told was {all_told:#?}");
}

#[test]
fn chains_of_directories_are_told_whole() {
    watched(|top, _| {
        for number in 0..1000 {
            let directory = top.join(format!("dd/{number}/x/y/z"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("f"), "x").unwrap();
        }
    });
}

#[test]
fn what_takes_the_place_of_something_removed_is_told_after_it() {
    watched(|top, _| {
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

/// Numbers that seem to be random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}

#[test]
fn a_tree_in_which_anything_happens_is_known_in_the_end() {
    let seed = std::env::var("SANDSHELL_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 | 1);
    println!("SANDSHELL_TEST_SEED={seed} repeats what is done, if not when");
    let mut seeds = Dice(seed);
    for _ in 0..20 {
        let mut dice = Dice(seeds.below(u64::MAX) | 1);
        watched(move |top, aside| {
            for _ in 0..300 {
                let mut path = |within: &Path| {
                    let depth = 1 + dice.below(4);
                    (0..depth).fold(within.to_owned(), |path, _| path.join(format!("d{}", dice.below(3))))
                };
                let (one, other, away) = (path(top), path(top), path(aside));
                // What cannot be done at the moment is not done.
                let _ = match dice.below(10) {
                    0..=3 => fs::create_dir_all(&one),
                    4 => fs::write(one.join("f"), ""),
                    5 => fs::write(&one, ""),
                    6 => fs::rename(&one, &other),
                    7 => fs::rename(&one, &away),
                    8 => fs::rename(&away, &one),
                    _ => fs::remove_dir_all(&one),
                };
            }
        });
    }
}

#[test]
fn what_is_moved_on_before_anybody_looks_is_told_where_it_is() {
    watched(|top, aside| {
        let (at, away) = (|path: &str| top.join(path), |path: &str| aside.join(path));
        for number in 0..200 {
            // Each is another directory when its events are looked at.
            fs::create_dir_all(at("a/in")).unwrap();
            fs::rename(at("a"), at("b")).unwrap();
            fs::create_dir_all(at("a/other/deep")).unwrap();
            fs::write(at("a/other/deep/f"), "").unwrap();
            fs::rename(at("b"), at("c")).unwrap();
            fs::rename(at("a"), at("c/in/a")).unwrap();
            fs::rename(at("c/in"), away("in")).unwrap();
            fs::rename(away("in"), at("b")).unwrap();
            fs::rename(at("b"), at(&format!("{number}"))).unwrap();
            fs::remove_dir(at("c")).unwrap();
        }
    });
}

#[test]
fn what_was_exchanged_is_told_as_lost_and_watched_where_it_is() {
    let here = tempfile::tempdir().unwrap();
    let (at, wanted) = (|path: &str| here.path().join(path), Wanted::default());
    fs::create_dir_all(at("a/x")).unwrap();
    fs::create_dir_all(at("b/y")).unwrap();
    let mut watching = Watching::begin(here.path(), true, Arc::new(Semaphore::new(100))).unwrap();
    while !watching.arm(&wanted).unwrap() {}
    let mut told = || {
        let (mut all, mut state) = (Vec::new(), State::More);
        while state == State::More {
            let part = watching.next(&wanted).unwrap();
            all.extend(part.events.into_iter().map(|told| told.event.unwrap()));
            state = part.state;
        }
        all
    };
    renameat_with(CWD, at("a"), CWD, at("b"), RenameFlags::EXCHANGE).unwrap();
    assert!(told().contains(&Event::Overflow(Overflow {})));
    for path in ["a/y/f", "b/x/f"] {
        fs::write(at(path), "").unwrap();
        let whole = at(path).to_str().unwrap().to_owned();
        let is_this = |event: &Event| matches!(event, Event::Change(change) if change.path == whole);
        assert!(told().iter().any(is_this), "{path}");
    }
}

/// What comes first is told also when the directory is gone by the time that it is looked at.
#[test]
fn what_happened_before_the_end_is_told_before_it() {
    let here = tempfile::tempdir().unwrap();
    let top = here.path().join("top");
    fs::create_dir(&top).unwrap();
    let wanted = Wanted::default();
    let mut watching = Watching::begin(&top, true, Arc::new(Semaphore::new(100))).unwrap();
    while !watching.arm(&wanted).unwrap() {}
    fs::create_dir(top.join("d")).unwrap();
    fs::rename(top.join("d"), top.join("e")).unwrap();
    fs::remove_dir(top.join("e")).unwrap();
    fs::remove_dir(&top).unwrap();
    let (mut told, start) = (Vec::new(), Instant::now());
    loop {
        let part = watching.next(&wanted).unwrap();
        for response in part.events {
            let Some(Event::Change(change)) = response.event else { panic!("only changes") };
            told.push((change.kind(), change.path));
        }
        if part.state == State::Over {
            break;
        }
        assert!(start.elapsed() < LONG, "it does not end: {told:?}");
    }
    let at = |name: &str| top.join(name).to_str().unwrap().to_owned();
    let expected =
        [(Kind::Created, at("d")), (Kind::Renamed, at("e")), (Kind::Removed, at("e")), (Kind::Removed, at(""))];
    let expected = expected.map(|(kind, path)| (kind, path.trim_end_matches('/').to_owned()));
    assert_eq!(told, expected);
}
