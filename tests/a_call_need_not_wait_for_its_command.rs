//! `Run` with a `wait`, calls with a deadline, calls that are lost: what becomes of the command, and how it is found again.

use crate::kit::{
    At, Clients, Running, Runtime, Session,
    errors::{expect_bad_fields, expect_error},
    token, v1, within,
    within::{refused_at_deadline, until},
};
use prost_types::Duration;
use sandshell::api::v1::{
    AttachRequest, ExecStart, IfBusy, RunRequest, RunResponse, exec_start::Target, exited::Reason,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

crate::in_every_shell!(
    a_short_wait_leaves_the_command_running,
    a_command_is_cancelled_with_its_call_when_asked,
    both_outputs_come_in_order,
);

mod runtimes {
    crate::in_every_runtime!(
        a_deadline_says_which_command_goes_on,
        a_refusal_names_the_command_that_runs,
        a_repeated_call_takes_a_lost_one_up,
        defaults_are_the_same_said_or_not,
    );

    use super::*;

    async fn a_deadline_says_which_command_goes_on(on: Runtime) {
        let sandbox = on.sandbox().await;
        let s = sandbox.session("").await;
        let text = "echo a; until [ -e /tmp/go ]; do sleep 0.1; done";
        for start in [s.start(text), sandbox.start(text)] {
            sandbox.run("rm -f /tmp/go").await.expect("", "", 0);
            let status = refused_at_deadline(async |deadline| {
                let request = RunRequest { start: Some(start.clone()), ..Default::default() };
                let mut request = tonic::Request::new(request);
                request.set_timeout(deadline);
                s.sandbox.clients.sessions.clone().run(request).await.expect_err("too long")
            })
            .await;
            let id = named(&status);
            assert!(status.message().contains("Attach") && status.message().contains("request_id"), "{status:?}");
            sandbox.run("touch /tmp/go").await.expect("", "", 0);
            let attached =
                Running::attach(&s.sandbox.clients, AttachRequest { command_id: id, ..Default::default() }).await;
            attached.finish().await.expect("a\n", "", 0);
        }
        // A stream says the same at its end.
        sandbox.run("rm /tmp/go").await.expect("", "", 0);
        let status = refused_at_deadline(async |deadline| {
            let start = v1::ExecRequest { request: Some(v1::exec_request::Request::Start(s.start(text))) };
            let mut request = tonic::Request::new(tokio_stream::once(start));
            request.set_timeout(deadline);
            let mut stream = match s.sandbox.clients.sessions.clone().exec(request).await {
                Ok(answer) => answer.into_inner(),
                Err(status) => return status,
            };
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ended without a word"),
                    Err(status) => return status,
                }
            }
        })
        .await;
        named(&status);
        sandbox.run("touch /tmp/go").await.expect("", "", 0);
        s.alive().await;
    }

    /// The command that a deadline's error names.
    fn named(status: &Status) -> String {
        expect_error(status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        info.metadata.get("command_id").cloned().unwrap_or_else(|| panic!("no command in {status:?}"))
    }

    async fn a_refusal_names_the_command_that_runs(on: Runtime) {
        let s = on.sandbox().await.into_session("").await;
        let mut running = s.exec_text("echo up; sleep 1000").await;
        running.until_out("up\n").await;
        let start = ExecStart { if_busy: IfBusy::Refuse.into(), ..s.start("true") };
        let refused = s.refused(start).await;
        expect_error(&refused, Code::FailedPrecondition, "SESSION_BUSY");
        let info = refused.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.metadata.get("command_id"), Some(&running.got.command_id));
        assert!(refused.message().contains(&running.got.command_id), "{refused:?}");
    }

    async fn a_repeated_call_takes_a_lost_one_up(on: Runtime) {
        let s = on.sandbox().await.into_session("").await;
        let start = ExecStart {
            request_id: token(),
            cancel_on_disconnect: true,
            ..s.start("echo up; while ! [ -e /tmp/go ]; do sleep 0.1; done; echo end")
        };
        let mut first = s.exec(start.clone()).await;
        first.until_out("up\n").await;
        drop(first);
        let again = s.exec(start).await;
        s.sandbox.run("sleep 6; touch /tmp/go").await;
        again.finish().await.expect("up\nend\n", "", 0);
    }

    async fn defaults_are_the_same_said_or_not(on: Runtime) {
        let sandbox = on.sandbox().await;
        let mut sessions = sandbox.clients.sessions.clone();
        let silent = v1::CreateSessionRequest { request_id: token(), ..sandbox.ask_session() };
        let mut said = v1::CreateSessionRequest { shell: "/bin/sh".into(), ..silent.clone() };
        said.set_on_shell_exit(v1::OnShellExit::Restart);
        let first = within("a session", sessions.create_session(silent)).await.unwrap().into_inner();
        let again = within("the same", sessions.create_session(said)).await.unwrap().into_inner();
        assert_eq!(first.session_id, again.session_id);
        let silent = ExecStart { request_id: token(), ..sandbox.start("echo once") };
        let said = ExecStart {
            shell: "/bin/sh".into(),
            if_busy: IfBusy::Queue.into(),
            kill_grace: Some(Duration { seconds: 0, nanos: 500_000_000 }),
            ..silent.clone()
        };
        let (first, again) = (run(&sandbox.clients, silent, None).await, run(&sandbox.clients, said, None).await);
        assert_eq!(first.command_id, again.command_id);
    }
}

