//! Samples that `sandshell sample import` has made of others' files are verified as their labels say, with and without what does the task.

use crate::kit::{
    Options, Server,
    cli::{prints, sandshell},
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

const SOLUTION: &str =
    "--- a/calc.py\n+++ b/calc.py\n@@ -1,2 +1,2 @@\n def half(x):\n-    return x // 2\n+    return x / 2\n";
/// It changes a file of tests that is there, and adds one.
const TESTS: &str = "\
--- a/tests/test_calc.py
+++ b/tests/test_calc.py
@@ -3,3 +3,5 @@
 class Calc(unittest.TestCase):
     def test_even(self):
         self.assertEqual(half(4), 2)
+    def test_odd(self):
+        self.assertEqual(half(3), 1.5)
--- /dev/null
+++ b/tests/new file
@@ -0,0 +1 @@
+new
";
/// The agent has made the visible tests pass in another way.
const CHEAT: &str = "--- a/tests/test_calc.py\n+++ b/tests/test_calc.py\n@@ -4,2 +4,2 @@\n     def test_even(self):\n-        self.assertEqual(half(4), 2)\n+        pass\n";

const COMMAND: &str = "echo 1..2; for test in test_even test_odd; do \
     python3 -m unittest -q tests.test_calc.Calc.$test && echo \"ok - $test\" || echo \"not ok - $test\"; done";

/// The same as Parquet, made by another program (tests/parquet/README.md).
const RECORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parquet/records");

/// A bare repository with one commit, and the id of that.
fn repository(at: &Path) -> String {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir_all(work.path().join("tests")).unwrap();
    fs::write(work.path().join("calc.py"), "def half(x):\n    return x // 2\n").unwrap();
    let tests = "import unittest\nfrom calc import half\nclass Calc(unittest.TestCase):\n    def test_even(self):\n        self.assertEqual(half(4), 2)\n";
    fs::write(work.path().join("tests/test_calc.py"), tests).unwrap();
    fs::write(work.path().join("tests/__init__.py"), "").unwrap();
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(&work).args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]);
        // The same commit each time: records name it.
        git.env("GIT_AUTHOR_DATE", "2024-01-01T00:00:00Z").env("GIT_COMMITTER_DATE", "2024-01-01T00:00:00Z");
        let output = git.args(arguments).output().expect("git starts; install git");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "All"]);
    git(&["clone", "-q", "--bare", ".", at.to_str().unwrap()]);
    git(&["rev-parse", "HEAD"])
}

fn imported(into: &Path) {
    let commit = repository(&into.join("repositories/owner__calc.git"));
    let record = |id: &str| {
        json!({
            "instance_id": id, "repo": "owner/calc", "base_commit": commit, "patch": SOLUTION, "test_patch": TESTS,
            "problem_statement": "Half of three is 1.5", "FAIL_TO_PASS": "[\"test_odd\"]", "PASS_TO_PASS": "[\"test_even\"]",
        })
    };
    let source = into.with_extension("jsonl");
    fs::write(&source, ["right", "empty", "cheat"].map(|id| format!("{}\n", record(id))).concat()).unwrap();
    prints(&[
        "sample",
        "import",
        source.to_str().unwrap(),
        "--into",
        into.to_str().unwrap(),
        "--command",
        COMMAND,
        "--report",
        "tap",
    ]);
    let task = into.with_extension("task").join("hello");
    for directory in ["environment", "tests"] {
        fs::create_dir_all(task.join(directory)).unwrap();
    }
    for (name, content) in [
        ("task.toml", "version = \"1.0\"\n[verifier]\ntimeout_sec = 60\n"),
        ("instruction.md", "Write the word of words.txt to hello.txt"),
        ("environment/words.txt", "hello\n"),
        ("tests/expected", "hello\n"),
        (
            "tests/test.sh",
            "cmp /app/hello.txt /tests/expected && echo 1 >/logs/verifier/reward.txt || echo 0 >/logs/verifier/reward.txt\n",
        ),
    ] {
        fs::write(task.join(name), content).unwrap();
    }
    for id in ["hello", "silent"] {
        let named = task.with_file_name(id);
        if id != "hello" {
            assert!(Command::new("cp").arg("-r").args([&task, &named]).status().unwrap().success());
        }
        prints(&["sample", "import", named.to_str().unwrap(), "--into", into.to_str().unwrap()]);
    }
}

