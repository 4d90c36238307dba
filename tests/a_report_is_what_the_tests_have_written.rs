//! A report counts only if the tests of this verification have written it, and whatever is there instead of one is read as text, within bounds.

use crate::kit::{
    Runtime, host,
    verifying::{Lab, expect_result, result},
};
use sandshell::api::v1::verification_result::Reason;
use std::fmt::Write;

crate::in_every_runtime!(one_that_is_there_beforehand_is_not_read, what_is_no_file_of_text_is_no_report);

/// Formats, each with a report that would be a success.
const PASSING: &[(&str, &str)] = &[
    ("tap", "1..2\nok 1 - divides\nok 2 - adds"),
    ("junit", "<testsuite><testcase name=\"divides\"/><testcase name=\"adds\"/></testsuite>"),
    (
        "cargo",
        "running 2 tests\ntest divides ... ok\ntest adds ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
    ),
    (
        "nextest",
        "    Starting 2 tests across 1 binary\n        PASS [   0.005s] calc divides\n        PASS [   0.005s] calc adds\n     Summary [   0.006s] 2 tests run: 2 passed, 0 skipped",
    ),
    (
        "pytest",
        "collected 2 items\n=== short test summary info ===\nPASSED tests/test_a.py::divides\nPASSED tests/test_a.py::adds\n=== 2 passed in 0.01s ===",
    ),
    (
        "go",
        "{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"divides\"}\n{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"adds\"}\n{\"Action\":\"pass\",\"Package\":\"p\"}",
    ),
    ("command", "{\"name\":\"divides\",\"outcome\":\"passed\"}\n{\"name\":\"adds\",\"outcome\":\"passed\"}"),
];

/// A verification that runs what is in the workspace, and whose report is looked for there.
fn verification(format: &str, path: &str) -> String {
    let report = if format == "command" {
        format!("report = {{ format = \"command\", command = \"cat {path}\" }}")
    } else {
        format!("report = {{ format = \"{format}\", path = \"{path}\" }}")
    };
    format!(
        "command = \"sh ./run\"\ntimeout = \"100s\"\n{report}\nfail_to_pass = [\"divides\"]\npass_to_pass = [\"adds\"]"
    )
}

async fn one_that_is_there_beforehand_is_not_read(on: Runtime) {
    // Who reads a report is the same for every runtime.
    let formats = if on == Runtime::Linux { PASSING } else { &PASSING[..1] };
    let mut samples: Vec<_> =
        formats.iter().map(|(format, _)| (*format, verification(format, "/tmp/report"))).collect();
    samples.push(("workspace", verification("tap", "out/report")));
    let named: Vec<_> = samples.iter().map(|(id, text)| (*id, text.as_str())).collect();
    let lab = Lab::new(on, &named);
    let plants = [
        "mkdir -p out mine; cp passing out/report; cp passing mine/report; cp passing /tmp/report; cp passing report; echo true >run",
        "ln -sf ../mine/report out/report",
        "rm -rf out; ln -s mine out",
        "rm out; ln -s /workspace/mine out",
    ];
    for (id, _) in &samples {
        let (_, passing) = formats.iter().find(|(format, _)| format == id).unwrap_or(&PASSING[0]);
        let sandbox = lab.sandbox(id).await;
        let session = sandbox.session("/bin/sh").await;
        session.run(format!("cd /workspace; cat >passing <<'END'\n{passing}\nEND\n")).await.expect("", "", 0);
        for plant in &plants[..if *id == "workspace" { 4 } else { 1 }] {
            session.run(*plant).await.expect("", "", 0);
            let judged = lab.verify(&sandbox).await;
            assert!(!result(&judged).is_success, "{id} after {plant}: {judged:?}");
            expect_result(&judged, Some(Reason::NoReport));
        }
        // The same is one, when the tests write it.
        session.run("echo 'mkdir -p out; cp passing /tmp/report; cp passing out/report' >run").await.expect("", "", 0);
        expect_result(&lab.verify(&sandbox).await, None);
        sandbox.delete().await;
    }
}

async fn what_is_no_file_of_text_is_no_report(on: Runtime) {
    let mut bomb = "<!DOCTYPE x [<!ENTITY a0 \"ha\">".to_owned();
    for n in 1..30 {
        let _ = write!(bomb, "<!ENTITY a{n} \"&a{};&a{};\">", n - 1, n - 1);
    }
    bomb += "]><testsuite><testcase name=\"divides\"/><testcase name=\"adds\"/><testcase name=\"&a29;\"/></testsuite>";
    let bomb = format!("cat >/tmp/report <<'END'\n{bomb}\nEND");
    // What the tests may leave where a report should be.
    let left = [
        "mkfifo /tmp/report",
        "mkdir /tmp/report",
        "ln -s /dev/zero /tmp/report",
        "ln -s /dev/tty /tmp/report",
        "ln -s report /tmp/report",
        "ln -s /proc/kmsg /tmp/report",
        "ln -s /proc/self/environ /tmp/report",
        ": >/tmp/report",
        "echo 1..1 >/tmp/report; chmod 0 /tmp/report",
        "truncate -s 200M /tmp/report",
        "truncate -s 4T /tmp/report || truncate -s 100G /tmp/report",
        // The program that holds it open goes on writing, and is ended first.
        "(while :; do echo ok; done) >/tmp/report & sleep 0.1",
        &bomb,
        "echo '<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><testsuite><testcase name=\"&a;\"/></testsuite>' >/tmp/report",
        "yes '<testsuite>' | head -n 400000 >/tmp/report",
        "{ printf '<testsuite><testcase name=\"'; head -c 15000000 /dev/zero | tr '\\0' x; echo '\"/></testsuite>'; } >/tmp/report",
    ];
    let printed = "command = \"head -c 200000000 /dev/zero >&2; head -c 200000000 /dev/zero\"\ntimeout = \"100s\"\nreport = { format = \"tap\" }";
    let [tap, junit] = ["tap", "junit"].map(|format| verification(format, "/tmp/report"));
    let lab = Lab::new(on, &[("tap", &tap), ("junit", &junit), ("printed", printed)]);
    let before = host::memory(lab.server.pid());
    for id in ["tap", "junit", "printed"] {
        let sandbox = lab.sandbox(id).await;
        let session = sandbox.session("/bin/sh").await;
        for (number, left) in left.iter().enumerate() {
            // A container takes its time.
            let is_tried = match id {
                "tap" => number < 13 && (on == Runtime::Linux || [0, 2, 10].contains(&number)),
                "junit" => number >= 12 && (on == Runtime::Linux || number == 13),
                _ => number == 0,
            };
            if !is_tried {
                continue;
            }
            session.run(format!("cat >/workspace/run <<'END OF FILE'\n{left}\nEND OF FILE\n")).await.expect("", "", 0);
            let judged = lab.verify(&sandbox).await;
            let got = result(&judged);
            let expected = [Reason::NoReport, Reason::BadReport, Reason::TestsMissing];
            assert!(!got.is_success && expected.contains(&got.reason()), "{id}: {left}: {got:?}");
            assert!(!format!("{:?} {:?}", got.tests, got.message).contains("root:"), "{left}: {got:?}");
        }
        sandbox.delete().await;
    }
    let grown = host::memory(lab.server.pid()).saturating_sub(before) >> 20;
    assert!(grown < 256, "the server has grown by {grown} MiB");
}
