//! `sandshell eval` and `sandshell sample check --prove`: a dataset tells what does its tasks from what does not.

use crate::kit::{
    LONG, Options, Runtime, Server,
    cli::{prints, program, refuses, sandshell},
    docker::shared_docker,
    examples::{DATASET, Examples, SAMPLES, examples, reference, samples},
    host,
    v1::{
        ListVerificationsRequest, Verification, verification::State,
        verification_service_client::VerificationServiceClient,
    },
    within::{ask_until, until, within},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

fn serving() -> Server {
    let args = vec!["--catalog".to_owned(), examples().display().to_string()];
    Server::start(Options { args, ..Options::default() })
}

/// A patch that puts a file where none is.
fn adds(path: &str, content: &str) -> String {
    let lines: String = content.lines().map(|line| format!("+{line}\n")).collect();
    format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{} @@\n{lines}", content.lines().count())
}

/// Patches for the example, and what has to come of each.
fn labelled() -> Vec<(&'static str, Option<String>, &'static str)> {
    let breaks = "--- a/rotate.sh\n+++ b/rotate.sh\n@@ -5,3 +5,1 @@\n \n-[ -n \"$file\" ] && [ \"$count\" -gt 0 ] || { echo \"usage: rotate.sh FILE COUNT\" >&2; exit 2; }\n-[ -e $file ] || exit 0\n";
    let fake = "import sys\nprint('1..8', file=open('/tmp/report.tap', 'w'))\nsys.exit(0)";
    vec![
        ("c-ring", Some(reference("c-ring")), "succeeded"),
        ("c-utf8", Some(String::new()), "failed"),
        ("javascript-cache", Some(reference("javascript-cache")), "succeeded"),
        // It replaces what runs the hidden tests.
        ("javascript-query", Some(adds(".verify/run.js", "<script>alert(1)</script>")), "failed"),
        ("python-intervals", Some(adds("unittest.py", fake) + &adds("sitecustomize.py", fake)), "failed"),
        ("python-quotes", Some(reference("c-ring")), "failed"),
        ("shell-rotate", Some(breaks.to_owned()), "failed"),
        ("shell-versions", None, "no patch"),
    ]
}

fn write_records(path: &Path, patches: &[(&str, Option<String>, &str)]) {
    let given =
        patches.iter().filter_map(|(id, patch, _)| Some(json!({ "instance_id": id, "model_patch": patch.as_ref()? })));
    fs::write(path, given.map(|record| format!("{record}\n")).collect::<String>()).unwrap();
}

/// The arguments of an evaluation.
fn eval<'a>(server: &'a str, patches: &'a Path, into: &'a Path) -> Vec<&'a str> {
    let [patches, into] = [patches, into].map(|path| path.to_str().unwrap());
    vec!["eval", DATASET, "--patches", patches, "--into", into, "--json", "--server", server]
}

fn statuses(outcome: &Value) -> BTreeMap<&str, &str> {
    let samples = outcome["samples"].as_array().expect("samples");
    samples.iter().map(|sample| (sample["sample_id"].as_str().unwrap(), sample["status"].as_str().unwrap())).collect()
}

