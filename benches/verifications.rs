//! Samples: how long a sandbox of one takes to start, once it is prepared, and what a verification costs beyond the sample's own command.

use crate::{
    Options,
    report::{Samples, Table},
    server::Server,
};
use sandshell::api::v1::{
    CreateSandboxRequest, SampleSource, StartVerificationRequest, Verification, WatchVerificationRequest,
    exec_start::Target, verification::State, watch_verification_response::Event,
};
use std::{fs, path::Path, time::Instant};

const SAMPLE: &str = r#"title = "Division"
language = "shell"
description = "task.md"
[codebase]
directory = "code"
[verification]
command = "sh .verify/tests.sh"
files = "hidden"
timeout = "60s"
report = { format = "tap", path = "/tmp/report.tap" }
fail_to_pass = ["divides"]
protected = ["/tests/"]
"#;

const TESTS: &str =
    ". ./calc.sh; printf '1..1\\n%s ok - divides\\n' \"$([ \"$(div 6 3)\" = 2 ] || echo not)\" >/tmp/report.tap\n";
const PATCH: &str =
    "--- a/calc.sh\n+++ b/calc.sh\n@@ -1 +1 @@\n-div() { echo $(($1 * $2)); }\n+div() { echo $(($1 / $2)); }\n";

/// A dataset with one small sample.
fn write_sample(dataset: &Path) {
    let write = |path: &str, text: &str| {
        let path = dataset.join("division").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("task.md", "It multiplies.");
    write("code/calc.sh", "div() { echo $(($1 * $2)); }\n");
    (0..50).for_each(|number| write(&format!("code/src/{number}.txt"), "text\n"));
    write("code/tests/tests.sh", TESTS);
    write("hidden/.verify/tests.sh", TESTS);
    write("sample.toml", SAMPLE);
}

pub(crate) async fn measure(options: &Options, table: &mut Table) {
    let catalogue = tempfile::tempdir().unwrap();
    write_sample(&catalogue.path().join("bench"));
    let server = Server::start_with(&["--catalog", catalogue.path().to_str().unwrap()]).await;
    let mut client = server.client.clone();
    let sample = SampleSource { sample_id: "division".into(), ..Default::default() };
    let request = CreateSandboxRequest { sample: Some(sample), ..Default::default() };
    // Prepared once.
    let changed = client.sandboxes.create_sandbox(request.clone()).await.unwrap().into_inner().sandbox_id;
    client
        .run(Target::SandboxId(changed.clone()), "cd /workspace; sed -i 's,\\*,/,' calc.sh; echo x >new; rm src/1.txt")
        .await;

    let [mut plain, mut of_sample] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(100) {
        for (request, times) in [(CreateSandboxRequest::default(), &mut plain), (request.clone(), &mut of_sample)] {
            let start = Instant::now();
            let id = client.sandboxes.create_sandbox(request).await.unwrap().into_inner().sandbox_id;
            client.run(Target::SandboxId(id.clone()), "true").await;
            times.push(start.elapsed());
            client.delete_sandbox(id).await;
        }
    }
    table.times(
        "create a sandbox of a prepared sample and run its first command",
        &of_sample,
        Some(("the same without a sample", &plain)),
    );

    let of_sandbox = StartVerificationRequest { sandbox_id: changed, ..Default::default() };
    let of_patch = StartVerificationRequest { sample_id: "division".into(), patch: PATCH.into(), ..Default::default() };
    for (what, request) in [("of a sandbox", of_sandbox), ("of a patch", of_patch)] {
        let (mut beyond, mut own) = (Samples::default(), Samples::default());
        let mut service = client.verifications.clone();
        for _ in 0..options.samples(100) {
            let start = Instant::now();
            let verification_id =
                service.start_verification(request.clone()).await.unwrap().into_inner().verification_id;
            let follow = WatchVerificationRequest { verification_id, ..Default::default() };
            let mut told = service.watch_verification(follow).await.unwrap().into_inner();
            let mut last = Verification::default();
            while let Some(message) = told.message().await.unwrap() {
                if let Some(Event::Verification(now)) = message.event {
                    last = now;
                }
            }
            let all = start.elapsed();
            assert!(
                last.state() == State::Completed && last.result.as_ref().is_some_and(|result| result.is_success),
                "{last:?}"
            );
            let command = last.result.unwrap().duration.unwrap().try_into().unwrap();
            beyond.push(all.saturating_sub(command));
            own.push(command);
        }
        table.times(
            &format!("a verification {what}, beyond the sample's own command"),
            &beyond,
            Some(("that command", &own)),
        );
    }
    server.stop();
}
