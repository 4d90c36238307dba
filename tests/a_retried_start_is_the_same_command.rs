//! A client that does not know whether its start arrived sends it again, with the same `request_id`.

use crate::kit::{At, Running, errors::expect_error, shared, token, v1::ExecStart, with_a_connection_that_breaks};
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
    let start = ExecStart { request_id: token(), stdin: true, ..s.start("echo up; cat") };
    let lost = start.clone();
    let (id, _stream) = with_a_connection_that_breaks(shared().url(), |clients| async move {
        let mut first = Running::start(&clients, lost).await;
        first.until_out("up\n").await;
        first.stdin("a\n").await;
        first.until_out("a\n").await;
        (first.got.command_id.clone(), first)
    })
    .await;
    // The retry has all of the output, and can go on with the input.
    let mut again = Running::start(&s.sandbox.clients, start).await;
    assert_eq!(again.got.command_id, id);
    again.until_out("up\na\n").await;
    again.stdin("b\n").await;
    again.until_out("b\n").await;
    again.close_stdin().await;
    again.finish().await.expect("up\na\nb\n", "", 0);
}