async fn run(clients: &Clients, start: ExecStart, wait: Option<Duration>) -> RunResponse {
    let request = RunRequest { start: Some(start), wait, ..Default::default() };
    within("an answer", clients.sessions.clone().run(request)).await.unwrap_or_else(|e| panic!("{e:?}")).into_inner()
}

fn millis(millis: i32) -> Option<Duration> {
    Some(Duration { seconds: (millis / 1000).into(), nanos: millis % 1000 * 1_000_000 })
}

async fn a_short_wait_leaves_the_command_running(at: At) {
    let s = at.session().await;
    let clients = &s.sandbox.clients;
    let text =
        "echo one; echo two >&2; while ! [ -e /tmp/go ]; do sleep 0.05; done; echo three; echo four >&2; (exit 5)";
    let answer = run(clients, s.start(text), millis(700)).await;
    assert_eq!((&answer.stdout[..], &answer.stderr[..], &answer.exited), (&b"one\n"[..], &b"two\n"[..], &None));
    // One that waits for its turn has only its id; and no wait at all is one of nothing.
    let queued = run(clients, s.start("echo queued"), millis(0)).await;
    assert!(queued.stdout.is_empty() && queued.exited.is_none() && queued.command_id != answer.command_id);
    s.sandbox.run("touch /tmp/go").await;
    let rest = AttachRequest {
        command_id: answer.command_id.clone(),
        stdout_offset: answer.stdout_offset,
        stderr_offset: answer.stderr_offset,
        terminal_offset: answer.terminal_offset,
        ..Default::default()
    };
    Running::attach(clients, rest).await.finish().await.expect("three\n", "four\n", 5);
    // What is over within the wait is answered as ever.
    let whole = run(clients, s.start("echo whole"), millis(20_000)).await;
    assert_eq!(whole.exited.expect("its end").exit_code, 0);
    assert_eq!((&whole.stdout[..], whole.stdout_offset), (&b"whole\n"[..], 6));
    let direct = run(clients, s.sandbox.start("echo a; sleep 1; echo b"), millis(0)).await;
    let all =
        AttachRequest { command_id: direct.command_id, stdout_offset: direct.stdout_offset, ..Default::default() };
    let rest = Running::attach(clients, all).await.finish().await;
    assert_eq!([&direct.stdout[..], &rest.stdout[..]].concat(), b"a\nb\n");
    let wrong = RunRequest {
        start: Some(s.start("true")),
        wait: Some(Duration { seconds: -1, nanos: 0 }),
        ..Default::default()
    };
    let refused = within("a refusal", clients.sessions.clone().run(wrong)).await.expect_err("a negative wait");
    expect_bad_fields(&refused, &["wait"]);
}

