//! The catalogue on directories that are made for the occasion.

use super::*;
use std::{fs, path::Path};

const GOOD: &str = r#"
title = "Division"
language = "Python"
tags = ["maths", "easy"]
description = "task.md"
setup = ["true"]

[codebase]
directory = "code"

[verification]
command = "python3 -m unittest"
timeout = "90s"
report = { format = "junit", path = "/tmp/report.xml" }
fail_to_pass = ["test_division"]
pass_to_pass = ["test_sum"]
protected = ["tests/**"]

[hidden]
patch = "reference.patch"
"#;

/// A sample with all that [`GOOD`] names.
fn sample(dataset: &Path, folder: &str, toml: &str) {
    let directory = dataset.join(folder);
    fs::create_dir_all(directory.join("code")).unwrap();
    for (name, content) in
        [("sample.toml", toml), ("task.md", "# The task"), ("reference.patch", "a patch"), ("code/calc.py", "1 / 0")]
    {
        fs::write(directory.join(name), content).unwrap();
    }
}

fn messages(catalogue: &Catalogue) -> Vec<String> {
    catalogue.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn a_sample_is_read_with_all_that_it_has() {
    let here = tempfile::tempdir().unwrap();
    let top = here.path().canonicalize().unwrap();
    sample(&top.join("sums"), "division", GOOD);
    let catalogue = Catalogue::load(&[here.path()]);
    assert_eq!(messages(&catalogue), [""; 0]);
    let found = catalogue.find("", "division").unwrap();
    let directory = top.join("sums/division");
    assert_eq!((found.name().as_str(), found.title.as_str()), ("sums/division", "Division"));
    assert_eq!((found.language.as_str(), found.image.as_str(), found.version.as_str()), ("python", "host", "1"));
    assert_eq!(found.description, "# The task");
    assert_eq!(found.codebase, Codebase::Directory(directory.join("code")));
    assert_eq!(found.hidden.patch, Some(directory.join("reference.patch")));
    let verification = Verification {
        command: "python3 -m unittest".into(),
        files: None,
        timeout: Duration::from_secs(90),
        report: Report { format: ReportFormat::Junit, path: Some("/tmp/report.xml".into()), command: None },
        fail_to_pass: vec!["test_division".into()],
        pass_to_pass: vec!["test_sum".into()],
        protected: vec!["tests/**".into()],
        network: false,
    };
    assert_eq!(found.verification, verification);
    // The directory of one dataset alone serves as well.
    assert!(Catalogue::load(&[top.join("sums")]).sample("sums", "division").is_some());
}

#[test]
fn each_mistake_has_its_line_and_hides_no_other_sample() {
    let here = tempfile::tempdir().unwrap();
    let top = here.path().canonicalize().unwrap().join("set");
    sample(&top, "good", GOOD);
    let bad = r#"
id = "no name"
langauge = "c"
description = "missing.md"
tags = ["a",
  5]
[codebase]
git = "../../etc"
commit = "main"
[verification]
timeout = "soon"
report = { format = "xml" }
protected = ["[z-a]"]
"#;
    sample(&top, "bad", bad);
    sample(&top, "broken", "title = \n[codebase]\ndirectory = 5 5\n");
    fs::create_dir_all(top.join("empty")).unwrap();
    fs::write(top.join("empty/sample.toml"), "").unwrap();
    let catalogue = Catalogue::load(&[&top]);
    let dataset = catalogue.datasets().next().unwrap();
    assert_eq!((dataset.samples.len(), dataset.broken), (1, 3));
    let all = messages(&catalogue).join("\n");
    for (line, told) in [
        (2, "id: \"no name\" must begin with a letter or digit"),
        (3, "langauge is not a key of this file; did you mean language?"),
        (4, "description: missing.md: No such file"),
        (6, "tags: invalid type: integer `5`, expected a string"),
        (8, "git: "),
        (9, "codebase.commit: must be the full id of a commit"),
        (10, "verification.command is missing"),
        (11, "timeout: \"soon\" is not a time"),
        (12, "\"xml\" is none of junit, tap, cargo, nextest, pytest, go, exit_code, command"),
        (13, "verification.protected: "),
    ] {
        let start = format!("{}/bad/sample.toml:{line}: ", top.display());
        let told = all.lines().any(|each| each.starts_with(&start) && each.contains(told)).then_some(told);
        assert!(told.is_some(), "line {line}: {all}");
    }
    assert_eq!(all.matches("/bad/sample.toml:").count(), 10, "{all}");
    for line in [1, 3] {
        assert!(all.contains(&format!("{}/broken/sample.toml:{line}: ", top.display())), "{all}");
    }
    for key in ["description is missing", "[codebase] is missing", "[verification] is missing"] {
        assert!(all.contains(&format!("{}/empty/sample.toml:1: {key}", top.display())), "{all}");
    }
}

#[test]
fn nothing_outside_of_a_sample_is_named() {
    let here = tempfile::tempdir().unwrap();
    let top = here.path().canonicalize().unwrap();
    fs::write(top.join("secret"), "secret").unwrap();
    for (folder, named) in [("absolute", "/etc/passwd"), ("above", "../../secret"), ("linked", "link")] {
        sample(&top.join("set"), folder, &GOOD.replace("task.md", named));
        std::os::unix::fs::symlink(top.join("secret"), top.join("set").join(folder).join("link")).unwrap();
    }
    sample(&top.join("set"), "pipe", &GOOD.replace("task.md", "pipe"));
    let pipe = top.join("set/pipe/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let catalogue = Catalogue::load(&[&top]);
    let all = messages(&catalogue);
    assert_eq!((all.len(), catalogue.datasets().map(|set| set.samples.len()).sum::<usize>()), (4, 0), "{all:?}");
    assert_eq!(all.iter().filter(|told| told.contains("leads out of")).count(), 2, "{all:?}");
    assert!(all.iter().any(|told| told.contains("must be a regular file")), "{all:?}");
}

#[test]
fn of_two_with_one_name_the_first_counts() {
    let here = tempfile::tempdir().unwrap();
    let top = here.path().canonicalize().unwrap();
    let named = format!("id = \"same\"\n{GOOD}");
    for folder in ["set/a", "set/b", "other/c"] {
        sample(&top, folder, &named);
    }
    sample(&top, "third/d", GOOD);
    fs::write(top.join("third/dataset.toml"), "name = \"set\"\nsize = 3\n").unwrap();
    let catalogue = Catalogue::load(&[&top]);
    assert_eq!(catalogue.sample("set", "same").unwrap().directory, top.join("set/a"));
    let error = catalogue.find("", "same").unwrap_err().to_string();
    assert!(error.contains("\"other\" and in \"set\""), "{error}");
    assert!(catalogue.find("none", "same").unwrap_err().to_string().contains("dataset \"none\" was not found"));
    assert!(catalogue.find("set", "none").unwrap_err().to_string().contains("sample \"set/none\" was not found"));
    let all = messages(&catalogue).join("\n");
    for told in [
        "set/b/sample.toml:1: id: \"same\" is the id of",
        "dataset.toml:2: size is not a key",
        "third: this dataset is called \"set\"",
    ] {
        assert!(all.contains(told), "{told}: {all}");
    }
}

#[test]
fn a_fingerprint_changes_with_every_file() {
    let here = tempfile::tempdir().unwrap();
    let top = here.path().canonicalize().unwrap().join("set");
    let fingerprint = || Catalogue::load(&[&top]).find("", "one").unwrap().fingerprint().to_owned();
    sample(&top, "one", GOOD);
    let mut seen = vec![fingerprint()];
    assert_eq!(seen[0], fingerprint(), "it does not depend on chance");
    let read = Catalogue::load(&[&top]).find("", "one").unwrap();
    assert!(read.is_as_it_was());
    for (name, content) in
        [("reference.patch", "another"), ("code/calc.py", "2 / 0"), ("code/new", ""), ("task.md", "x")]
    {
        fs::write(top.join("one").join(name), content).unwrap();
        seen.push(fingerprint());
        assert!(!read.is_as_it_was(), "{name}");
    }
    std::os::unix::fs::symlink("new", top.join("one/code/link")).unwrap();
    seen.push(fingerprint());
    fs::rename(top.join("one/code/new"), top.join("one/code/newer")).unwrap();
    seen.push(fingerprint());
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "two of them are the same");
    fs::remove_dir_all(top.join("one")).unwrap();
    assert!(!read.is_as_it_was());
}

#[test]
fn pages_and_filters_go_through_all_samples() {
    let here = tempfile::tempdir().unwrap();
    let top = here.path().canonicalize().unwrap();
    for folder in ["a/one", "a/two", "b/one"] {
        sample(&top, folder, GOOD);
    }
    sample(&top, "b/other", &GOOD.replace("Python", "C").replace("\"easy\"", "\"hard\""));
    let catalogue = Catalogue::load(&[&top]);
    let names = |listing: Listing| listing.samples.iter().map(|sample| sample.name()).collect::<Vec<_>>();
    let first = catalogue.list(&Filter::default(), 2, None);
    assert_eq!((first.more, first.total), (true, 4));
    assert_eq!(names(first), ["a/one", "a/two"]);
    let second = catalogue.list(&Filter::default(), 2, Some(&PageToken { dataset: "a".into(), id: "two".into() }));
    assert_eq!((second.more, second.total), (false, 4));
    assert_eq!(names(second), ["b/one", "b/other"]);
    let with = |filter: Filter| names(catalogue.list(&filter, 100, None));
    assert_eq!(with(Filter { language: "c".into(), ..Filter::default() }), ["b/other"]);
    assert_eq!(with(Filter { tags: vec!["maths".into(), "hard".into()], ..Filter::default() }), ["b/other"]);
    assert_eq!(with(Filter { dataset: "a".into(), text: "TW".into(), ..Filter::default() }), ["a/two"]);
    assert_eq!(with(Filter { text: "the TASK".into(), ..Filter::default() }).len(), 4);
}