#[test]
fn a_mixed_set_comes_out_as_labelled_and_so_does_one_that_was_stopped() {
    let (server, here) = (serving(), tempfile::tempdir().unwrap());
    let (url, records) = (server.url(), here.path().join("patches.jsonl"));
    let labelled = labelled();
    write_records(&records, &labelled);
    let expected: BTreeMap<_, _> = labelled.iter().map(|(id, _, status)| (*id, *status)).collect();
    let into = here.path().join("whole");
    let outcome = sandshell(&eval(&url, &records, &into));
    let (whole, results) =
        (outcome.status.success(), fs::read_to_string(into.join("results.jsonl")).unwrap_or_default());
    let outcome: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    assert!(whole && statuses(&outcome) == expected, "{outcome}\n{results}");
    assert_eq!([&outcome["total"], &outcome["succeeded"], &outcome["without_patch"], &outcome["errors"]], [8, 2, 1, 0]);
    let html = fs::read_to_string(into.join("report.html")).unwrap();
    assert!(
        html.contains("2 of 8 succeeded (25.0 %)") && html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{html}"
    );
    assert!(
        !html.contains("<script") && !html.contains("http://") && !html.contains("https://"),
        "it needs nothing and runs nothing"
    );
    let markdown = fs::read_to_string(into.join("report.md")).unwrap();
    assert!(
        markdown.contains("| c-ring | A ring buffer that forgets when it is full | succeeded | 4/4 |"),
        "{markdown}"
    );
    assert!(markdown.contains("- python-quotes: PATCH\\_NOT\\_APPLIED: "), "{markdown}");
    // Nothing is begun over results that are there, or for what is not there.
    refuses(&eval(&url, &records, &into), &["has results already", "--resume"]);
    write_records(&here.path().join("wrong.jsonl"), &[("nobody", Some(String::new()), "")]);
    refuses(
        &eval(&url, &here.path().join("wrong.jsonl"), &here.path().join("none")),
        &["nobody: no sample has this id"],
    );

    // Killed after the first results, it goes on with them.
    let into = here.path().join("stopped");
    let (again, results) = (eval(&url, &records, &into), into.join("results.jsonl"));
    let mut begun = program(&[&again[..], &["--jobs", "1"]].concat());
    let mut begun = begun.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let lines = || fs::read_to_string(&results).unwrap_or_default().matches('\n').count();
    assert!(ask_until(LONG, || (lines() > 1).then_some(())).is_some(), "no results came");
    begun.kill().unwrap();
    begun.wait().unwrap();
    let first = fs::read_to_string(&results).unwrap();
    let resume = [&again[..], &["--resume"]].concat();
    let resumed: Value = serde_json::from_str(&prints(&resume)).unwrap();
    assert_eq!(resumed["samples"], outcome["samples"]);
    let all = fs::read_to_string(&results).unwrap();
    assert!(
        all.starts_with(&first[..=first.rfind('\n').unwrap()]) && all.lines().count() == 7,
        "none is verified twice: {all}"
    );
    // When all is there, nothing is verified any more, and when a patch has changed, that one is.
    prints(&resume);
    assert_eq!(lines(), 7);
    let mut other = labelled;
    other[1].1 = Some(reference("c-utf8"));
    write_records(&records, &other);
    let changed: Value = serde_json::from_str(&prints(&resume)).unwrap();
    assert_eq!((&changed["succeeded"], lines()), (&3.into(), 8));
}

