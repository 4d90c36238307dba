//! Clients that break off, send garbage or never read harm neither the server nor anybody else.

use crate::kit::{Clients, Dice, Options, Running, Server, Session, create_sandbox, host, v1, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use v1::ExecStart;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn place() -> (Server, Session) {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let session = sandbox.session("").await;
    (server, session)
}

/// The server is as it was: it answers old and new clients, and did not grow much.
async fn unharmed(server: &Server, s: &Session, before: u64) {
    s.alive().await;
    let mut fresh = server.connect().await;
    fresh.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.expect("a new client is served");
    let grown = host::memory(server.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "the server grew by {} MiB", grown >> 20);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_port() {
    let (server, s) = place().await;
    let before = host::memory(server.pid());
    let mut dice = Dice::new();
    for round in 0..200 {
        let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
        let mut bytes = match round % 5 {
            0 => Vec::new(),
            1 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            2 => PREFACE.to_vec(),
            // A preface with settings, then frames of chance.
            3 => [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat(),
            // A frame that says it is 16 MiB long.
            _ => [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        };
        bytes.extend((0..dice.below(5000)).map(|_| dice_byte()));
        let _ = stream.write_all(&bytes).await;
        if round % 2 == 0 {
            // And gone, without reading.
            continue;
        }
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = within("the server to close a connection of garbage", stream.read_to_end(&mut answer)).await;
    }
    unharmed(&server, &s, before).await;
}

fn dice_byte() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing() {
    let (server, s) = place().await;
    let before = host::memory(server.pid());
    let mut silent = Vec::new();
    for n in 0..500 {
        let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
        if n % 2 == 0 {
            stream.write_all(&PREFACE[..n % PREFACE.len()]).await.expect("a part of the preface");
        }
        silent.push(stream);
    }
    unharmed(&server, &s, before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_break_off() {
    let (server, s) = place().await;
    let before = host::memory(server.pid());
    for n in 0..50 {
        // A connection of its own, dropped with everything on it.
        let clients = server.connect().await;
        let other = s.sandbox.session("").await;
        let start = match n % 3 {
            0 => other.start("yes"),
            1 => ExecStart { stdin: true, ..other.start("cat") },
            _ => other.start("sleep 1000"),
        };
        let running = Running::start(&clients, start).await;
        if n % 2 == 0 {
            running.stdin("x".repeat(100_000)).await;
        }
        drop((running, clients));
        other.close().await;
    }
    // And callers of unary methods that do not wait.
    for _ in 0..50 {
        let clients = server.connect().await;
        let request = v1::RunRequest { start: Some(s.sandbox.start("sleep 0.05")), ..Default::default() };
        let mut sessions = clients.sessions.clone();
        let call = tokio::spawn(async move { sessions.run(request).await });
        tokio::task::yield_now().await;
        call.abort();
    }
    unharmed(&server, &s, before).await;
    let listed = s.sandbox.clients.sessions.clone();
    let request = v1::ListSessionsRequest { sandbox_id: s.sandbox.id.clone(), ..Default::default() };
    let listed = listed.clone().list_sessions(request).await.expect("a list").into_inner();
    assert_eq!(listed.total_size, 1, "only the first session is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creator_that_leaves_wastes_no_sandbox() {
    let (server, s) = place().await;
    for _ in 0..20 {
        let clients: Clients = server.connect().await;
        let mut sandboxes = clients.sandboxes.clone();
        let call = tokio::spawn(async move { sandboxes.create_sandbox(v1::CreateSandboxRequest::default()).await });
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        call.abort();
    }
    // Each was made or was not; what is listed works, and what is not listed is not there.
    let list = async || {
        let mut sandboxes = s.sandbox.clients.sandboxes.clone();
        sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.expect("a list").into_inner().sandboxes
    };
    crate::kit::within::until("no sandbox that is still being made", async || {
        list().await.iter().all(|b| b.state() == v1::sandbox::State::Running)
    })
    .await;
    for sandbox in list().await {
        if sandbox.sandbox_id != s.sandbox.id {
            let request = v1::DeleteSandboxRequest { sandbox_id: sandbox.sandbox_id };
            s.sandbox.clients.sandboxes.clone().delete_sandbox(request).await.expect("it can be deleted");
        }
    }
    assert_eq!(list().await.len(), 1);
    s.alive().await;
}

/// HTTP/2 takes it for an attack when many calls are cancelled before they were looked at, and ends the connection. On the one
/// between server and agent are the calls of all clients of a sandbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_cancelled_calls_end_no_other() {
    let (server, s) = place().await;
    let before = host::memory(server.pid());
    let cat = s.exec(ExecStart { stdin: true, ..s.start("cat") }).await;
    let mut dice = Dice::new();
    for _ in 0..100 {
        // A connection of its own each time: a client's own one may be ended for this.
        let clients = server.connect().await;
        let calls = (0..30).map(|_| {
            let mut sessions = clients.sessions.clone();
            let request = v1::GetSessionRequest { session_id: s.id.clone() };
            let instant = std::time::Duration::from_micros(dice.below(1500));
            async move { drop(tokio::time::timeout(instant, sessions.get_session(request)).await) }
        });
        futures_util::future::join_all(calls).await;
    }
    cat.stdin("still here").await;
    cat.close_stdin().await;
    cat.finish().await.expect("still here", "", 0);
    unharmed(&server, &s, before).await;
}
