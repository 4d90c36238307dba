//! `sandshell sample import`: what other benchmarks have becomes samples, and what has no counterpart is told.

use crate::kit::cli::{prints, refuses, sandshell};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path, process::Command};

const SOLUTION: &str =
    "--- a/calc.py\n+++ b/calc.py\n@@ -1,2 +1,2 @@\n def half(x):\n-    return x // 2\n+    return x / 2\n";
const TESTS: &str = "--- /dev/null\n+++ b/tests/test calc.py\n@@ -0,0 +1,3 @@\n+from calc import half\n+def test_half():\n+    assert half(3) == 1.5\n";

/// A bare repository with one commit, and the id of that.
fn repository(at: &Path) -> String {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("calc.py"), "def half(x):\n    return x // 2\n").unwrap();
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(&work).args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]);
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

fn checked(directory: &Path) -> Value {
    let checked = sandshell(&["sample", "check", "--json", directory.to_str().unwrap()]);
    serde_json::from_slice(&checked.stdout).expect("JSON")
}

#[test]
fn records_of_swe_bench_and_codeset_become_samples() {
    let here = tempfile::tempdir().unwrap();
    let (source, into) = (here.path().join("records.jsonl"), here.path().join("set"));
    let commit = repository(&into.join("repositories/owner__calc.git"));
    let of_swe_bench = json!({
        "instance_id": "owner__calc-1", "repo": "owner/calc", "base_commit": commit, "patch": SOLUTION, "test_patch": TESTS,
        "problem_statement": "# Half of \"three\"\n\nis 1.5, not 1.\u{7f}", "hints_text": "think", "version": "2.1",
        "FAIL_TO_PASS": "[\"tests/test calc.py::test_half\"]", "PASS_TO_PASS": "[]", "created_at": "2024-01-01", "difficulty": null,
    });
    let of_codeset = json!({
        "sample_id": "calc/2", "dataset": "gitbug", "repo": "https://example.org/owner/calc.git", "base_commit": commit,
        "problem_statement": "Division", "language": "Python", "verifier": "python3 -m unittest", "patch": SOLUTION,
        "fail_to_pass": ["a", "b"],
    });
    let bad = json!({ "instance_id": "bad", "repo": 5 });
    fs::write(&source, format!("{of_swe_bench}\n\n{of_codeset}\n{bad}\nno json\n")).unwrap();
    let import = ["sample", "import", source.to_str().unwrap(), "--into", into.to_str().unwrap(), "--json"];
    let outcome = sandshell(&import);
    assert!(!outcome.status.success(), "two of them were left out");
    let told: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    assert_eq!(told["imported"], json!(["owner__calc-1", "calc-2"]), "{told}");
    assert_eq!(told["problems"], json!([]), "{told}");
    let failed: Vec<_> =
        told["failed"].as_array().unwrap().iter().map(|failed| failed["id"].as_str().unwrap()).collect();
    assert_eq!(failed, ["bad", "line 5"], "{told}");
    let notes = told["notes"].to_string();
    for note in ["hints_text has no counterpart", "git clone --mirror https://github.com/owner/calc ", "names no image"]
    {
        assert!(notes.contains(note), "{note}: {notes}");
    }
    assert!(!notes.contains("difficulty"), "nothing is lost where there was nothing: {notes}");

    let found = checked(&into);
    assert_eq!(
        (&found["problems"], &found["datasets"][0]["samples"]),
        (&json!([]), &json!(["calc-2", "owner__calc-1"]))
    );
    let sample = into.join("owner__calc-1");
    let toml: toml::Table = fs::read_to_string(sample.join("sample.toml")).unwrap().parse().unwrap();
    assert_eq!(fs::read_to_string(sample.join("reference.patch")).unwrap(), SOLUTION);
    assert_eq!(fs::read_to_string(sample.join("verification/.sandshell-tests.patch")).unwrap(), TESTS);
    assert_eq!(fs::read_to_string(sample.join("task.md")).unwrap(), "# Half of \"three\"\n\nis 1.5, not 1.\u{7f}");
    assert_eq!(toml["title"].as_str(), Some("Half of \"three\""));
    assert_eq!(told["renamed"], json!([{ "source_id": "calc/2", "id": "calc-2" }]), "{told}");
    assert_eq!(toml["source"]["id"].as_str(), Some("owner__calc-1"));
    assert_eq!(toml["codebase"]["commit"].as_str(), Some(commit.as_str()));
    let verification = &toml["verification"];
    assert_eq!(verification["protected"].as_array().unwrap()[0].as_str(), Some("/tests/test\\ calc.py"));
    assert_eq!(verification["fail_to_pass"].as_array().unwrap()[0].as_str(), Some("tests/test calc.py::test_half"));
    // The command applies the tests and names their files, and works in a checkout of the commit.
    let work = tempfile::tempdir().unwrap();
    let clone = [
        "clone",
        "-q",
        into.join("repositories/owner__calc.git").to_str().unwrap(),
        work.path().join("w").to_str().unwrap(),
    ]
    .map(str::to_owned);
    assert!(Command::new("git").args(clone).status().unwrap().success());
    fs::copy(sample.join("verification/.sandshell-tests.patch"), work.path().join("w/.sandshell-tests.patch")).unwrap();
    let command = verification["command"].as_str().unwrap();
    assert!(command.contains("python3 -m pytest -rA -p no:cacheprovider 'tests/test calc.py'"), "{command}");
    let command = command.replace("python3 -m pytest -rA -p no:cacheprovider", "cat");
    let ran = Command::new("sh").args(["-c", &command]).current_dir(work.path().join("w")).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "from calc import half\ndef test_half():\n    assert half(3) == 1.5\n"
    );

    // Nothing is replaced unless that is wanted.
    let again: Value = serde_json::from_slice(&sandshell(&import).stdout).expect("JSON");
    assert_eq!(again["imported"], json!([]), "{again}");
    let again = sandshell(&[&import[..], &["--overwrite", "--only", "calc-2"]].concat());
    assert!(again.status.success(), "{again:?}");
    // What is no sample stays, whatever a record is called.
    fs::write(into.join("dataset.toml"), "title = \"Mine\"\n").unwrap();
    let named = |id: &str| json!({ "instance_id": id, "repo": "a/b", "base_commit": commit, "problem_statement": "x" });
    let evil = here.path().join("evil.jsonl");
    fs::write(&evil, format!("{}\n{}\n", named("repositories"), named("dataset.toml"))).unwrap();
    let import =
        ["sample", "import", evil.to_str().unwrap(), "--into", into.to_str().unwrap(), "--json", "--overwrite"];
    let told: Value = serde_json::from_slice(&sandshell(&import).stdout).expect("JSON");
    assert_eq!(told["imported"], json!([]), "{told}");
    assert!(told["failed"][0]["error"].as_str().unwrap().contains("no sample"), "{told}");
    assert!(into.join("repositories/owner__calc.git/HEAD").exists() && into.join("dataset.toml").is_file());
    // And without the repository the sample says what is missing.
    let other = here.path().join("other");
    let told = sandshell(&[
        "sample",
        "import",
        source.to_str().unwrap(),
        "--into",
        other.to_str().unwrap(),
        "--only",
        "calc-2",
    ]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("still to be mended: ") && told.contains("git: ../repositories/owner__calc.git: No such file"),
        "{told}"
    );
}