#[test]
fn with_what_does_the_task_and_without() {
    let here = tempfile::tempdir().unwrap();
    let into = here.path().join("catalogue/set");
    fs::create_dir_all(&into).unwrap();
    imported(&into);
    // What an agent has planted beside the code is not looked at.
    let planted = "--- /dev/null\n+++ b/.sandshell-tests/test.sh\n@@ -0,0 +1 @@\n+echo 1 >/logs/verifier/reward.txt\n";
    let says_hello = "--- /dev/null\n+++ b/hello.txt\n@@ -0,0 +1 @@\n+hello\n";
    let given = [("right", SOLUTION), ("empty", ""), ("cheat", CHEAT), ("hello", says_hello), ("silent", planted)];
    let expected = [
        ("cheat", "failed"),
        ("empty", "failed"),
        ("hello", "succeeded"),
        ("right", "succeeded"),
        ("silent", "failed"),
    ];
    expect_statuses(&into, &given, &expected);
}

#[test]
fn records_in_parquet_by_their_lists() {
    let here = tempfile::tempdir().unwrap();
    let into = here.path().join("catalogue/set");
    let commit = repository(&into.join("repositories/owner__calc.git"));
    let records = fs::read_to_string(format!("{RECORDS}.jsonl")).unwrap();
    assert!(records.contains(&commit), "tests/parquet has records of another commit than {commit}");
    let source = format!("{RECORDS}.parquet");
    let (directory, report) = (into.to_str().unwrap(), ["--command", COMMAND, "--report", "tap"]);
    prints(&[&["sample", "import", source.as_str(), "--into", directory][..], &report].concat());
    let given = [("right", SOLUTION), ("empty", ""), ("cheat", CHEAT), ("open", SOLUTION), ("strict", SOLUTION)];
    // One has no lists, so all has to pass, and one has a test that nobody has.
    let expected =
        [("cheat", "failed"), ("empty", "failed"), ("open", "succeeded"), ("right", "succeeded"), ("strict", "failed")];
    expect_statuses(&into, &given, &expected);
}

/// Scores patches for the samples of a dataset.
fn expect_statuses(set: &Path, given: &[(&str, &str)], expected: &[(&str, &str)]) {
    let args = vec!["--catalog".to_owned(), set.display().to_string()];
    let server = Server::start(Options { args, ..Options::default() });
    let patches = set.with_extension("patches.jsonl");
    let lines = given.iter().map(|(id, patch)| format!("{}\n", json!({ "sample_id": id, "patch": patch })));
    fs::write(&patches, lines.collect::<String>()).unwrap();
    let results = set.with_extension("results");
    let [patches, into] = [&patches, &results].map(|path| path.to_str().unwrap());
    let outcome =
        sandshell(&["eval", "set", "--patches", patches, "--into", into, "--json", "--server", &server.url()]);
    let told: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    let statuses = told["samples"].as_array().unwrap().iter();
    let word = |sample: &Value, name| sample[name].as_str().unwrap().to_owned();
    let statuses: Vec<_> = statuses.map(|sample| (word(sample, "sample_id"), word(sample, "status"))).collect();
    let expected: Vec<_> = expected.iter().map(|(id, status)| ((*id).to_owned(), (*status).to_owned())).collect();
    let lines = fs::read_to_string(results.join("results.jsonl")).unwrap_or_default();
    assert_eq!(statuses, expected, "{told}\n{lines}");
}
