//! The deletion of a sandbox ends soon, however little the sandbox wants to end.

use crate::kit::{LONG, Runtime, create_sandbox, host, token, v1, within, within_time};
use std::time::Duration;
use tokio::time::timeout;
use v1::{CreateSandboxRequest, Resources};

crate::in_every_runtime!(one_whose_first_process_gets_no_processor);

/// A killed process has to run to die. Here the first one gets only what two hundred others leave of half a processor.
async fn one_whose_first_process_gets_no_processor(on: Runtime) {
    let resources = Resources { cpu_millis: Some(500), ..Default::default() };
    let request = CreateSandboxRequest { resources: Some(resources), ..on.request() };
    let (sandbox, word) = (create_sandbox(on.shared(), request).await, token());
    sandbox.run(&format!("touch /tmp/{word}")).await.expect("", "", 0);
    let agent = host::agent_with_file(&format!("/tmp/{word}"));
    // Should this fail, each of them ends by itself after a second of processor time.
    let crowd =
        format!("ulimit -t 1; i=0; while [ $i -lt 200 ]; do sh -c 'while :; do :; done' {word} & i=$((i+1)); done");
    let loops = sandbox.session("").await.exec_text(crowd).await;
    within::until("a crowd", async || host::with_argument(&word).len() > 150).await;
    host::schedule_last(agent);
    // From the moment on that it has had its share, nobody hears from it any more.
    within_time(LONG, "a deaf agent", async {
        let mut clients = sandbox.clients.sessions.clone();
        let request = || v1::ListSessionsRequest { sandbox_id: sandbox.id.clone(), ..Default::default() };
        while timeout(Duration::from_secs(3), clients.list_sessions(request())).await.is_ok_and(|got| got.is_ok()) {}
    })
    .await;
    sandbox.delete().await;
    assert!(!host::lives(agent));
    assert_eq!(host::with_argument(&word), [0; 0]);
    drop(loops);
}