/// What was imported, and the error of all that was not, by its id.
fn told(source: &Path, into: &Path, more: &[&str]) -> (Value, BTreeMap<String, String>) {
    let import = ["sample", "import", source.to_str().unwrap(), "--into", into.to_str().unwrap(), "--json"];
    let outcome = sandshell(&[&import[..], more].concat());
    let told: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {outcome:?}"));
    let failed = told["failed"].as_array().unwrap().iter();
    let failed = failed.map(|failed| [&failed["id"], &failed["error"]].map(|text| text.as_str().unwrap().to_owned()));
    let failed = failed.map(|[id, why]| (id, why)).collect();
    (told, failed)
}

fn record(id: impl Into<Value>) -> Value {
    json!({ "instance_id": id.into(), "repo": "a/b", "base_commit": "0".repeat(40), "problem_statement": "Do it" })
}

#[test]
fn no_sample_replaces_one_that_was_made_of_another_id() {
    let here = tempfile::tempdir().unwrap();
    let (source, into) = (here.path().join("records.json"), here.path().join("set"));
    let write =
        |ids: &[&str]| fs::write(&source, json!(ids.iter().map(|id| record(*id)).collect::<Vec<_>>()).to_string());
    // A byte order mark is nothing that a record begins with.
    fs::write(&source, format!("\u{feff}{}\n{}\n", record("x/y-2"), record("x-y-2"))).unwrap();
    let (outcome, failed) = told(&source, &into, &["--overwrite"]);
    assert_eq!(outcome["imported"], json!(["x-y-2"]), "{outcome}");
    assert_eq!(outcome["renamed"], json!([{ "source_id": "x/y-2", "id": "x-y-2" }]), "{outcome}");
    let expected = "would be imported as x-y-2, where the sample made of \"x/y-2\" is already: neither is the other one, and nothing is replaced";
    assert_eq!(failed, [("x-y-2".to_owned(), expected.to_owned())].into(), "{outcome}");
    // The same one is replaced, by whichever of its ids it is named.
    for (only, count) in [("x/y-2", 1), ("x-y-2", 1), ("y", 0)] {
        write(&["x/y-2"]).unwrap();
        let (outcome, failed) = told(&source, &into, &["--overwrite", "--only", only]);
        assert_eq!((outcome["imported"].as_array().unwrap().len(), failed.len()), (count, 0), "{only}: {outcome}");
    }
    // And one that does not say what it was made of was made of what it is called.
    let toml = into.join("x-y-2/sample.toml");
    let text = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, text.replace("id = \"x/y-2\"\n", "")).unwrap();
    let (_, failed) = told(&source, &into, &["--overwrite"]);
    assert!(failed["x/y-2"].contains("made of \"x-y-2\" is already"), "{failed:?}");
    write(&["x-y-2"]).unwrap();
    let (outcome, failed) = told(&source, &into, &["--overwrite"]);
    assert_eq!(
        (&outcome["imported"], &outcome["renamed"], failed.len()),
        (&json!(["x-y-2"]), &json!([]), 0),
        "{outcome}"
    );
    // One that nobody can read is anybody's.
    fs::write(&toml, "id = [").unwrap();
    let (_, failed) = told(&source, &into, &["--overwrite"]);
    assert!(failed["x-y-2"].contains("sample.toml: line 1, column "), "{failed:?}");
    // For people it is told too.
    write(&["../../evil"]).unwrap();
    let said =
        prints(&["sample", "import", source.to_str().unwrap(), "--into", here.path().join("other").to_str().unwrap()]);
    assert!(said.contains("renamed: ../../evil is imported as evil\n"), "{said}");
}

