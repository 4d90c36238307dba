//! Those who start commands with much output and take nothing of it cost the server little, however many they are.

use crate::kit::{Clients, Options, Running, Server, create_sandbox, host, v1, within};
use tonic::transport::Endpoint;
use v1::{ExecStart, exec_start::Target};

const MIB: u64 = 1 << 20;
const STARTERS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starters_that_take_nothing() {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let session = sandbox.session("").await;
    session.run("true").await.expect("", "", 0);
    let before = host::memory(server.pid());

    // A client whose windows are as small as they can be, and who asks for nothing.
    let endpoint = Endpoint::from_shared(server.url()).expect("an address").initial_stream_window_size(1);
    let clients = Clients::new(endpoint.connect().await.expect("a connection"));
    let mut unread = Vec::new();
    for _ in 0..STARTERS {
        let start = ExecStart {
            target: Some(Target::SandboxId(sandbox.id.clone())),
            command: "head -c 16000000 /dev/zero".into(),
            ..Default::default()
        };
        let first = v1::ExecRequest { request: Some(v1::exec_request::Request::Start(start)) };
        unread.push(clients.sessions.clone().exec(tokio_stream::once(first)).await.expect("a stream").into_inner());
    }
    // What goes through the server meanwhile shows that it has had the time to take in what it would.
    for _ in 0..200 {
        session.run("true").await.expect("", "", 0);
    }
    let grown = host::memory(server.pid()).saturating_sub(before);
    println!("{STARTERS} starters made the server grow by {} MiB", grown / MIB);
    assert!(grown < 130 * MIB, "{STARTERS} starters made the server grow by {} MiB", grown / MIB);
    // Who does take it gets all of it, also as one of many.
    let start = ExecStart {
        target: Some(Target::SandboxId(sandbox.id.clone())),
        command: "head -c 16000000 /dev/zero".into(),
        ..Default::default()
    };
    let all = within("all output", Running::start(&sandbox.clients, start)).await.finish().await;
    assert_eq!((all.stdout.len(), all.exit_code()), (16_000_000, 0));
    drop((unread, clients));
    within("a command afterwards", session.run("echo fine")).await.expect("fine\n", "", 0);
}
