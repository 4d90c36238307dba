//! Whatever an agent and its tests make of a verification's result, it fits into the answer that any client takes: 4 MiB, where nothing else was said.

use crate::kit::{
    Runtime,
    verifying::{Lab, result},
    within,
};
use sandshell::api::v1::{
    GetVerificationRequest, WatchVerificationRequest, verification_service_client::VerificationServiceClient,
    watch_verification_response::Event,
};

/// Prints and reports as much as is kept, of bytes that are no text: each becomes three.
const LOUD: &str = r#"command = """python3 -c '
import sys
for to in (sys.stdout, sys.stderr):
    to.buffer.write(b"\\xff" * 400000)
with open("/tmp/report.tap", "wb") as report:
    for test in range(8000):
        report.write(b"not ok - %d " % test + b"\\xff" * 1000 + b"\\n  ---\\n" + b"\\xfe" * 800 + b"\\n  ...\\n")
    report.write(b"1..8000\\n")
'"""
timeout = "60s"
report = { format = "tap", path = "/tmp/report.tap" }"#;

/// 1000 files with paths as long as there may be.
const FILES: &str = r#"python3 -c '
import os
os.chdir("/workspace")
for level in range(15):
    os.mkdir(b"\xff" * 250)
    os.chdir(b"\xff" * 250)
for number in range(1000):
    open(b"%d" % number, "w").close()
'"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_the_largest_too() {
    let lab = Lab::new(Runtime::Linux, &[("loud", LOUD)]);
    let sandbox = lab.sandbox("loud").await;
    sandbox.run(FILES).await.expect("", "", 0);
    let judged = lab.verify(&sandbox).await;
    let told = result(&judged);
    assert_eq!(
        (told.failed, told.stdout_total_bytes, told.stderr_total_bytes),
        (8000, 400_000, 400_000),
        "{}",
        told.message
    );
    assert!(told.tests_truncated && told.stdout_truncated && told.stderr_truncated);
    assert!(told.changes_total >= 1015, "{}", told.changes_total);
    assert!(told.tests.len() > 500 && told.changes.len() > 10, "{} and {}", told.tests.len(), told.changes.len());

    // One that has said nothing of how much it takes.
    let mut client = VerificationServiceClient::new(lab.server.connect().await.channel);
    let request = GetVerificationRequest { verification_id: judged.verification_id.clone() };
    let answer = within("an answer", client.get_verification(request)).await.expect("it is not too large").into_inner();
    assert_eq!(answer, judged);
    let request = WatchVerificationRequest { verification_id: judged.verification_id.clone(), ..Default::default() };
    let mut stream = within("an answer", client.watch_verification(request)).await.expect("a stream").into_inner();
    let mut last = None;
    while let Some(message) = within("a message", stream.message()).await.expect("it is not too large") {
        if let Some(Event::Verification(verification)) = message.event {
            last = Some(verification);
        }
    }
    assert_eq!(last, Some(judged));
    sandbox.delete().await;
}
