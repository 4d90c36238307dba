//! Real source trees: in as an archive, changed by exact replacement, searched, tested by a command, and out again, from one text on
//! every runtime.

use crate::kit::{Runtime, Sandbox, archives::unpacked, v1};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tokio_stream::StreamExt;

crate::in_every_runtime!(the_sources_of_a_crate, a_package_of_python_with_its_tests);

/// A directory as `tar` packs it.
fn packed(directory: &Path) -> Vec<u8> {
    let tar = Command::new("tar").args(["-cf", "-", "."]).current_dir(directory).output().expect("tar");
    assert!(tar.status.success(), "{tar:?}");
    tar.stdout
}

/// What two trees differ in, as `diff` says it.
fn differences(one: &Path, other: &Path) -> String {
    let diff = Command::new("diff").args(["-r", "--no-dereference"]).args([one, other]).output().expect("diff");
    String::from_utf8_lossy(&[diff.stdout, diff.stderr].concat()).into_owned()
}

/// A copy to be changed here as the other one is inside.
fn copied(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-r", "--no-target-directory"]).args([from, to]).status().expect("cp");
    assert!(copied.success());
}

async fn brought(s: &Sandbox, project: &Path) -> v1::ImportResponse {
    let done = s.import(s.open_import("/workspace/project"), &packed(project)).await.expect("a project");
    assert_eq!(done.refused_total, 0, "{done:?}");
    done
}

/// The files in which lines match, in order.
async fn found(s: &Sandbox, pattern: &str) -> Vec<String> {
    let request = v1::SearchRequest {
        sandbox_id: s.id.clone(),
        path: "/workspace/project".into(),
        pattern: pattern.into(),
        max_matches: 100_000,
        ..Default::default()
    };
    let lines = s.clients.files.clone().search(request).await.expect("a search").into_inner();
    let lines: Vec<_> = lines.map(|line| line.expect("a line").path).collect().await;
    let mut files: Vec<_> = lines.into_iter().filter(|path| !path.is_empty()).collect();
    files.dedup();
    files
}

/// A crate that this project is built with, as it was published.
fn sources() -> PathBuf {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").expect("HOME")).join(".cargo"));
    let registries = fs::read_dir(cargo.join("registry/src")).expect("the registry's sources").flatten();
    let crates = registries.flat_map(|registry| fs::read_dir(registry.path()).expect("crates").flatten());
    let is_it =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("regex-automata-"));
    crates.map(|entry| entry.path()).find(is_it).expect("the sources of regex-automata")
}

async fn the_sources_of_a_crate(on: Runtime) {
    let (s, here) = (on.sandbox().await, tempfile::tempdir().expect("a directory"));
    let (project, out) = (here.path().join("project"), here.path().join("out"));
    copied(&sources(), &project);
    let done = brought(&s, &project).await;
    assert!(done.files > 100 && done.bytes > 1 << 20, "a real tree: {done:?}");
    // The same files as the host's own tools find.
    let host = Command::new("grep").args(["-rlI", "PatternID", "."]).current_dir(&project).output().expect("grep");
    let mut expected: Vec<_> = String::from_utf8(host.stdout)
        .expect("names")
        .lines()
        .map(|name| name.replacen("./", "/workspace/project/", 1))
        .collect();
    expected.sort();
    assert!(expected.len() > 3, "{expected:?}");
    let mut files = found(&s, "PatternID").await;
    files.sort();
    assert_eq!(files, expected);
    // The same change in each of them, here and inside.
    for file in &files {
        let changed = s.replace(file, "PatternID", "PatternName", true).await.expect("a replacement");
        assert!(changed.replacements > 0 && changed.diff.contains("+"), "{changed:?}");
        let own = project.join(file.strip_prefix("/workspace/project/").expect("a file of the project"));
        let text = fs::read_to_string(&own).expect("text");
        fs::write(&own, text.replace("PatternID", "PatternName")).expect("a change");
    }
    assert_eq!(found(&s, "PatternID").await, [""; 0]);
    s.run(
        "cd /workspace/project && mkdir target && echo built > target/out && rm Cargo.lock 2>/dev/null; ls Cargo.toml",
    )
    .await
    .expect("Cargo.toml\n", "", 0);
    fs::create_dir(project.join("target")).expect("a directory");
    fs::write(project.join("target/out"), "built\n").expect("a file");
    let _ = fs::remove_file(project.join("Cargo.lock"));
    unpacked(&s, "/workspace/project/.", &out).await;
    assert_eq!(differences(&project, &out), "");
}

/// A fault, and a test that shows it.
const CALCULATOR: [(&str, &str); 4] = [
    ("calc/__init__.py", "from .numbers import mean\n"),
    ("calc/numbers.py", "def mean(values):\n    return sum(values) / (len(values) + 1)\n"),
    ("tests/__init__.py", ""),
    (
        "tests/test_numbers.py",
        "import unittest\n\nfrom calc import mean\n\n\nclass Mean(unittest.TestCase):\n    def test_mean(self):\n        self.assertEqual(mean([1, 2, 3]), 2)\n",
    ),
];

async fn a_package_of_python_with_its_tests(on: Runtime) {
    let (s, here) = (on.sandbox().await, tempfile::tempdir().expect("a directory"));
    let (project, out) = (here.path().join("project"), here.path().join("out"));
    for (name, text) in CALCULATOR {
        let path = project.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        fs::write(path, text).expect("a file");
    }
    brought(&s, &project).await;
    let tests = "cd /workspace/project && PYTHONDONTWRITEBYTECODE=1 python3 -m unittest 2>&1 | tail -n 1";
    s.run(tests).await.expect("FAILED (failures=1)\n", "", 0);
    let numbers = "/workspace/project/calc/numbers.py";
    // What is not there exactly as said changes nothing.
    s.replace(numbers, "(len(values)+1)", "len(values)", false).await.expect_err("another text");
    s.run(tests).await.expect("FAILED (failures=1)\n", "", 0);
    let changed = s.replace(numbers, "(len(values) + 1)", "len(values)", false).await.expect("a replacement");
    assert_eq!(changed.replacements, 1);
    s.run(tests).await.expect("OK\n", "", 0);
    fs::write(project.join("calc/numbers.py"), "def mean(values):\n    return sum(values) / len(values)\n")
        .expect("a change");
    unpacked(&s, "/workspace/project/.", &out).await;
    assert_eq!(differences(&project, &out), "");
}
