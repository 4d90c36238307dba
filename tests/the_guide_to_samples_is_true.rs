//! What `docs/samples.md` shows works as it stands there, with the example dataset.

use crate::kit::{Options, Server, guide};
use std::{fs, path::Path};

#[test]
fn each_line_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let catalog = root.join("examples/datasets").display().to_string();
    let server = Server::start(Options { args: vec!["--catalog".to_owned(), catalog], ..Options::default() });
    let here = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root.join("examples"), here.path().join("examples")).unwrap();
    let said = guide::run(include_str!("../docs/samples.md"), &server, here.path(), &[]);
    for part in [
        "first-steps  8        0       c,javascript,python,shell  First steps",
        "first-steps/python-intervals",
        "`ring_put` in `ring.c` says 0 when the ring is full",
        "\"sample_id\":\"c-ring\"",
        "8 good samples in 1 datasets, 0 mistakes",
        "1 of 8 succeeded (12.5 %), 7 have no patch",
        "report: scores/report.html",
        "1 samples imported into imported",
        "git clone --mirror https://github.com/owner/name ",
    ] {
        assert!(said[0].contains(part), "{part:?}: {said:?}");
    }
    let sample = fs::read_to_string(here.path().join("imported/owner__name-1/sample.toml")).unwrap();
    assert!(
        sample.contains("setup = [\"pip install --no-index .\"]") && sample.contains("image = \"python:3.12\""),
        "{sample}"
    );
}

/// The keys that the guide shows are those that are read.
#[test]
fn the_sample_that_it_shows_has_no_mistake() {
    let guide = include_str!("../docs/samples.md");
    let toml = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let here = tempfile::tempdir().unwrap();
    let sample = here.path().join("set/c-ring");
    fs::create_dir_all(sample.join("verification")).unwrap();
    fs::create_dir_all(here.path().join("set/mirrors/ring.git")).unwrap();
    for (name, content) in [("sample.toml", toml), ("task.md", "task"), ("reference.patch", "patch")] {
        fs::write(sample.join(name), content).unwrap();
    }
    crate::kit::cli::prints(&["sample", "check", here.path().join("set").to_str().unwrap()]);
}
