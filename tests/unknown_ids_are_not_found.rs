//! An id that is not known is NOT_FOUND, whatever it looks like; a missing one is a bad field.

use crate::kit::{
    At, Runtime, Shell,
    errors::{expect_bad_fields, expect_error},
    v1, within,
};
use sandshell::api::v1::{ExecStart, exec_start::Target};
use tonic::{Code, Status};

/// Every method that takes an id, asked with this one.
async fn ask_all(clients: &crate::kit::Clients, id: &str) -> Vec<(&'static str, &'static str, Status)> {
    let (mut sandboxes, mut sessions) = (clients.sandboxes.clone(), clients.sessions.clone());
    let id = || id.to_owned();
    let mut answers = Vec::new();
    macro_rules! ask {
        ($client:ident . $method:ident ( $request:expr ), $field:literal, $reason:literal) => {
            match within(stringify!($method), $client.$method($request)).await {
                Err(status) => answers.push(($field, $reason, status)),
                Ok(answer) => panic!("{} knows {:?}: {answer:?}", stringify!($method), id()),
            }
        };
    }
    ask!(sandboxes.get_sandbox(v1::GetSandboxRequest { sandbox_id: id() }), "sandbox_id", "SANDBOX_NOT_FOUND");
    ask!(sandboxes.delete_sandbox(v1::DeleteSandboxRequest { sandbox_id: id() }), "sandbox_id", "SANDBOX_NOT_FOUND");
    ask!(
        sessions.create_session(v1::CreateSessionRequest { sandbox_id: id(), ..Default::default() }),
        "sandbox_id",
        "SANDBOX_NOT_FOUND"
    );
    ask!(
        sessions.list_sessions(v1::ListSessionsRequest { sandbox_id: id(), ..Default::default() }),
        "sandbox_id",
        "SANDBOX_NOT_FOUND"
    );
    ask!(sessions.get_session(v1::GetSessionRequest { session_id: id() }), "session_id", "SESSION_NOT_FOUND");
    ask!(sessions.close_session(v1::CloseSessionRequest { session_id: id() }), "session_id", "SESSION_NOT_FOUND");
    ask!(
        sessions.list_commands(v1::ListCommandsRequest { session_id: id(), ..Default::default() }),
        "session_id",
        "SESSION_NOT_FOUND"
    );
    ask!(sessions.get_command(v1::GetCommandRequest { command_id: id() }), "command_id", "COMMAND_NOT_FOUND");
    ask!(
        sessions.signal_command(v1::SignalCommandRequest { command_id: id(), signal: 0 }),
        "command_id",
        "COMMAND_NOT_FOUND"
    );
    ask!(
        sessions.attach(v1::AttachRequest { command_id: id(), ..Default::default() }),
        "command_id",
        "COMMAND_NOT_FOUND"
    );
    let run = |target| v1::RunRequest {
        start: Some(ExecStart { target: Some(target), command: "true".into(), ..Default::default() }),
        ..Default::default()
    };
    ask!(sessions.run(run(Target::SessionId(id()))), "start.session_id", "SESSION_NOT_FOUND");
    ask!(sessions.run(run(Target::SandboxId(id()))), "start.sandbox_id", "SANDBOX_NOT_FOUND");
    answers
}

#[tokio::test]
async fn whatever_they_look_like() {
    let s = At { runtime: Runtime::Linux, shell: Shell::Dash }.session().await;
    let command = s.run("true").await.command_id;
    let odd = [
        "sbx-nope".to_owned(),
        "nope".into(),
        "/".into(),
        "..".into(),
        "../../etc/passwd".into(),
        format!("{}/", s.sandbox.id),
        format!("{}/nope", s.sandbox.id),
        format!("{}/../{}", s.sandbox.id, s.sandbox.id),
        format!("{}/nope/1", s.sandbox.id),
        format!("{}/99999", s.id),
        format!("{}/-1", s.id),
        format!("{}/0", s.id),
        format!("{command}/1"),
        format!("{command} "),
        format!(" {}", s.sandbox.id),
        format!("{}/99999999999999999999999999", s.id),
        "\u{0}".into(),
        "sbx-\n".into(),
        "x".repeat(100_000),
        "%s%n$(touch /tmp/x)'\"".into(),
    ];
    for id in odd {
        for (field, _, status) in ask_all(&s.sandbox.clients, &id).await {
            let shown = id.chars().take(80).collect::<String>();
            assert_eq!(status.code(), Code::NotFound, "{field} {shown:?}: {status:?}");
        }
    }
    // The reason says what was looked for.
    for (_, reason, status) in ask_all(&s.sandbox.clients, "sbx-nope").await {
        let at_sandbox = reason == "SANDBOX_NOT_FOUND";
        use tonic_types::StatusExt;
        let said = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        assert!(said == reason || (!at_sandbox && said == "SANDBOX_NOT_FOUND"), "{said} instead of {reason}");
    }
    let mut sessions = s.sandbox.clients.sessions.clone();
    let gone = sessions.get_session(v1::GetSessionRequest { session_id: format!("{}/nope", s.sandbox.id) }).await;
    expect_error(&gone.expect_err("no such session"), Code::NotFound, "SESSION_NOT_FOUND");
    let gone = sessions.get_command(v1::GetCommandRequest { command_id: format!("{}/99999", s.id) }).await;
    expect_error(&gone.expect_err("no such command"), Code::NotFound, "COMMAND_NOT_FOUND");
    s.alive().await;
}

#[tokio::test]
async fn a_missing_id_is_a_bad_field() {
    let clients = crate::kit::shared().connect().await;
    for (field, _, status) in ask_all(&clients, "").await {
        expect_bad_fields(&status, &[field]);
    }
}
