//! A request with mistakes is refused before anything happens, and every mistake is named.

use crate::kit::{
    At, Running, Runtime, Session, Shell,
    errors::{description_of, expect_bad_fields, expect_error},
    shared, v1, within,
};
use prost_types::Duration;
use sandshell::api::v1::{ExecRequest, exec_request::Request};
use std::collections::HashMap;
use tonic::{Code, Status};
use v1::{ExecStart, Network, Pty, Resources, TerminalSize};

async fn session() -> Session {
    At { runtime: Runtime::Linux, shell: Shell::Dash }.session().await
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

async fn refused_sandbox(request: v1::CreateSandboxRequest) -> Status {
    let shown = format!("{request:?}");
    match shared().connect().await.sandboxes.create_sandbox(request).await {
        Err(status) => status,
        Ok(made) => panic!("{shown} should have been refused, and made {made:?}"),
    }
}

/// Fields named, without the key of a map's entry.
fn fields(status: &Status) -> Vec<String> {
    use tonic_types::StatusExt;
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let mut fields: Vec<_> = bad.iter().map(|v| v.field.split('[').next().unwrap_or_default().to_owned()).collect();
    fields.sort();
    fields.dedup();
    fields
}

#[tokio::test]
async fn sandboxes() {
    let status = refused_sandbox(v1::CreateSandboxRequest {
        labels: pairs([("", "x"), ("k", "")]),
        env: pairs([("A=B", "x"), ("N\0", "x"), ("V", "a\0b"), ("", "x")]),
        resources: Some(Resources {
            memory_bytes: Some(5),
            cpu_millis: Some(-1),
            max_processes: Some(0),
            disk_bytes: Some(1),
        }),
        network: Some(Network { mode: 99 }),
        ..Default::default()
    })
    .await;
    expect_error(&status, Code::InvalidArgument, "INVALID_ARGUMENT");
    let wanted = [
        "env",
        "labels",
        "network.mode",
        "resources.cpu_millis",
        "resources.disk_bytes",
        "resources.max_processes",
        "resources.memory_bytes",
    ];
    assert_eq!(fields(&status), wanted, "{}", status.message());

    let many: HashMap<_, _> = (0..65).map(|n| (format!("k{n}"), "v".to_owned())).collect();
    for labels in [many, pairs([(&"k".repeat(64), "v")]), pairs([("k", &"v".repeat(256))])] {
        let status = refused_sandbox(v1::CreateSandboxRequest { labels, ..Default::default() }).await;
        assert_eq!(fields(&status), ["labels"], "{status:?}");
    }
    for memory_bytes in [i64::MIN, -1, 0, (16 << 20) - 1, (1 << 40) + 1, i64::MAX] {
        let resources = Some(Resources { memory_bytes: Some(memory_bytes), ..Default::default() });
        let status = refused_sandbox(v1::CreateSandboxRequest { resources, ..Default::default() }).await;
        expect_bad_fields(&status, &["resources.memory_bytes"]);
    }
}

#[tokio::test]
async fn images_and_networks_that_are_not_there() {
    for image in ["no-such-image", "/no/such/directory", "docker.io/library/alpine"] {
        let status = refused_sandbox(v1::CreateSandboxRequest { image: image.into(), ..Default::default() }).await;
        let known = [(Code::NotFound, "IMAGE_NOT_FOUND"), (Code::FailedPrecondition, "NOT_ALLOWED")];
        assert!(known.iter().any(|(code, _)| *code == status.code()), "{image}: {status:?}");
        assert!(status.message().contains(image), "{image}: {status:?}");
    }
    // These exist, and no operator allowed them.
    for image in ["/", "/etc", "/root", "/../../root", "/proc/1/root"] {
        let status = refused_sandbox(v1::CreateSandboxRequest { image: image.into(), ..Default::default() }).await;
        assert!([Code::NotFound, Code::FailedPrecondition].contains(&status.code()), "{image}: {status:?}");
    }
    let network = Some(Network { mode: v1::network::Mode::Host.into() });
    let status = refused_sandbox(v1::CreateSandboxRequest { network, ..Default::default() }).await;
    expect_error(&status, Code::FailedPrecondition, "NOT_ALLOWED");
}

#[tokio::test]
async fn sessions() {
    let s = session().await;
    let mut sessions = s.sandbox.clients.sessions.clone();
    let status = sessions
        .create_session(v1::CreateSessionRequest {
            env: pairs([("A=B", "x")]),
            working_directory: "a\0b".into(),
            on_shell_exit: 77,
            shell: "a\0b".into(),
            ..s.sandbox.ask_session()
        })
        .await
        .expect_err("it is wrong in four ways");
    expect_error(&status, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(fields(&status), ["env", "on_shell_exit", "shell", "working_directory"], "{}", status.message());

    let ask = |shell: &str, dir: &str| v1::CreateSessionRequest {
        shell: shell.into(),
        working_directory: dir.into(),
        ..s.sandbox.ask_session()
    };
    for shell in ["fish", "/bin/nosuch", "no/such", "/usr", "../bin/sh"] {
        let status = sessions.create_session(ask(shell, "")).await.expect_err(shell);
        expect_bad_fields(&status, &["shell"]);
        let said = description_of(&status, "shell");
        assert!(said.contains(shell), "the error names {shell}: {said}");
        assert!(said.contains("/bin/dash") && said.contains("/bin/bash"), "and says what there is: {said}");
    }
    for dir in ["/no/such", "/etc/passwd"] {
        let status = sessions.create_session(ask("", dir)).await.expect_err(dir);
        expect_bad_fields(&status, &["working_directory"]);
        assert!(description_of(&status, "working_directory").contains(dir));
    }
    let status = sessions.create_session(v1::CreateSessionRequest::default()).await.expect_err("no sandbox");
    expect_bad_fields(&status, &["sandbox_id"]);
    // Names, not only paths.
    let named = s.sandbox.session("bash").await;
    assert_eq!(named.described.shell.rsplit('/').next(), Some("bash"));
    assert!(named.described.shell.starts_with('/'), "{}", named.described.shell);
    let default = s.sandbox.session("").await;
    assert_eq!(default.described.shell, "/bin/sh");
}

#[tokio::test]
async fn commands() {
    let s = session().await;
    let status = s
        .refused(ExecStart {
            command: "a\0b".into(),
            env: pairs([("1A", "x")]),
            working_directory: "a\0b".into(),
            shell: "bash".into(),
            timeout: Some(Duration { seconds: -1, nanos: 0 }),
            kill_grace: Some(Duration { seconds: 61, nanos: 0 }),
            max_log_bytes: 1,
            if_busy: 9,
            request_id: "r".repeat(129),
            ..s.start("")
        })
        .await;
    expect_error(&status, Code::InvalidArgument, "INVALID_ARGUMENT");
    let wanted = [
        "start.command",
        "start.env",
        "start.if_busy",
        "start.kill_grace",
        "start.max_log_bytes",
        "start.request_id",
        "start.shell",
        "start.timeout",
        "start.working_directory",
    ];
    assert_eq!(fields(&status), wanted, "{}", status.message());

    for timeout in [
        Duration { seconds: -5, nanos: 0 },
        Duration { seconds: 0, nanos: 0 },
        Duration { seconds: 0, nanos: 999_999 },
        Duration { seconds: 30 * 86400 + 1, nanos: 0 },
        Duration { seconds: i64::MAX, nanos: 999_999_999 },
        Duration { seconds: 1, nanos: -1 },
        Duration { seconds: 0, nanos: i32::MAX },
    ] {
        expect_bad_fields(
            &s.refused(ExecStart { timeout: Some(timeout), ..s.start("true") }).await,
            &["start.timeout"],
        );
    }
    for max_log_bytes in [-1, 1, (64 << 10) - 1, (1 << 30) + 1, i64::MAX] {
        expect_bad_fields(&s.refused(ExecStart { max_log_bytes, ..s.start("true") }).await, &["start.max_log_bytes"]);
    }
    let long = "#".repeat((4 << 20) + 1);
    expect_bad_fields(&s.refused(s.start(long)).await, &["start.command"]);
    s.run("#".repeat(4 << 20)).await.expect("", "", 0);
    expect_bad_fields(&s.refused(ExecStart { pty: Some(Pty::default()), ..s.start("true") }).await, &["start.pty"]);
    expect_bad_fields(&s.refused(ExecStart { target: None, ..s.start("true") }).await, &["start.target"]);

    let mut sessions = s.sandbox.clients.sessions.clone();
    expect_bad_fields(&sessions.run(v1::RunRequest::default()).await.expect_err("no start"), &["start"]);
    for max_output_bytes in [-1, (16 << 20) + 1] {
        let request = v1::RunRequest { start: Some(s.start("true")), max_output_bytes, ..Default::default() };
        expect_bad_fields(&sessions.run(request).await.expect_err("too much"), &["max_output_bytes"]);
    }
    let direct = ExecStart {
        env: pairs([("A=B", "x"), ("\0", "")]),
        working_directory: "/no/such".into(),
        ..s.sandbox.start("true")
    };
    let status = s.refused(direct).await;
    assert!(fields(&status).contains(&"start.env".to_owned()), "{status:?}");
    let direct = ExecStart { working_directory: "/no/such".into(), ..s.sandbox.start("true") };
    expect_bad_fields(&s.refused(direct).await, &["start.working_directory"]);
    let direct = ExecStart { shell: "fish".into(), ..s.sandbox.start("true") };
    expect_bad_fields(&s.refused(direct).await, &["start.shell"]);
    s.alive().await;
    assert_eq!(s.get().await.generation, 1);
}

#[tokio::test]
async fn streams() {
    let s = session().await;
    let mut sessions = s.sandbox.clients.sessions.clone();
    // The first message is not a start; or there is none.
    for first in [Some(Request::Stdin("x".into())), Some(Request::Signal(2)), None] {
        let messages = tokio_stream::iter(vec![ExecRequest { request: first }]);
        let status = match within("a refusal", sessions.exec(messages)).await {
            Err(status) => status,
            Ok(answer) => within("a refusal", answer.into_inner().message()).await.expect_err("no start"),
        };
        expect_bad_fields(&status, &["start"]);
    }
    let status = match within("a refusal", sessions.exec(tokio_stream::iter(Vec::new()))).await {
        Err(status) => status,
        Ok(answer) => within("a refusal", answer.into_inner().message()).await.expect_err("no message at all"),
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");

    let blocked =
        async |start: ExecStart| s.exec(ExecStart { command: "echo up; cat; echo over".into(), ..start }).await;
    let refused =
        |field: &'static str, running: Running| async move { expect_bad_fields(&running.broken().await, &[field]) };
    let stdin = || ExecStart { stdin: true, ..s.start("") };

    let running = blocked(stdin()).await;
    running.send(Request::Start(s.start("echo second"))).await;
    let id = running.got.command_id.clone();
    refused("start", running).await;
    // The command goes on, with its input open, as that of any client that is gone.
    sessions.signal_command(v1::SignalCommandRequest { command_id: id, signal: 0 }).await.expect("it still runs");
    let running = blocked(stdin()).await;
    running.close_stdin().await;
    running.stdin("late").await;
    // The command may have ended well before the late input was read; or the call, before the end of the input was.
    let id = running.got.command_id.clone();
    drop(running);
    let _ = sessions.signal_command(v1::SignalCommandRequest { command_id: id, signal: 0 }).await;
    let running = s.exec(ExecStart { stdin: true, ..s.start("cat; sleep 1000") }).await;
    running.close_stdin().await;
    running.stdin("late").await;
    let id = running.got.command_id.clone();
    refused("stdin", running).await;
    sessions.signal_command(v1::SignalCommandRequest { command_id: id, signal: 0 }).await.expect("it still runs");
    let running = s.exec(ExecStart { stdin: true, ..s.start("cat") }).await;
    running.resize(10, 10).await;
    let id = running.got.command_id.clone();
    refused("resize", running).await;
    let _ = sessions.signal_command(v1::SignalCommandRequest { command_id: id, signal: 0 }).await;
    for signal in [0, -1, 65, i32::MAX] {
        let running = s.exec(ExecStart { stdin: true, ..s.start("cat") }).await;
        running.signal(signal).await;
        let id = running.got.command_id.clone();
        refused("signal", running).await;
        let _ = sessions.signal_command(v1::SignalCommandRequest { command_id: id, signal: 0 }).await;
    }
    for (rows, columns) in [(0, 80), (24, 0), (65_536, 80)] {
        let pty = Some(Pty { size: Some(TerminalSize { rows, columns }), ..Default::default() });
        let status = match Running::try_start(&s.sandbox.clients, ExecStart { pty, ..s.start("true") }).await {
            Err(status) => status,
            Ok(_) => panic!("a terminal of {rows} rows and {columns} columns"),
        };
        assert!(fields(&status)[0].starts_with("start.pty.size"), "{status:?}");
    }
    s.alive().await;
}

#[tokio::test]
async fn signals_and_pages() {
    let s = session().await;
    let id = s.run("true").await.command_id;
    let mut sessions = s.sandbox.clients.sessions.clone();
    for signal in [-1, 65, i32::MIN] {
        let request = v1::SignalCommandRequest { command_id: id.clone(), signal };
        expect_bad_fields(&sessions.signal_command(request).await.expect_err("no such signal"), &["signal"]);
    }
    let mut sandboxes = s.sandbox.clients.sandboxes.clone();
    let request = v1::ListSandboxesRequest { page_size: -1, page_token: "garbage".into(), ..Default::default() };
    expect_bad_fields(&sandboxes.list_sandboxes(request).await.expect_err("twice wrong"), &["page_size", "page_token"]);
    let request =
        v1::ListSessionsRequest { sandbox_id: s.sandbox.id.clone(), page_size: -1, page_token: "garbage".into() };
    expect_bad_fields(&sessions.list_sessions(request).await.expect_err("twice wrong"), &["page_size", "page_token"]);
    let request = v1::ListCommandsRequest { session_id: s.id.clone(), page_size: -1, page_token: "garbage".into() };
    expect_bad_fields(&sessions.list_commands(request).await.expect_err("twice wrong"), &["page_size", "page_token"]);
}

/// Larger than any message may be.
#[tokio::test]
async fn a_message_beyond_the_limit() {
    let s = session().await;
    let request = v1::RunRequest { start: Some(s.start("cat")), stdin: vec![0; 40 << 20].into(), ..Default::default() };
    let mut sessions = s.sandbox.clients.sessions.clone().max_encoding_message_size(64 << 20);
    let status = within("a refusal", sessions.run(request)).await.expect_err("40 MiB in one message");
    assert!([Code::ResourceExhausted, Code::OutOfRange].contains(&status.code()), "{status:?}");
    s.alive().await;
}
