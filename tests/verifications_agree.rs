//! Who verifies the same once more is told the same, alone and beside others.

use crate::kit::{
    Runtime,
    examples::{Examples, samples},
    verifying::{expect_result, of_patch, of_sandbox, result},
};
use sandshell::api::v1::{VerificationResult, verification_result::Reason};

crate::in_every_runtime!(each_sample_is_judged_the_same_again);

/// What is told of a result, but for how long it took, and for the temporary directories and addresses that a test prints.
fn told(result: &VerificationResult) -> String {
    let tests: Vec<_> = result.tests.iter().map(|test| (&test.name, test.outcome(), &test.message)).collect();
    let counts = (result.passed, result.failed, result.skipped, result.total, result.exit_code, &result.message);
    format!("{:?} {counts:?} {tests:?} {:?}", result.reason(), result.changes)
}

/// All of them at once, whatever processors there are.
async fn each_sample_is_judged_the_same_again(on: Runtime) {
    let lab = Examples::new(on);
    let (mut client, mut started, mut sandboxes) = (lab.client().await, Vec::new(), Vec::new());
    // A container takes its time.
    let samples = if on == Runtime::Linux { samples(on) } else { &samples(on)[1..3] };
    for id in samples {
        let sandbox = lab.sandbox(id).await;
        let changed = sandbox
            .run("cd /workspace; for f in *; do [ -d $f ] || cp $f copy-of-$f; done; mkdir more; echo x >more/file")
            .await;
        assert_eq!(changed.exit_code(), 0, "{changed:?}");
        sandboxes.push(sandbox);
    }
    for (id, sandbox) in samples.iter().zip(&sandboxes) {
        for request in [of_sandbox(sandbox), of_sandbox(sandbox), of_sandbox(sandbox)] {
            started.push((*id, client.start(request).await));
        }
        // What differs is what was changed, which does not count here.
        started.push((*id, client.start(of_patch(id, "")).await));
    }
    let mut ended = Vec::new();
    for (id, one) in &started {
        let judged = client.end(one).await;
        expect_result(&judged, Some(Reason::TestsFailed));
        ended.push((*id, result(&judged).clone()));
    }
    for same in ended.chunks(4) {
        let (id, first) = &same[0];
        assert!(first.changes_total > 2 && first.passed > 0, "{id}: {first:?}");
        for (_, other) in &same[1..3] {
            assert_eq!(told(other), told(first), "{id}");
        }
        let of_nothing = VerificationResult { changes: first.changes.clone(), ..same[3].1.clone() };
        assert_eq!(told(&of_nothing), told(first), "{id}");
    }
}
