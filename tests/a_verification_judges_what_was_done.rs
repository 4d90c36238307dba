//! A verification is a success when the tests pass that have to, and for no other reason: not because tests were changed, not because of what was
//! left outside of the code, and not because somebody else writes the report.

use crate::kit::{
    Runtime, Sandbox,
    verifying::{CODE, HIDDEN, Lab, OTHERWISE, RIGHT, expect_result, patch, result},
};
use sandshell::api::v1::{test_result::Outcome, verification_result::Reason};

/// Tests that an agent can see, and that the sample protects. Their report is what they print.
const VISIBLE: &str = r#"command = "sh tests/check.sh"
timeout = "60s"
report = { format = "tap" }
fail_to_pass = ["divides"]
pass_to_pass = ["adds"]
protected = ["/tests/"]"#;

const BY_EXIT_CODE: &str = r#"command = ". ./calc.sh; test $(div 6 3) = 2"
timeout = "60s"
report = { format = "exit_code" }"#;

const BY_OWN_READER: &str = r#"command = "sh .verify/hidden.sh >/tmp/report.tap; echo 'echo {}' >.verify/reader.sh"
files = "hidden"
timeout = "60s"
report = { format = "command", command = "sh .verify/reader.sh" }"#;

async fn write(sandbox: &Sandbox, path: &str, text: &str) {
    let run = sandbox.run(&format!("mkdir -p $(dirname {path}) && cat >{path} <<'END'\n{text}END\n")).await;
    assert_eq!(run.exit_code(), 0, "{run:?}");
}

crate::in_every_runtime!(
    of_a_sandbox_what_its_code_does_counts,
    nothing_outside_of_the_code_makes_a_success,
    a_sample_may_read_its_own_report,
);

async fn of_a_sandbox_what_its_code_does_counts(on: Runtime) {
    let lab = Lab::new(on, &[("calc", HIDDEN), ("visible", VISIBLE), ("code", BY_EXIT_CODE)]);
    let sandbox = lab.sandbox("calc").await;
    let session = sandbox.session("").await;
    session.run("cd /tmp; sleep 1000 & KEPT=$!").await;

    let fresh = lab.verify(&sandbox).await;
    expect_result(&fresh, Some(Reason::TestsFailed));
    let told: Vec<_> = result(&fresh).tests.iter().map(|test| (test.name.as_str(), test.outcome())).collect();
    assert_eq!(told, [("divides", Outcome::Failed), ("adds", Outcome::Passed)]);
    let got = result(&fresh);
    assert_eq!((got.passed, got.failed, got.skipped, got.total), (1, 1, 0, 2));
    assert_eq!((got.stdout.as_str(), got.stderr.as_str()), ("tests are over\n", "to stderr\n"));
    assert_eq!((got.exit_code, got.changes_total, fresh.attempt), (Some(0), 0, 1));

    write(&sandbox, "/workspace/calc.sh", RIGHT).await;
    sandbox
        .run("cd /workspace && mkdir -p new/deep && echo x >new/deep/file && rm -r tests && ln -s /nowhere link")
        .await;
    let right = lab.verify(&sandbox).await;
    expect_result(&right, None);
    let mut changes = result(&right).changes.clone();
    changes.retain(|change| !change.starts_with("M new") && change != "M tests");
    assert_eq!(changes, ["M calc.sh", "A link", "A new", "A new/deep", "A new/deep/file", "D tests"]);

    write(&sandbox, "/workspace/calc.sh", OTHERWISE).await;
    expect_result(&lab.verify(&sandbox).await, Some(Reason::TestsFailed));
    write(&sandbox, "/workspace/calc.sh", CODE).await;
    expect_result(&lab.verify(&sandbox).await, Some(Reason::TestsFailed));
    // What runs in the sandbox has noticed nothing.
    session.steps(&[("pwd; kill -0 $KEPT && echo goes on", "/tmp\ngoes on\n")]).await;

    for sample in ["visible", "code"] {
        let sandbox = lab.sandbox(sample).await;
        assert!(!result(&lab.verify(&sandbox).await).is_success, "{sample}");
        write(&sandbox, "/workspace/calc.sh", RIGHT).await;
        expect_result(&lab.verify(&sandbox).await, None);
    }
}

