//! Tests that take all memory, all processes or all patience of whoever reads end with the reason for it. Nothing of them is left, and the sandbox
//! that is verified has not noticed.

use crate::kit::{
    Runtime, create_sandbox, host, token, v1,
    verifying::{Lab, expect_result, result},
    within::until,
};
use sandshell::api::v1::verification_result::Reason;
use std::fs;

crate::in_every_runtime!(its_end_has_the_right_reason_and_its_sandbox_goes);

const PASSES: &str = "printf '1..1\\\\nok 1 - divides\\\\n' >/tmp/report";

/// Each has written a report that would be a success before it goes wrong.
fn verification(command: &str, timeout: &str) -> String {
    format!(
        "command = \"\"\"{PASSES}; {command}\"\"\"\ntimeout = \"{timeout}\"\nreport = {{ format = \"tap\", path = \"/tmp/report\" }}\nfail_to_pass = [\"divides\"]"
    )
}

async fn its_end_has_the_right_reason_and_its_sandbox_goes(on: Runtime) {
    let mark = token();
    let memory = "python3 -c 'taken = []\nwhile True: taken.append(bytearray(1 << 20))'";
    // As many as there may be, each of them in a process group and session of its own.
    let forks = format!(
        "exec python3 -c '\nimport os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True:\n  try:\n    if os.fork() == 0: os.setsid()\n  except OSError: time.sleep(0.05)\n' {mark}"
    );
    let away = format!(
        "(setsid sh -c 'sleep 1000; : {mark}' & ) >/dev/null 2>&1; setsid -f sh -c 'trap : TERM HUP; while :; do sleep 1; : {mark}; done' >/dev/null 2>&1"
    );
    let prints = if on == Runtime::Linux { 1_000_000_000_u64 } else { 50_000_000 };
    let prints_all = format!("head -c {prints} /dev/zero");
    let lab = Lab::new(
        on,
        &[
            ("memory", &verification(memory, "100s")),
            ("forks", &verification(&forks, "3s")),
            ("away", &verification(&away, "100s")),
            ("prints", &verification(&prints_all, "600s")),
            ("fills", &verification("dd if=/dev/zero of=/dev/shm/full bs=1M count=10000; exit 0", "100s")),
        ],
    );
    for (id, reason) in [
        ("memory", Some(Reason::OutOfMemory)),
        ("forks", Some(Reason::TimedOut)),
        ("away", None),
        ("prints", None),
        ("fills", None),
    ] {
        let sample = Some(v1::SampleSource { sample_id: id.to_owned(), ..Default::default() });
        let resources =
            Some(v1::Resources { memory_bytes: Some(256 << 20), max_processes: Some(60), ..Default::default() });
        let request = v1::CreateSandboxRequest { sample, resources, ..Default::default() };
        let sandbox = create_sandbox(&lab.server, request).await;
        let session = sandbox.session("/bin/sh").await;
        session.run("cd /tmp; sleep 1000 & KEPT=$!; mine=1").await.expect("", "", 0);
        let before = host::memory(lab.server.pid());
        let judged = lab.verify(&sandbox).await;
        if !(id == "fills" && result(&judged).reason() == Reason::OutOfMemory) {
            expect_result(&judged, reason);
        }
        if id == "prints" {
            let got = result(&judged);
            assert_eq!(got.stdout_total_bytes, prints as i64);
            assert!(got.stdout.len() < 1_000_000 && got.stdout_truncated, "{} bytes", got.stdout.len());
            let grown = host::memory(lab.server.pid()).saturating_sub(before) >> 20;
            assert!(grown < 100, "the server has grown by {grown} MiB");
        }
        session
            .run("kill -0 $KEPT && echo $mine $PWD; ls -A /tmp; ls -A /workspace/.verify 2>/dev/null")
            .await
            .expect("1 /tmp\n", "", 2);
        sandbox.delete().await;
        until("the end of all that the tests have begun", async || host::with_argument(&mark).is_empty()).await;
    }
    // Neither directories of sandboxes nor cgroups: the last of them are removed behind.
    let kept = lab.server.data_dir().join(if on == Runtime::Linux { "sandboxes" } else { "docker/sandboxes" });
    until("all sandboxes to go", async || fs::read_dir(&kept).is_ok_and(|all| all.count() == 0)).await;
}
