//! A client whose connection is lost sends its start again, hears how much of its input the command has, and goes on: each byte comes
//! once, and in order.

use crate::kit::{
    At, Dice, Running, breaking::Breaking, cli::program, errors::expect_bad_fields, errors::expect_error, token, v1,
    within,
};
use sandshell::api::v1::{ExecStart, InputAt, OutputOffsets, exec_request::Request};
use std::{
    io::Write,
    process::{Output, Stdio},
};
use tonic::Code;

crate::in_every_shell!(
    the_command_takes_each_byte_once,
    input_with_a_hole_is_refused,
    two_connections_may_send_the_same,
    a_terminal_hears_the_end_once,
);

mod runtimes {
    crate::in_every_runtime!(
        what_was_never_started_is_not_started_again,
        a_program_gets_its_input_too,
        the_command_line_goes_on,
    );

    use super::*;

    async fn what_was_never_started_is_not_started_again(on: crate::kit::Runtime) {
        let sandbox = on.sandbox().await;
        let resume_from = Some(OutputOffsets::default());
        let start = ExecStart { request_id: token(), resume_from, ..sandbox.start("touch /tmp/started") };
        let refused = Running::try_start(&sandbox.clients, start).await.err().expect("nothing goes on");
        expect_error(&refused, Code::NotFound, "COMMAND_NOT_FOUND");
        sandbox.run("ls /tmp/started").await.expect_complaint();
        let start = ExecStart { resume_from, ..sandbox.start("true") };
        let refused = Running::try_start(&sandbox.clients, start).await.err().expect("it has no id");
        expect_bad_fields(&refused, &["start.request_id"]);
        let start = ExecStart { request_id: token(), resume_from, ..sandbox.start("true") };
        expect_bad_fields(&sandbox.refused(start).await, &["start.resume_from"]);
    }

    async fn a_program_gets_its_input_too(on: crate::kit::Runtime) {
        let sandbox = on.sandbox().await;
        let start = ExecStart { argv: vec!["cat".into()], stdin: true, request_id: token(), ..sandbox.start("") };
        let mut first = sandbox.exec(start.clone()).await;
        first.send(at(0, "abc")).await;
        first.until_out("abc").await;
        let _open = first.lose();
        let mut again = sandbox.exec(ExecStart { resume_from: from(3), ..start }).await;
        assert_eq!(again.stdin_offset, 3);
        again.send(at(1, "bcdef")).await;
        again.until_out("def").await;
        again.send(end_at(6)).await;
        again.finish().await.expect("def", "", 0);
    }

    async fn the_command_line_goes_on(on: crate::kit::Runtime) {
        let sandbox = on.sandbox().await;
        let way = Breaking::new(on.shared().address(), 2 << 20, 3);
        let given: Vec<u8> = (0..6_u32 << 18).flat_map(u32::to_le_bytes).collect();
        let wanted = {
            sandbox.write("/tmp/wanted", &given).await;
            sandbox.run("sha256sum </tmp/wanted").await.out()
        };
        let url = way.url();
        let said = tokio::task::spawn_blocking({
            let id = sandbox.id.clone();
            move || exec_with(&["exec", "--server", &url, "--sandbox", &id, "-i", "--", "sha256sum"], given)
        });
        let said = within("its end", said).await.expect("it ran");
        let complaints = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success() && complaints.is_empty(), "{} {complaints}", said.status);
        assert_eq!((String::from_utf8_lossy(&said.stdout).into_owned(), way.cuts()), (wanted, 3));
    }

    fn exec_with(arguments: &[&str], input: Vec<u8>) -> Output {
        let mut command = program(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().expect("all of it is read");
        output
    }
}

fn at(offset: i64, data: &str) -> Request {
    Request::InputAt(InputAt { offset, data: data.to_owned().into(), end: false })
}

fn end_at(offset: i64) -> Request {
    Request::InputAt(InputAt { offset, end: true, ..InputAt::default() })
}

fn from(stdout_offset: i64) -> Option<OutputOffsets> {
    Some(OutputOffsets { stdout_offset, ..OutputOffsets::default() })
}