#[test]
fn predictions_without_a_sample_are_told_and_the_others_are_verified() {
    let (server, here) = (serving(), tempfile::tempdir().unwrap());
    let (url, records, into) = (server.url(), here.path().join("predictions.json"), here.path().join("out"));
    // One array instead of lines, and an id that an import would have changed.
    let given = json!([
        { "instance_id": "shell-rotate", "model_patch": null },
        { "instance_id": "/shell versions", "model_patch": reference("shell-versions") },
        { "instance_id": "nobody", "model_patch": "" },
        { "instance_id": "<b>", "model_patch": "" },
    ]);
    fs::write(&records, format!("\u{feff}{given}")).unwrap();
    let outcome = sandshell(&eval(&url, &records, &into));
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let told: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {outcome:?}"));
    assert_eq!(outcome.status.code(), Some(1), "{told}");
    assert_eq!(told["predictions_without_sample"], json!(["<b>", "nobody"]), "{told}");
    let found = statuses(&told);
    assert_eq!((found["shell-rotate"], found["shell-versions"]), ("failed", "succeeded"), "{told}");
    assert_eq!([&told["total"], &told["errors"], &told["without_patch"]], [8, 0, 6], "{told}");
    for part in ["nobody: no sample has this id", "for /shell versions is taken for the sample shell-versions"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let [html, markdown] = ["report.html", "report.md"].map(|name| fs::read_to_string(into.join(name)).unwrap());
    assert!(html.contains("<li>nobody</li>") && html.contains("<li>&lt;b&gt;</li>"), "{html}");
    assert!(markdown.contains("2 predictions without a sample") && markdown.contains("\n- nobody\n"), "{markdown}");
    // Who asks for one is told of no other, by whichever of its ids.
    let again = [&eval(&url, &records, &into)[..], &["--resume", "--only", "/shell versions"]].concat();
    let told: Value = serde_json::from_str(&prints(&again)).unwrap();
    assert_eq!(statuses(&told), [("shell-versions", "succeeded")].into(), "{told}");
    assert_eq!(told["predictions_without_sample"], json!([]), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_cancels_what_runs_and_reports_what_is_there() {
    let (server, here) = (serving(), tempfile::tempdir().unwrap());
    let (url, patches, into) = (server.url(), here.path().join("patches"), here.path().join("out"));
    fs::create_dir(&patches).unwrap();
    let samples = labelled().into_iter().map(|(id, ..)| id);
    for id in samples {
        fs::write(patches.join(format!("{id}.patch")), reference(id)).unwrap();
    }
    fs::write(patches.join("notes.txt"), "no patch").unwrap();
    let arguments = [&eval(&url, &patches, &into)[..], &["--jobs", "1"]].concat();
    let begun = program(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let results = into.join("results.jsonl");
    until("a result", async || fs::read_to_string(&results).is_ok_and(|text| text.ends_with('\n'))).await;
    host::signal(begun.id(), libc::SIGINT);
    let ended = begun.wait_with_output().unwrap();
    let outcome: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(ended.status.code(), Some(130), "{outcome}");
    let not_yet = statuses(&outcome).values().filter(|status| **status == "not yet").count();
    assert!(not_yet > 0 && outcome["stopped"] == true, "{outcome}");
    assert!(fs::read_to_string(into.join("report.md")).unwrap().contains("not yet"));
    // The server has nothing left to do for it.
    let mut verifications = VerificationServiceClient::new(server.connect().await.channel);
    let list = within("a list", verifications.list_verifications(ListVerificationsRequest::default())).await;
    let list = list.expect("a list").into_inner().verifications;
    let is_over = |each: &Verification| matches!(each.state(), State::Completed | State::Cancelled);
    assert!(list.len() < 8 && list.iter().all(is_over), "{list:?}");
}

#[test]
fn every_sample_of_the_example_is_proved() {
    let outcome = sandshell(&["sample", "check", "--prove", "--json", examples().to_str().unwrap()]);
    let told: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    let proofs = told["proofs"].as_array().expect("proofs");
    for proof in proofs {
        assert_eq!((&proof["as_it_is"], &proof["with_patch"]), (&"TESTS_FAILED".into(), &"success".into()), "{proof}");
    }
    assert!(outcome.status.success() && proofs.len() == 8, "{told}");
}

#[test]
fn a_sample_that_proves_nothing_is_told() {
    let here = tempfile::tempdir().unwrap();
    let copy = |id: &str| {
        let from = examples().join(DATASET).join("shell-versions");
        let to = here.path().join("set").join(id);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("cp").arg("-r").arg(from).arg(&to).status().unwrap().success());
        to
    };
    fs::write(
        copy("wrong").join("reference.patch"),
        "--- a/newer.sh\n+++ b/newer.sh\n@@ -1 +1 @@\n-#!/bin/sh\n+#!/bin/bash\n",
    )
    .unwrap();
    fs::copy(examples().join(DATASET).join("shell-versions/code/newer.sh"), here.path().join("newer.sh")).unwrap();
    let easy = copy("easy");
    let toml = fs::read_to_string(easy.join("sample.toml")).unwrap();
    let listed = toml.find("fail_to_pass").unwrap()..toml.find("protected").unwrap();
    let toml = toml.replace(&toml[listed], "fail_to_pass = [\"the same is not newer\"]\n");
    fs::write(easy.join("sample.toml"), toml).unwrap();
    // Its command prints no report, but why.
    let mute = copy("mute").join("sample.toml");
    let toml = fs::read_to_string(&mute).unwrap();
    let says = r#"command = "echo begun; echo No module named pytest >&2; exit 1""#;
    let toml = toml.replace("command = \"sh .verify/run.sh\"", says);
    let toml = toml.replace(r#"{ format = "tap", path = "/tmp/report.tap" }"#, r#"{ format = "pytest" }"#);
    fs::write(&mute, toml).unwrap();
    let outcome = sandshell(&["sample", "check", "--prove", here.path().to_str().unwrap()]);
    let told = String::from_utf8(outcome.stdout).unwrap();
    assert!(!outcome.status.success(), "{told}");
    for part in [
        "    begun\n    No module named pytest\n",
        "set/mute: does not succeed with its reference patch: ",
        "set/wrong: does not succeed with its reference patch: ",
        "set/easy: succeeds as it is: ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// All of one kind, as a directory of patches.
fn write_patches(into: &Path, samples: &[&str], patch: impl Fn(&str) -> String) {
    fs::create_dir(into).unwrap();
    samples.iter().for_each(|id| fs::write(into.join(format!("{id}.patch")), patch(id)).unwrap());
}

#[test]
fn the_references_are_all_right_and_nothing_is_none() {
    let (server, here) = (serving(), tempfile::tempdir().unwrap());
    let (url, [right, nothing]) = (server.url(), ["right", "nothing"].map(|name| here.path().join(name)));
    write_patches(&right, &SAMPLES, reference);
    write_patches(&nothing, &SAMPLES, |_| String::new());
    for (patches, succeeded, line) in
        [(&right, 8, "8 of 8 succeeded (100.0 %)"), (&nothing, 0, "0 of 8 succeeded (0.0 %), 8 failed")]
    {
        let into = patches.with_extension("out");
        let outcome: Value = serde_json::from_str(&prints(&eval(&url, patches, &into))).unwrap();
        assert_eq!([&outcome["total"], &outcome["succeeded"], &outcome["errors"]], [8, succeeded, 0], "{outcome}");
        let html = fs::read_to_string(into.join("report.html")).unwrap();
        assert!(html.contains(line), "{line}: {html}");
    }
}

/// The same commands with the other runtime: a private server that proves, and one that scores.
#[test]
fn a_dataset_is_proved_and_scored_on_docker() {
    let lab = Examples::new(Runtime::Docker);
    let here = tempfile::tempdir().unwrap();
    // A container takes its time: one sample in each language.
    let few = ["python-quotes", "shell-rotate"];
    let set = lab.catalogue().join(DATASET);
    samples(lab.on).iter().filter(|id| !few.contains(id)).for_each(|id| fs::remove_dir_all(set.join(id)).unwrap());
    let mut prove = program(&["sample", "check", "--prove", "--json", "--runtime", "docker", set.to_str().unwrap()]);
    let outcome = prove.env("DOCKER_HOST", shared_docker().host()).output().unwrap();
    let told: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    let proofs = told["proofs"].as_array().expect("proofs");
    for proof in proofs {
        assert_eq!((&proof["as_it_is"], &proof["with_patch"]), (&"TESTS_FAILED".into(), &"success".into()), "{proof}");
    }
    assert!(outcome.status.success() && proofs.len() == 2, "{told}");

    let records = here.path().join("patches.jsonl");
    write_records(&records, &[(few[0], Some(reference(few[0])), ""), (few[1], Some(reference(few[0])), "")]);
    let into = here.path().join("out");
    let url = lab.server.url();
    let only = few.map(|id| ["--only", id]).concat();
    let outcome = program(&[&eval(&url, &records, &into)[..], &only].concat()).output().unwrap();
    let told: Value = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    assert_eq!(statuses(&told), [(few[0], "succeeded"), (few[1], "failed")].into(), "{told}");
    assert!(outcome.status.success(), "{told}");
}
