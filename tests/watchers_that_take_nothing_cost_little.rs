//! Those who watch a command and take nothing of what they are shown cost the server little, and nothing once they are gone.

use crate::kit::{Clients, LONG, Options, Running, Server, create_sandbox, host, v1, within, within_time};
use tonic::transport::Endpoint;

const MIB: u64 = 1 << 20;
const WATCHERS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_that_take_nothing() {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let session = sandbox.session("").await;
    let finished = session.run("head -c 16000000 /dev/zero; echo over >&2").await;
    assert_eq!(finished.err(), "over\n");
    let before = host::memory(server.pid());

    // A client whose windows are as small as they can be, and who asks for nothing.
    let endpoint = Endpoint::from_shared(server.url()).expect("an address").initial_stream_window_size(1);
    let clients = Clients::new(endpoint.connect().await.expect("a connection"));
    let mut unread = Vec::new();
    for _ in 0..WATCHERS {
        let request = v1::AttachRequest { command_id: finished.command_id.clone(), ..Default::default() };
        unread.push(clients.sessions.clone().attach(request).await.expect("a stream").into_inner());
    }
    // What goes through the server meanwhile shows that it has had the time to take in what it would.
    for _ in 0..100 {
        session.run("true").await.expect("", "", 0);
    }
    let grown = host::memory(server.pid()).saturating_sub(before);
    assert!(grown < 80 * MIB, "{WATCHERS} watchers made the server grow by {} MiB", grown / MIB);
    // Somebody who does take it gets all of it.
    let request = v1::AttachRequest { command_id: finished.command_id.clone(), ..Default::default() };
    let all = Running::attach(&sandbox.clients, request).await.finish_within(LONG).await;
    assert_eq!(all.stdout.len(), 16_000_000);
    drop((all, unread, clients));
    // Nothing tells when memory was given back, so it is looked for.
    within_time(LONG, "the memory to be given back", async {
        while host::memory(server.pid()) > before + 16 * MIB {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    within("a command afterwards", session.run("echo fine")).await.expect("fine\n", "", 0);
}
