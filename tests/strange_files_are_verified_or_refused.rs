//! Whatever lies in a workspace, its verification says the truth of the code, or says why the changes cannot be taken. No name leads out of the
//! workspace, and nothing of the host is touched.

use crate::kit::{
    Runtime, Sandbox, host,
    verifying::{CODE, HIDDEN, Lab, RIGHT, expect_result, result},
};
use sandshell::api::v1::{verification::State, verification_error, verification_result::Reason};

crate::in_every_runtime!(
    what_is_no_plain_file_leaves_the_verdict_as_it_is,
    files_with_two_names_are_brought_under_each,
    a_workspace_may_be_gone,
);

/// Tests that look whether the file is there that this verification is about.
const WITH_FILES: &str = r#"command = "sh .verify/hidden.sh >/tmp/report.tap; ls -A >&2; cat twin linked 2>&1"
files = "hidden"
timeout = "60s"
report = { format = "tap", path = "/tmp/report.tap" }
fail_to_pass = ["divides"]
pass_to_pass = ["adds"]
protected = ["/tests/"]"#;

async fn put(sandbox: &Sandbox, text: &str) {
    let put = sandbox.run(&format!("cat >/workspace/calc.sh <<'END'\n{text}END\n")).await;
    assert_eq!(put.exit_code(), 0, "{put:?}");
}

async fn what_is_no_plain_file_leaves_the_verdict_as_it_is(on: Runtime) {
    let lab = Lab::new(on, &[("calc", HIDDEN)]);
    let sandbox = lab.sandbox("calc").await;
    let session = sandbox.session("/bin/bash").await;
    for strange in [
        "mkfifo fifo; mkdir d; mkfifo d/fifo tests/fifo",
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'",
        // Where a sandbox may make them.
        "mknod null c 1 3; mknod disk b 8 0; true",
        "ln -s / root; ln -s ../../../../../../etc etc; ln -s /proc/self/root d/self; ln -s missing dangling; ln -s circle circle",
        "touch -- \"$(printf '\\377\\376 no UTF-8')\" \"$(printf 'two\\nlines')\" \"$(printf '\\033[31mred')\" '-rf' '...' ' ' '*' '\\' '$(touch x)'",
        "mkdir \"$(printf 'd\\374r')\" && touch \"$(printf 'd\\374r/f\\374le')\"",
        "touch $(printf 'n%.0s' $(seq 255))",
        // Deeper than a path can be long.
        "(n=$(printf 'n%.0s' $(seq 200)); for i in $(seq 40); do mkdir $n && cd -P $n || break; done; touch deep)",
        "rm -rf n*",
        "truncate -s 1T sparse || truncate -s 10G sparse",
        "touch u; chmod 7777 u; touch none; chmod 0 none; mkdir dark; touch dark/f; chmod 0 dark",
        "touch -d '1970-01-01 00:00:00 UTC' old; touch -d '2200-01-01' later",
        "rm -r tests; ln -s / tests",
        "rm tests; ln -s /workspace tests",
    ] {
        let done = session.run(format!("cd /workspace; {strange}")).await;
        assert!(done.exit_code() == 0, "{strange}: {done:?}");
        if on == Runtime::Docker && strange.contains("deep") {
            // A daemon cannot tell of paths that are longer than the kernel takes.
            let judged = lab.verify(&sandbox).await;
            let error = judged.error.clone().unwrap_or_default();
            assert_eq!(error.reason(), verification_error::Reason::ChangesNotTaken, "{judged:?}");
        } else if on == Runtime::Linux || strange.starts_with("rm tests") {
            // A container takes its time, so all of the rest is there at once.
            for (code, reason) in [(CODE, Some(Reason::TestsFailed)), (RIGHT, None)] {
                put(&sandbox, code).await;
                expect_result(&lab.verify(&sandbox).await, reason);
            }
        }
    }
}

