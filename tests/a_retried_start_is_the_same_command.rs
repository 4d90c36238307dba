//! A client that does not know whether its start arrived sends it again, with the same `request_id`.

use crate::kit::{
    At, Clients, Running, Session, errors::expect_error, token, v1::ExecStart, with_a_connection_that_breaks,
};
use tonic::Code;

crate::in_every_shell!(
    the_same_id_is_the_same_command,
    another_request_under_the_same_id_is_refused,
    a_retry_finds_a_running_command
);

async fn the_same_id_is_the_same_command(at: At) {
    let s = at.session().await;
    let start =
        ExecStart { request_id: token(), ..s.start("echo once >>/tmp/count; echo out; echo err >&2; (exit 4)") };
    let first = s.run_start(start.clone(), b"").await;
    first.expect("out\n", "err\n", 4);
    for _ in 0..2 {
        let again = s.run_start(start.clone(), b"").await;
        assert_eq!(again.command_id, first.command_id);
        again.expect("out\n", "err\n", 4);
        let again = s.exec(start.clone()).await.finish().await;
        assert_eq!(again.command_id, first.command_id);
        again.expect("out\n", "err\n", 4);
    }
    s.run("cat /tmp/count").await.expect("once\n", "", 0);
    let other = ExecStart { request_id: token(), ..start };
    assert_ne!(s.run_start(other, b"").await.command_id, first.command_id);
}

async fn another_request_under_the_same_id_is_refused(at: At) {
    let s = at.session().await;
    let start = ExecStart { request_id: token(), ..s.start("echo one") };
    s.run_start(start.clone(), b"").await.expect("one\n", "", 0);
    let refused = s.refused(ExecStart { command: "echo two".into(), ..start }).await;
    expect_error(&refused, Code::FailedPrecondition, "REQUEST_ID_REUSED");
}

async fn a_retry_finds_a_running_command(at: At) {
    let s = at.session().await;
    let start = || ExecStart { request_id: token(), stdin: true, ..s.start("echo up; cat") };
    // The call is cancelled, or its connection breaks.
    let cancelled = start();
    let first = up_and_a(&s.sandbox.clients, cancelled.clone()).await;
    let id = first.got.command_id.clone();
    let _still_open = first.lose();
    goes_on(&s, cancelled, &id).await;
    // All of the call is dropped at once, which ends what it says just before it is reset.
    let dropped = start();
    let first = up_and_a(&s.sandbox.clients, dropped.clone()).await;
    let id = first.got.command_id.clone();
    drop(first);
    goes_on(&s, dropped, &id).await;
    let broken = start();
    let (url, lost) = (at.runtime.shared().url(), broken.clone());
    let stream = with_a_connection_that_breaks(url, |clients| async move { up_and_a(&clients, lost).await }).await;
    goes_on(&s, broken, &stream.got.command_id).await;
}

async fn up_and_a(clients: &Clients, start: ExecStart) -> Running {
    let mut running = Running::start(clients, start).await;
    running.until_out("up\n").await;
    running.stdin("a\n").await;
    running.until_out("a\n").await;
    running
}

/// The retry has all of the output, and can go on with the input.
async fn goes_on(s: &Session, start: ExecStart, id: &str) {
    let mut again = s.exec(start).await;
    assert_eq!(again.got.command_id, id);
    again.until_out("up\na\n").await;
    again.stdin("b\n").await;
    again.until_out("b\n").await;
    again.close_stdin().await;
    again.finish().await.expect("up\na\nb\n", "", 0);
}