#[test]
fn what_is_wrong_with_an_id_is_told() {
    let here = tempfile::tempdir().unwrap();
    let (source, into) = (here.path().join("records.jsonl"), here.path().join("set"));
    let ids = [json!(17), json!("é"), json!(".."), json!(["a"]), json!(null)];
    let lines = ids.into_iter().map(|id| format!("{}\n", record(id)));
    fs::write(&source, lines.collect::<String>() + "5\n").unwrap();
    let (outcome, failed) = told(&source, &into, &[]);
    assert_eq!(outcome["imported"], json!(["17"]), "a number is as good as text: {outcome}");
    let no_name =
        |id: &str| format!("its id \"{id}\" has no letter a to z and no digit, and so makes no folder's name");
    let expected = [
        ("line 2", no_name("é")),
        ("line 3", no_name("..")),
        ("line 4", "instance_id is a list, and must be text".to_owned()),
        ("line 5", "has no instance_id, sample_id or id".to_owned()),
        ("line 6", "is a number, and must be a JSON object".to_owned()),
    ];
    assert_eq!(failed, expected.map(|(at, why)| (at.to_owned(), why)).into());
}

#[test]
fn a_task_folder_that_lacks_something_is_told_beside_the_good_ones() {
    let here = tempfile::tempdir().unwrap();
    let (tasks, into) = (here.path().join("tasks"), here.path().join("set"));
    for name in ["good", "untold", "unnamed", "broken"] {
        fs::create_dir_all(tasks.join(name).join("tests")).unwrap();
        fs::write(tasks.join(name).join("tests/test.sh"), "true\n").unwrap();
        fs::write(tasks.join(name).join("task.toml"), "version = \"1.0\"\n").unwrap();
        fs::write(tasks.join(name).join("instruction.md"), "Do it\n").unwrap();
    }
    fs::remove_file(tasks.join("untold/instruction.md")).unwrap();
    fs::remove_file(tasks.join("unnamed/task.toml")).unwrap();
    fs::write(tasks.join("broken/task.toml"), "version = \"1.0\"\n[agent\ntimeout_sec = 5\n").unwrap();
    fs::create_dir(tasks.join("data")).unwrap();
    let (outcome, failed) = told(&tasks, &into, &[]);
    assert_eq!(outcome["imported"], json!(["good"]), "{outcome}");
    assert_eq!(failed.keys().collect::<Vec<_>>(), ["broken", "unnamed", "untold"], "{outcome}");
    assert_eq!(failed["untold"], "has no instruction.md, which a task folder needs");
    assert_eq!(failed["unnamed"], "has no task.toml, which a task folder needs");
    assert!(failed["broken"].starts_with("task.toml: line 2, column 7: "), "{failed:?}");
    assert!(!failed["broken"].contains('\n'), "{failed:?}");
    // It alone is told in the same way.
    let (_, failed) = told(&tasks.join("untold"), &into, &[]);
    assert_eq!(failed["untold"], "has no instruction.md, which a task folder needs");
}