async fn files_with_two_names_are_brought_under_each(on: Runtime) {
    let lab = Lab::new(on, &[("calc", WITH_FILES)]);
    let sandbox = lab.sandbox("calc").await;
    // Of a file that the sample protects and of one that it brings, both changed: under the agent's own names the content is the agent's.
    let links = "cd /workspace; mkdir .verify; echo mine | tee tests/check.sh >.verify/hidden.sh; ln tests/check.sh twin; ln .verify/hidden.sh linked; ln linked more; mkdir -p a; ln a/../twin a/twin";
    let done = sandbox.run(links).await;
    assert_eq!(done.exit_code(), 0, "{done:?}");
    put(&sandbox, RIGHT).await;
    let judged = lab.verify(&sandbox).await;
    expect_result(&judged, None);
    assert_eq!(result(&judged).stdout, "mine\nmine\n");
    // And of the code itself.
    let done = sandbox
        .run("cd /workspace; ln -f calc.sh twin; ln calc.sh .verify/hidden.sh.mine; ln -f calc.sh tests/check.sh")
        .await;
    assert_eq!(done.exit_code(), 0, "{done:?}");
    let judged = lab.verify(&sandbox).await;
    expect_result(&judged, None);
    assert_eq!(result(&judged).stdout, format!("{RIGHT}mine\n"));
}

async fn a_workspace_may_be_gone(on: Runtime) {
    let lab = Lab::new(on, &[("calc", HIDDEN)]);
    for (attack, is_taken) in [
        ("cd /; rm -rf /workspace/* /workspace/.[!.]*", true),
        ("chmod 0 /workspace", true),
        ("cd /; rm -rf /workspace", false),
        ("cd /; mv /workspace /elsewhere; ln -s / /workspace", false),
        ("cd /; mv /workspace /elsewhere; ln -s /elsewhere /workspace", false),
        ("cd /; mv /workspace /elsewhere; echo file >/workspace", false),
    ] {
        let sandbox = lab.sandbox("calc").await;
        let session = sandbox.session("/bin/sh").await;
        let done = session.run(attack).await;
        assert_eq!(done.exit_code(), 0, "{attack}: {done:?}");
        let judged = lab.verify(&sandbox).await;
        if is_taken {
            assert!(!result(&judged).is_success, "{attack}: {judged:?}");
        } else {
            let error = judged.error.clone().unwrap_or_default();
            let told = (judged.state(), error.reason());
            assert_eq!(told, (State::Error, verification_error::Reason::ChangesNotTaken), "{attack}: {judged:?}");
        }
        session.run("echo alive").await.expect("alive\n", "", 0);
        sandbox.delete().await;
    }
}

/// As many as are taken, and more than that where there is time for them: `SANDSHELL_TEST_FILES=300000`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn very_many_files_are_brought_or_refused_with_words() {
    const MOST: u64 = 200_000;
    let files = std::env::var("SANDSHELL_TEST_FILES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let lab = Lab::new(Runtime::Linux, &[("calc", HIDDEN)]);
    let sandbox = lab.sandbox("calc").await;
    put(&sandbox, RIGHT).await;
    let make = format!(
        "cd /workspace; python3 -c 'import os\nfor f in range({files}):\n  if f % 1000 == 0: os.mkdir(f\"d{{f}}\"); os.chdir(f\"/workspace/d{{f}}\")\n  open(f\"{{f}}\", \"w\").close()\n  if f % 1000 == 999: os.chdir(\"..\")'"
    );
    let made = sandbox.run(&make).await;
    assert_eq!(made.exit_code(), 0, "{made:?}");
    let before = host::memory(lab.server.pid());
    let judged = lab.verify(&sandbox).await;
    if files < MOST {
        expect_result(&judged, None);
        let directories = files.div_ceil(1000) as i64;
        assert_eq!(
            (result(&judged).changes_total, result(&judged).changes.len()),
            (files as i64 + directories + 1, 1000)
        );
    } else {
        let error = judged.error.clone().unwrap_or_default();
        assert_eq!((judged.state(), error.reason()), (State::Error, verification_error::Reason::ChangesNotTaken));
        assert!(error.message.contains(&MOST.to_string()), "{error:?}");
    }
    let grown = host::memory(lab.server.pid()).saturating_sub(before) >> 20;
    assert!(grown < 256, "the server has grown by {grown} MiB");
    sandbox.delete().await;
}
