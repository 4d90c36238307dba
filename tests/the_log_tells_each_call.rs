//! At `info` the server's log has one line for each call that is over, in which its request id can be found.

use crate::kit::{Options, Server, Session, cli::make_key, create_sandbox, raw::keyed, v1, within};
use tonic::{Code, Request};

fn server(level: &str, more: &[&str]) -> Server {
    let args = [&["--log", level][..], more].concat().into_iter().map(str::to_owned).collect();
    Server::start(Options { args, ..Default::default() })
}

fn named<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().expect("an id"));
    request
}

/// The lines of a call that is over, once there is one.
async fn lines(server: &Server, request_id: &str) -> Vec<String> {
    let lines = || -> Vec<String> {
        let log = server.log();
        log.lines().filter(|line| line.contains(&format!("\"{request_id}\""))).map(str::to_owned).collect()
    };
    within::until("a line", async || !lines().is_empty()).await;
    lines()
}

#[track_caller]
fn expect(lines: &[String], words: &[&str]) {
    let [line] = lines else { panic!("not one line: {lines:?}") };
    for word in words {
        assert!(line.contains(word), "{line:?} should have {word:?}");
    }
    assert!(line.contains("INFO") && line.contains("a call is over") && line.contains("seconds="), "{line}");
}

async fn session(server: &Server) -> Session {
    create_sandbox(server, v1::CreateSandboxRequest::default()).await.session("").await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_line() {
    let server = server("info", &[]);
    let s = session(&server).await;
    let mut clients = s.sandbox.clients.clone();
    let run = |command: &str| v1::RunRequest { start: Some(s.start(command)), ..Default::default() };
    clients.sessions.run(named(run("exit 3"), "id-run")).await.expect("it runs");
    let id = format!("id=\"{}\"", s.id);
    let words = ["method=\"/sandshell.v1.SessionService/Run\"", "tenant=\"default\"", &id, "code=\"OK\""];
    expect(&lines(&server, "id-run").await, &words);
    // A refusal has its reason.
    let unknown = v1::GetSandboxRequest { sandbox_id: "sbx-nope".into() };
    clients.sandboxes.get_sandbox(named(unknown, "id-refused")).await.expect_err("unknown");
    let words = ["SandboxService/GetSandbox", "id=\"sbx-nope\"", "code=\"NOT_FOUND\"", "reason=\"SANDBOX_NOT_FOUND\""];
    expect(&lines(&server, "id-refused").await, &words);
    // A stream, when it ends.
    let start = v1::exec_request::Request::Start(s.start("echo up; until [ -e go ]; do sleep 0.01; done"));
    let requests = tokio_stream::once(v1::ExecRequest { request: Some(start) });
    let mut stream = clients.sessions.exec(named(requests, "id-stream")).await.expect("it runs").into_inner();
    stream.message().await.expect("the beginning");
    assert!(!server.log().contains("id-stream"), "it goes on");
    s.sandbox.run("touch /workspace/go").await;
    while stream.message().await.expect("a message").is_some() {}
    expect(&lines(&server, "id-stream").await, &["SessionService/Exec", "code=\"OK\""]);
    // Calls that their clients give up, before they are answered and while they are.
    let (mut sessions, request) = (clients.sessions.clone(), named(run("sleep 1000"), "id-given-up"));
    let call = tokio::spawn(async move { sessions.run(request).await.map(drop) });
    within::until("a command that runs", async || !s.get().await.running_command_id.is_empty()).await;
    call.abort();
    expect(&lines(&server, "id-given-up").await, &["code=\"CANCELLED\""]);
    let watch = v1::WatchSandboxRequest { sandbox_id: s.sandbox.id.clone() };
    let mut stream = clients.sandboxes.watch_sandbox(named(watch, "id-left")).await.expect("it is there").into_inner();
    stream.message().await.expect("the sandbox");
    drop(stream);
    expect(&lines(&server, "id-left").await, &["SandboxService/WatchSandbox", "code=\"CANCELLED\""]);
    // A stream that fails has its status at its end.
    let requests = tokio_stream::once(v1::ExecRequest { request: None });
    let failed = async {
        let mut stream = clients.sessions.exec(named(requests, "id-failed")).await?.into_inner();
        stream.message().await
    };
    assert_eq!(failed.await.expect_err("no start").code(), Code::InvalidArgument);
    expect(&lines(&server, "id-failed").await, &["code=\"INVALID_ARGUMENT\"", "reason=\"INVALID_ARGUMENT\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_calls() {
    let server = server("info", &["--log-format", "json"]);
    let key = make_key(server.data_dir(), "blue");
    let mut clients = server.connect().await;
    let list = v1::ListSandboxesRequest::default;
    let mut request = keyed(list(), &key);
    request.metadata_mut().insert("x-request-id", "id-blue".parse().unwrap());
    clients.sandboxes.list_sandboxes(request).await.expect("the key is right");
    let lines_of = lines(&server, "id-blue").await;
    let line: serde_json::Value = serde_json::from_str(&lines_of[0]).expect("JSON");
    assert_eq!((&line["level"], &line["fields"]["code"]), (&"INFO".into(), &"OK".into()), "{line}");
    assert_eq!((&line["span"]["tenant"], &line["span"]["request_id"]), (&"blue".into(), &"id-blue".into()), "{line}");
    within::until("the key to count", async || clients.sandboxes.list_sandboxes(list()).await.is_err()).await;
    clients.sandboxes.list_sandboxes(named(list(), "id-stranger")).await.expect_err("no key");
    let lines_of = lines(&server, "id-stranger").await;
    assert!(lines_of[0].contains("UNAUTHENTICATED") && !server.log().contains(&key), "{lines_of:?}");
}

/// What can be read at `debug` is about calls and sandboxes, and not about frames and statements.
#[tokio::test(flavor = "multi_thread")]
async fn without_what_libraries_say() {
    for (quiet, by_variable) in [(false, false), (false, true), (true, false)] {
        let server = if by_variable {
            let env = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
            Server::start(Options { env, ..Default::default() })
        } else if quiet {
            Server::start(Options::default())
        } else {
            server("debug", &[])
        };
        let s = session(&server).await;
        s.sandbox
            .clients
            .sandboxes
            .clone()
            .get_sandbox(named(v1::GetSandboxRequest { sandbox_id: s.sandbox.id.clone() }, "id-1"))
            .await
            .unwrap();
        if quiet {
            // The line would have been written before the answer to the next call.
            s.run("true").await;
            assert!(!server.log().contains("a call is over"), "{}", server.log());
            continue;
        }
        lines(&server, "id-1").await;
        for line in server.log().lines() {
            assert!(["h2::", "hyper", "sqlx", "tonic::"].iter().all(|other| !line.contains(other)), "{line}");
        }
    }
}