async fn a_command_is_cancelled_with_its_call_when_asked(at: At) {
    let s = at.session().await;
    let start = |text: &str| ExecStart { cancel_on_disconnect: true, ..s.start(text) };
    // A stream that is dropped.
    let mut running = s.exec(start("echo up; sleep 1000; echo no")).await;
    running.until_out("up\n").await;
    let id = running.got.command_id.clone();
    let queued = s.exec(start("echo never >/tmp/never")).await;
    let queued_id = queued.got.command_id.clone();
    drop(queued);
    let ended = ended(&s, &queued_id).await;
    assert_eq!(ended.reason(), Reason::Cancelled, "{ended:?}");
    drop(running);
    assert_eq!(self::ended(&s, &id).await.reason(), Reason::Cancelled);
    // A call that runs into its deadline.
    let status = refused_at_deadline(async |deadline| {
        let start = start("sleep 1000; echo no");
        let mut request = tonic::Request::new(RunRequest { start: Some(start), ..Default::default() });
        request.set_timeout(deadline);
        s.sandbox.clients.sessions.clone().run(request).await.expect_err("too long")
    })
    .await;
    let info = status.get_details_error_info().expect("an ErrorInfo");
    let id = info.metadata.get("command_id").expect("a command").clone();
    assert_eq!(self::ended(&s, &id).await.reason(), Reason::Cancelled);
    // A call that is cancelled, also of a direct execution.
    for target in [s.start(""), s.sandbox.start("")] {
        let mark = token();
        let text = format!("sh -c 'echo $$ >/tmp/{mark}; exec sleep 1000'");
        let start = ExecStart { cancel_on_disconnect: true, command: text, ..target };
        let mut sessions = s.sandbox.clients.sessions.clone();
        let call =
            tokio::spawn(async move { sessions.run(RunRequest { start: Some(start), ..Default::default() }).await });
        until("its start", async || s.sandbox.run(&format!("test -s /tmp/{mark}")).await.exit_code() == 0).await;
        call.abort();
        until("its end", async || {
            s.sandbox.run(&format!("kill -0 $(cat /tmp/{mark}) 2>/dev/null")).await.exit_code() != 0
        })
        .await;
    }
    // What is not asked for does not happen, and an answer is not a loss.
    let answer = run(&s.sandbox.clients, start("sleep 0.5; echo went on"), millis(0)).await;
    let all = AttachRequest { command_id: answer.command_id, ..Default::default() };
    Running::attach(&s.sandbox.clients, all).await.finish().await.expect("went on\n", "", 0);
    s.run("test -e /tmp/never").await.expect("", "", 1);
}

async fn ended(s: &Session, command_id: &str) -> v1::Exited {
    let all = AttachRequest { command_id: command_id.to_owned(), ..Default::default() };
    Running::attach(&s.sandbox.clients, all).await.finish().await.exited
}

async fn both_outputs_come_in_order(at: At) {
    let s = at.session().await;
    let text = "for n in 1 2 3 4 5; do echo o$n; echo e$n >&2; sh -c \"echo x$n >/dev/stderr\"; done; (sleep 0.3; echo late >&2) &";
    let want: String = (1..=5).map(|n| format!("o{n}\ne{n}\nx{n}\n")).collect();
    let start = ExecStart { merge_stderr: true, ..s.start(text) };
    s.run_start(start.clone(), b"").await.expect(&want, "", 0);
    let streamed = s.exec(start).await.finish().await;
    streamed.expect(&want, "", 0);
    let watch = AttachRequest { command_id: streamed.command_id, follow_background: true, ..Default::default() };
    let mut watched = Running::attach(&s.sandbox.clients, watch).await;
    watched.until_out("late\n").await;
    // Some shells say here what became of their jobs.
    s.run("true").await;
    s.run("echo o; echo e >&2").await.expect("o\n", "e\n", 0);
    let direct = ExecStart { merge_stderr: true, ..s.sandbox.start("echo o; echo e >&2; nosuch") };
    assert!(matches!(direct.target, Some(Target::SandboxId(_))));
    let got = run(&s.sandbox.clients, direct, None).await;
    assert!(got.stdout.starts_with(b"o\ne\n") && got.stdout.len() > 8 && got.stderr.is_empty(), "{got:?}");
    // A complaint of the shell's, and one of ours.
    let syntax = s.run_start(ExecStart { merge_stderr: true, ..s.start("if then") }, b"").await;
    assert!(!syntax.stdout.is_empty() && syntax.stderr.is_empty(), "{syntax:?}");
    let nowhere = ExecStart { merge_stderr: true, working_directory: "/nosuch".into(), ..s.start("true") };
    let got = s.run_start(nowhere, b"").await;
    assert!(got.out().contains("/nosuch") && got.stderr.is_empty() && got.exit_code() == 126, "{got:?}");
}