#[test]
fn what_is_nothing_is_refused_with_what_to_do() {
    let here = tempfile::tempdir().unwrap();
    let (source, into) = (here.path().join("records"), here.path().join("set").display().to_string());
    let source = source.to_str().unwrap();
    fs::write(source, "[{\"instance_id\": \"a\"}]").unwrap();
    let told = sandshell(&["sample", "import", source, "--into", &into]);
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        !told.status.success() && said.contains("not imported: a: needs repo, base_commit and problem_statement"),
        "{said}"
    );
    for nothing in ["", "\n \n", "[]", "\u{feff}"] {
        fs::write(source, nothing).unwrap();
        refuses(&["sample", "import", source, "--into", &into], &[source, "has no record"]);
    }
    let empty = tempfile::tempdir().unwrap();
    refuses(&["sample", "import", empty.path().to_str().unwrap(), "--into", &into], &["has no task folder"]);
}

#[test]
fn task_folders_of_harbor_become_samples() {
    let here = tempfile::tempdir().unwrap();
    let (task, into) = (here.path().join("tasks/hello world"), here.path().join("set"));
    for directory in ["environment/data", "tests", "solution"] {
        fs::create_dir_all(task.join(directory)).unwrap();
    }
    for (name, content) in [
        (
            "task.toml",
            "version = \"1.0\"\n[metadata]\nauthor_name = \"A\"\ncategory = \"files\"\ntags = [\"easy\"]\n[verifier]\ntimeout_sec = 120.0\n\
             [agent]\ntimeout_sec = 5\n[environment]\nmemory = \"2G\"\n",
        ),
        ("instruction.md", "# Say hello\n\nWrite hello.txt."),
        (
            "environment/Dockerfile",
            "FROM debian:bookworm AS base\nRUN apt-get install -y \\\n  curl\nWORKDIR /app/work\n",
        ),
        ("environment/data/words", "hello"),
        ("tests/test.sh", "grep -q hello /app/work/hello.txt && echo 1 >/logs/verifier/reward.txt\n"),
        ("solution/solve.sh", "echo hello >/app/work/hello.txt\n"),
    ] {
        fs::write(task.join(name), content).unwrap();
    }
    let told =
        prints(&["sample", "import", here.path().join("tasks").to_str().unwrap(), "--into", into.to_str().unwrap()]);
    for note in [
        "Dockerfile's RUN is left out",
        "solution/ is a script",
        "agent of task.toml",
        "environment.memory of task.toml",
    ] {
        assert!(told.contains(note), "{note}: {told}");
    }
    let found = checked(&into);
    assert_eq!(
        (&found["problems"], &found["datasets"][0]["samples"]),
        (&json!([]), &json!(["hello-world"])),
        "{found}"
    );
    let sample = into.join("hello-world");
    let toml: toml::Table = fs::read_to_string(sample.join("sample.toml")).unwrap().parse().unwrap();
    assert_eq!((toml["image"].as_str(), toml["title"].as_str()), (Some("debian:bookworm"), Some("Say hello")));
    assert_eq!(toml["tags"], toml::Value::from(vec!["easy", "files"]));
    assert_eq!(toml["verification"]["timeout"].as_str(), Some("120s"));
    assert!(toml["setup"][0].as_str().unwrap().contains("ln -s /workspace /app/work"), "{toml:?}");
    assert!(sample.join("code/data/words").exists() && !sample.join("code/Dockerfile").exists());
    assert!(sample.join("verification/.sandshell-tests/test.sh").exists() && !sample.join("solution").exists());
    // A link that leads elsewhere would show others what is here.
    std::os::unix::fs::symlink("/etc/passwd", task.join("environment/link")).unwrap();
    let told =
        sandshell(&["sample", "import", task.to_str().unwrap(), "--into", into.to_str().unwrap(), "--overwrite"]);
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(!told.status.success() && said.contains("is a link that leads out of the task"), "{said}");
    assert!(sample.join("sample.toml").exists(), "what was there is still there");
}