async fn the_command_takes_each_byte_once(at_: At) {
    let s = at_.session().await;
    let start = ExecStart { request_id: token(), stdin: true, ..s.start("echo up; cat; echo over") };
    let mut first = s.exec(start.clone()).await;
    assert_eq!(first.stdin_offset, 0);
    first.until_out("up\n").await;
    first.send(at(0, "one\ntwo\n")).await;
    first.until_out("two\n").await;
    let id = first.got.command_id.clone();
    let _open = first.lose();
    // What was sent is sent again, in other pieces, and more of it; output is wanted from its place.
    let mut again = s.exec(ExecStart { resume_from: from(3), ..start.clone() }).await;
    assert_eq!((again.got.command_id.as_str(), again.stdin_offset), (id.as_str(), 8));
    for piece in [at(0, "one\n"), at(4, "two\nthr"), at(8, "thr"), at(11, "ee\n")] {
        again.send(piece).await;
    }
    again.until_out("three\n").await;
    assert_eq!(again.got.out(), "one\ntwo\nthree\n");
    // The end counts once too, and whoever asks later hears of all.
    again.send(end_at(14)).await;
    again.until_out("over\n").await;
    let late = s.exec(ExecStart { resume_from: from(0), ..start.clone() }).await;
    assert_eq!(late.stdin_offset, 14);
    late.send(end_at(14)).await;
    late.finish().await.expect("up\none\ntwo\nthree\nover\n", "", 0);
    again.finish().await;
    s.alive().await;
}

async fn input_with_a_hole_is_refused(at_: At) {
    let s = at_.session().await;
    let start = ExecStart { request_id: token(), stdin: true, ..s.start("cat") };
    let first = s.exec(start.clone()).await;
    first.send(at(0, "abc")).await;
    first.send(at(4, "e")).await;
    let refused = first.broken().await;
    expect_bad_fields(&refused, &["input_at.offset"]);
    assert!(refused.message().contains("only 3 bytes"), "{refused:?}");
    // The command has taken nothing of it, and goes on.
    let again = s.exec(ExecStart { resume_from: from(0), ..start.clone() }).await;
    assert_eq!(again.stdin_offset, 3);
    again.send(Request::InputAt(InputAt { offset: 3, data: "d".into(), end: true })).await;
    again.finish().await.expect("abcd", "", 0);
    let wrong = s.exec(ExecStart { request_id: token(), ..start }).await;
    wrong.send(at(-1, "x")).await;
    expect_bad_fields(&wrong.broken().await, &["input_at.offset"]);
}

/// As when the input of a lost connection arrives after that of the next one.
async fn two_connections_may_send_the_same(at_: At) {
    const LENGTH: usize = 200_000;
    let s = at_.session().await;
    let mut dice = Dice::new();
    let mut below = |bound: usize| usize::try_from(dice.below(bound as u64)).unwrap();
    let text: String = (0..LENGTH / 8).map(|number| format!("{number:07}\n")).collect();
    let piece = |begin: usize, end: usize| at(begin as i64, &text[begin..end]);
    let start = ExecStart { request_id: token(), stdin: true, ..s.start("cat") };
    let mut one = s.exec(start.clone()).await;
    let other = s.exec(ExecStart { resume_from: from(0), ..start }).await;
    one.send(piece(0, LENGTH / 4)).await;
    one.until("what was sent", |running| running.got.stdout.len() == LENGTH / 4).await;
    // What either begins with has come for certain; how far the other one has got is anybody's guess.
    let mut sent = LENGTH / 4;
    while sent < LENGTH {
        let next = (sent + 1 + below(3000)).min(LENGTH);
        one.send(piece(sent, next)).await;
        sent = next;
        let begin = below(LENGTH / 4);
        other.send(piece(begin, (begin + below(LENGTH / 2)).min(sent))).await;
    }
    one.send(end_at(LENGTH as i64)).await;
    one.finish().await.expect(&text, "", 0);
    other.finish().await.expect(&text, "", 0);
}

async fn a_terminal_hears_the_end_once(at_: At) {
    let s = at_.session().await;
    let pty = Some(v1::Pty::default());
    let start = ExecStart { request_id: token(), pty, ..s.start("stty -echo; echo up; cat; echo between; cat") };
    let mut first = s.exec(start.clone()).await;
    first.until_tty("up").await;
    first.send(at(0, "a\n")).await;
    first.until_tty("a").await;
    first.send(end_at(2)).await;
    first.until_tty("between").await;
    let second = s.exec(ExecStart { resume_from: from(0), ..start.clone() }).await;
    second.send(end_at(2)).await;
    let mut third = s.exec(ExecStart { resume_from: from(0), ..start }).await;
    third.send(at(2, "b\n")).await;
    third.until_tty("b\r\n").await;
    third.send(Request::CloseStdin(v1::CloseStdin {})).await;
    let got = third.finish().await;
    assert!(got.exit_code() == 0 && got.tty() == "up\r\na\r\nbetween\r\nb\r\n", "{got:?}");
}
