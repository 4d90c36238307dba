//! Of each sample of the example: who edits the tests so that they pass has done nothing, and who does the task and breaks something else has not
//! done it.

use crate::kit::{
    Runtime,
    datasets::git,
    examples::{Examples, runs, sample, samples, solved},
    verifying::{expect_result, of_patch, result},
};
use sandshell::api::v1::{test_result::Outcome, verification_result::Reason};
use std::{collections::BTreeSet, fs, path::Path};

crate::in_every_runtime!(edited_tests_and_what_breaks_others_are_no_success);

/// What breaks one of the tests that passed before, in the code that does the task: the words that are there, and those in their place.
const BREAKS: [(&str, &str, &str); 8] = [
    ("c-ring", "return -1;", "return -2;"),
    ("c-utf8", "long length = 0;", "long length = bytes == 0;"),
    ("javascript-cache", "new RangeError(", "new TypeError("),
    ("javascript-query", "if (part === \"\") continue;", ""),
    ("python-intervals", "raise ValueError(", "raise KeyError("),
    ("python-quotes", "raise ValueError(", "raise KeyError("),
    ("shell-rotate", "exit 2;", "exit 0;"),
    ("shell-versions", "exit 2 ;;", "exit 0 ;;"),
];

/// The patch that makes these files of a sample so.
fn patch(id: &str, files: &[(String, String)]) -> String {
    let at = tempfile::tempdir().unwrap();
    runs("cp", &[Path::new("-r"), &sample(id).join("code/."), at.path()]);
    git(at.path(), &["init", "-q"]);
    git(at.path(), &["add", "-A"]);
    for (path, text) in files {
        fs::create_dir_all(at.path().join(path).parent().unwrap()).unwrap();
        fs::write(at.path().join(path), text).unwrap();
    }
    git(at.path(), &["add", "-AN"]);
    git(at.path(), &["diff", "--output=.git/patch"]);
    fs::read_to_string(at.path().join(".git/patch")).unwrap()
}

/// The tests that everybody sees, and some under the names of hidden ones, each so that it passes.
fn edited(id: &str) -> Vec<(String, String)> {
    let passing = |name: &str| if name.ends_with(".c") { "int main(void) { return 0; }\n" } else { "" };
    let tests = fs::read_dir(sample(id).join("code/tests")).unwrap().flatten();
    let tests = tests.map(|entry| format!("tests/{}", entry.file_name().into_string().unwrap()));
    let hidden = fs::read_dir(sample(id).join("verification/.verify")).unwrap().flatten();
    let hidden = hidden.map(|entry| format!(".verify/{}", entry.file_name().into_string().unwrap()));
    tests.chain(hidden).map(|path| (path.clone(), format!("{}\n", passing(&path)))).collect()
}

fn broken(id: &str) -> Vec<(String, String)> {
    let (_, from, to) = BREAKS.iter().find(|(sample, ..)| *sample == id).expect("how it is broken");
    let solved = solved(id);
    let broken: Vec<_> = solved.iter().map(|(path, text)| (path.clone(), text.replacen(from, to, 1))).collect();
    assert_ne!(solved, broken, "{id}: {from} is not there");
    broken
}

async fn edited_tests_and_what_breaks_others_are_no_success(on: Runtime) {
    let lab = Examples::new(on);
    let mut client = lab.client().await;
    // A container takes its time.
    let samples = if on == Runtime::Linux { samples(on) } else { &samples(on)[1..3] };
    for id in samples {
        let toml: toml::Table = fs::read_to_string(sample(id).join("sample.toml")).unwrap().parse().unwrap();
        let list = |name| -> BTreeSet<String> { toml["verification"][name].clone().try_into().unwrap() };
        let (to_mend, to_keep) = (list("fail_to_pass"), list("pass_to_pass"));
        let started = client.start(of_patch(id, &patch(id, &edited(id)))).await;
        let judged = client.end(&started).await;
        expect_result(&judged, Some(Reason::TestsFailed));
        let failed = |judged| -> BTreeSet<String> {
            let failed = result(judged).tests.iter().filter(|test| test.outcome() == Outcome::Failed);
            failed.map(|test| test.name.clone()).collect()
        };
        assert_eq!(failed(&judged), to_mend, "{id}");
        assert!(result(&judged).changes_restored > 1, "{id}: {judged:?}");

        let started = client.start(of_patch(id, &patch(id, &broken(id)))).await;
        let judged = client.end(&started).await;
        expect_result(&judged, Some(Reason::TestsFailed));
        let failed = failed(&judged);
        assert!(!failed.is_empty() && failed.is_subset(&to_keep), "{id}: {failed:?}");
    }
}