async fn nothing_outside_of_the_code_makes_a_success(on: Runtime) {
    let lab = Lab::new(on, &[("calc", HIDDEN), ("visible", VISIBLE)]);
    let pass = "echo 'TAP version 13'; echo 'ok 1 - divides'; echo 'ok 2 - adds'; echo 1..2";
    let report =
        "for f in /tmp/report.tap /workspace/report.tap; do printf 'ok 1 - divides\\nok 2 - adds\\n1..2\\n' >$f; done";
    let everywhere = [
        // A shell that ends at once and says that all is well.
        "for f in /etc/profile /root/.profile /root/.bashrc /etc/bash.bashrc ~/.profile; do echo 'exit 0' >>$f; done".to_owned(),
        "export ENV=/tmp/rc BASH_ENV=/tmp/rc; echo 'exit 0' >/tmp/rc".to_owned(),
        // Programs that are found first, and the shell itself.
        format!("for f in sh bash python3 make cargo; do printf '#!/bin/sh\\n%s\\n' \"{pass}\" >/usr/local/bin/$f; chmod +x /usr/local/bin/$f; done"),
        "mkdir -p /workspace/bin && cp /usr/local/bin/* /workspace/bin/; echo export PATH=/workspace/bin:$PATH >>~/.profile".to_owned(),
        // A repository that runs something.
        "mkdir -p /workspace/.git/hooks && printf '#!/bin/sh\\ncp /tmp/right /workspace/calc.sh\\n' >/workspace/.git/hooks/post-checkout && chmod +x /workspace/.git/hooks/post-checkout".to_owned(),
        // A report beforehand, and one that is written again and again.
        report.to_owned(),
        format!("setsid sh -c 'while :; do {report}; sleep 0.3; done' >/dev/null 2>&1 &"),
    ];
    for (sample, own) in [
        (
            "calc",
            vec![
                "mkdir -p /workspace/.verify && ln -sf /tmp/mine.sh /workspace/.verify/hidden.sh",
                "rm -rf /workspace/.verify && mkdir -p /tmp/mine && ln -s /tmp/mine /workspace/.verify",
                "rm -rf /workspace/.verify && echo >/workspace/.verify",
                "rm -rf /workspace/.verify && mkdir -p /workspace/.verify/hidden.sh/x",
            ],
        ),
        (
            "visible",
            vec![
                "echo 'echo ok 1 - divides; echo ok 2 - adds; echo 1..2' >/workspace/tests/check.sh",
                "rm -rf /workspace/tests && mkdir /tmp/t && echo 'echo ok 1 - divides; echo ok 2 - adds; echo 1..2' >/tmp/t/check.sh && ln -s /tmp/t /workspace/tests",
                "rm -f /workspace/tests/check.sh && mv /workspace/tests /workspace/old && mkdir /workspace/tests && cp /tmp/t/check.sh /workspace/tests/",
            ],
        ),
    ] {
        let sandbox = lab.sandbox(sample).await;
        let session = sandbox.session("").await;
        for attack in &everywhere {
            session.run(attack).await;
        }
        for attack in own {
            session.run(attack).await;
            let judged = lab.verify(&sandbox).await;
            expect_result(&judged, Some(Reason::TestsFailed));
        }
        // All of it at once keeps nobody from a success that is one.
        sandbox
            .run(&format!("rm -rf /workspace/.verify /workspace/bin; cat >/workspace/calc.sh <<'END'\n{RIGHT}END"))
            .await;
        expect_result(&lab.verify(&sandbox).await, None);
    }
}

async fn a_sample_may_read_its_own_report(on: Runtime) {
    let lab = Lab::new(on, &[("own", BY_OWN_READER)]);
    let sandbox = lab.sandbox("own").await;
    expect_result(&lab.verify(&sandbox).await, Some(Reason::TestsFailed));
    // The reader that the command has written over is the sample's again.
    write(&sandbox, "/workspace/calc.sh", RIGHT).await;
    expect_result(&lab.verify(&sandbox).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_a_patch_what_it_does_counts() {
    let lab = Lab::new(Runtime::Linux, &[("calc", HIDDEN), ("visible", VISIBLE)]);
    for sample in ["calc", "visible"] {
        let right = lab.verify_patch(sample, &patch(RIGHT)).await;
        expect_result(&right, None);
        assert_eq!((result(&right).changes.as_slice(), right.sandbox_id.as_str()), (&["M calc.sh".to_owned()][..], ""));
        assert_eq!((right.dataset.as_str(), right.sample_id.as_str(), right.patch_sha256.len()), ("own", sample, 64));
        expect_result(&lab.verify_patch(sample, "").await, Some(Reason::TestsFailed));
        expect_result(&lab.verify_patch(sample, &patch(OTHERWISE)).await, Some(Reason::TestsFailed));
        // One that changes the tests instead, one that was made for something else, and one that is none.
        let tests = "diff --git a/tests/check.sh b/tests/check.sh\nnew file mode 100755\n--- /dev/null\n+++ b/tests/more.sh\n@@ -0,0 +1 @@\n+echo ok 1 - divides\n";
        let tests = lab.verify_patch(sample, tests).await;
        assert!(!result(&tests).is_success, "{tests:?}");
        expect_result(
            &lab.verify_patch(sample, &patch(RIGHT).replace("$1 *", "$1 -")).await,
            Some(Reason::PatchNotApplied),
        );
        expect_result(&lab.verify_patch(sample, "nonsense\n").await, Some(Reason::PatchNotApplied));
        // And what leads out of the workspace.
        let out = "diff --git a/../etc/x b/../etc/x\nnew file mode 100644\n--- /dev/null\n+++ b/../etc/x\n@@ -0,0 +1 @@\n+x\n";
        expect_result(&lab.verify_patch(sample, out).await, Some(Reason::PatchNotApplied));
    }
}
