//! Input goes to the command that runs, and ends where the client ends it.

use crate::kit::{
    At, expected,
    v1::{ExecStart, SignalCommandRequest, exited::Reason},
};

crate::in_every_shell!(
    without_input_it_is_at_its_end,
    a_run_without_bytes_is_at_its_end_too,
    input_comes_in_pieces,
    it_ends_with_the_stream_of_requests,
    more_than_is_read,
    a_reader_that_came_before_the_shell,
    much_input,
    run_takes_all_of_it,
    a_debugger_can_be_talked_to,
    a_question_on_the_terminal_can_be_answered,
    what_is_told_on_the_terminal_does_not_hold_input_up,
    a_signal_overtakes_input_that_nobody_reads,
    input_is_not_the_shells,
    a_lost_stream_leaves_input_open_and_the_command_can_be_cancelled,
);

async fn without_input_it_is_at_its_end(at: At) {
    let s = at.session().await;
    s.run("cat").await.expect("", "", 0);
    s.run("read x; echo \"$? [$x]\"").await.expect("1 []\n", "", 0);
    let got = s.run("/usr/bin/python3 -c 'input()'").await;
    assert!(got.exit_code() == 1 && got.err().contains("EOFError"), "{got:?}");
    s.exec_text("cat; wc -c").await.finish().await.expect("0\n", "", 0);
    s.alive().await;
}

/// Nothing can follow the request of a `Run`, whatever it says of a stream of input.
async fn a_run_without_bytes_is_at_its_end_too(at: At) {
    let s = at.session().await;
    let start = ExecStart { stdin: true, ..s.start("wc -c") };
    s.run_start(start.clone(), b"").await.expect("0\n", "", 0);
    s.run_start(start, b"five!").await.expect("5\n", "", 0);
    s.alive().await;
}

async fn input_comes_in_pieces(at: At) {
    let s = at.session().await;
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("cat") }).await;
    for piece in ["one\n", "two", "\0\u{3}\u{4}three\r\n"] {
        running.stdin(piece).await;
        running.until_out(piece).await;
    }
    assert!(!running.ended);
    running.close_stdin().await;
    running.finish().await.expect("one\ntwo\0\u{3}\u{4}three\r\n", "", 0);
    // The shell's own read.
    let running = s.exec(ExecStart { stdin: true, ..s.start("read a; read b; echo \"$b $a\"") }).await;
    running.stdin("x\n").await;
    running.stdin("y\n").await;
    running.finish().await.expect("y x\n", "", 0);
}

async fn it_ends_with_the_stream_of_requests(at: At) {
    let s = at.session().await;
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("cat; echo over") }).await;
    running.stdin("one\n").await;
    running.say_no_more();
    running.finish().await.expect("one\nover\n", "", 0);
    // A terminal stays as it is: who only watches has not typed an end of file.
    let mut running = s.exec(ExecStart { pty: Some(Default::default()), ..s.start("echo up; cat") }).await;
    running.until_tty("up").await;
    running.say_no_more();
    let cancel = SignalCommandRequest { command_id: running.got.command_id.clone(), signal: 0 };
    s.sandbox.clients.sessions.clone().signal_command(cancel).await.expect("it still runs");
    assert_eq!(running.finish().await.reason(), Reason::Cancelled);
}

async fn more_than_is_read(at: At) {
    let s = at.session().await;
    let running = s.exec(ExecStart { stdin: true, ..s.start("head -1") }).await;
    let many = expected::seq(100_000);
    for piece in many.chunks(50_000) {
        running.stdin(piece).await;
    }
    running.finish().await.expect("1\n", "", 0);
    s.alive().await;
    let got = s.run_start(ExecStart { stdin: true, ..s.start("true") }, &many).await;
    got.expect("", "", 0);
    // What was left over is not the next command's.
    s.run("cat").await.expect("", "", 0);
}

async fn much_input(at: At) {
    let s = at.session().await;
    let all = expected::seq(1_000_000);
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("cat") }).await;
    let (mut sent, mut pieces) = (0, all.chunks(64 << 10));
    while sent < all.len() {
        let piece = pieces.next().expect("there is more");
        running.stdin(piece).await;
        sent += piece.len();
        // A window of 1 MiB: neither side waits for ever for the other.
        running.until("the echo", |r| r.got.stdout.len() + (1 << 20) >= sent).await;
    }
    running.close_stdin().await;
    let got = running.finish().await;
    assert!(got.stdout == all, "{} of {} bytes came back", got.stdout.len(), all.len());
}

async fn run_takes_all_of_it(at: At) {
    let s = at.session().await;
    let all = expected::seq(100_000);
    s.run_start(s.start("cat"), &all).await.expect(&all, "", 0);
    s.run_start(s.start("wc -c"), &all).await.expect(format!("{}\n", all.len()), "", 0);
    s.run_start(s.start("read x; echo $x; cat"), b"a\nb\nc").await.expect("a\nb\nc", "", 0);
    s.run("cat").await.expect("", "", 0);
}

async fn a_debugger_can_be_talked_to(at: At) {
    let s = at.session().await;
    s.run("printf 'x = 1\\nx = x + 1\\nx = x * 10\\nprint(\"end\", x)\\n' >file.py").await.expect("", "", 0);
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("/usr/bin/python3 -m pdb file.py") }).await;
    running.until_out("(Pdb) ").await;
    for (line, answer) in [
        ("break 3\n", "Breakpoint 1 at"),
        ("continue\n", "file.py(3)"),
        ("p x\n", "2\n(Pdb) "),
        ("next\n", "file.py(4)"),
        ("p x\n", "20\n(Pdb) "),
    ] {
        running.stdin(line).await;
        running.until_out(answer).await;
    }
    running.stdin("quit\n").await;
    running.finish().await;
    s.alive().await;
}

async fn a_question_on_the_terminal_can_be_answered(at: At) {
    let s = at.session().await;
    for command in [
        "printf 'Password: ' >/dev/tty; read p </dev/tty; echo got $p",
        "sh -c 'printf \"Password: \" >/dev/tty; read p </dev/tty; echo got $p'",
        "/usr/bin/python3 -c 'import getpass; print(\"got\", getpass.getpass())'",
        "(printf 'Password: ' >/dev/tty; read p </dev/tty; echo got $p) | cat",
    ] {
        let mut running = s.exec_text(command).await;
        running.until_tty("Password: ").await;
        running.stdin("secret\n").await;
        let got = running.finish().await;
        assert_eq!((got.out().as_str(), got.exit_code()), ("got secret\n", 0), "`{command}`: {got:?}");
        assert!(got.stderr.is_empty(), "`{command}`: {got:?}");
        s.alive().await;
    }
    // Both at once: standard input stays what it was.
    let mut running = s.exec_text("printf 'go? ' >/dev/tty; read a </dev/tty; cat; echo $a").await;
    running.until_tty("go? ").await;
    running.stdin("yes\n").await;
    assert_eq!(running.finish().await.out(), "yes\n");
}

/// A program that only tells something on the terminal gets its input as fast as any other. Each piece once took a tenth
/// of a second more, so that these would take half an hour.
async fn what_is_told_on_the_terminal_does_not_hold_input_up(at: At) {
    const PIECES: usize = 20_000;
    let s = at.session().await;
    let start = ExecStart { stdin: true, ..s.start("echo told >/dev/tty; wc -c") };
    let mut running = s.exec(start).await;
    running.until_tty("told").await;
    for _ in 0..PIECES {
        running.stdin("x").await;
    }
    running.close_stdin().await;
    let got = running.finish().await;
    assert_eq!((got.out().trim(), got.exit_code()), ("20000", 0), "{got:?}");
}

async fn a_signal_overtakes_input_that_nobody_reads(at: At) {
    let s = at.session().await;
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("echo ready; sleep 1000") }).await;
    running.until_out("ready\n").await;
    for _ in 0..32 {
        running.stdin(vec![b'x'; 64 << 10]).await;
    }
    running.signal(libc::SIGINT).await;
    let got = running.finish().await;
    assert_eq!((got.exit_code(), got.exited.signal), (130, libc::SIGINT), "{got:?}");
    s.alive().await;
}

async fn input_is_not_the_shells(at: At) {
    let s = at.session().await;
    // Input that looks like commands is data, also when nobody reads it.
    let got = s.run_start(s.start("echo own"), b"touch /tmp/hijacked\nexit 9\n").await;
    got.expect("own\n", "", 0);
    s.alive().await;
    s.run("ls /tmp/hijacked").await.expect_complaint();
    s.run_start(s.start("sh"), b"echo from input; exit 3\n").await.expect("from input\n", "", 3);
    s.alive().await;
}

async fn a_lost_stream_leaves_input_open_and_the_command_can_be_cancelled(at: At) {
    let s = at.session().await;
    let running = s.exec(ExecStart { stdin: true, ..s.start("cat >/tmp/in; echo over") }).await;
    running.stdin("x\n").await;
    let id = running.got.command_id.clone();
    drop(running);
    // A command does not depend on its stream, so it waits for input that another client could not give: it is
    // cancelled, not lost, and the session goes on.
    let request = crate::kit::v1::SignalCommandRequest { command_id: id, signal: 0 };
    let _ = s.sandbox.clients.sessions.clone().signal_command(request).await;
    s.alive().await;
}

async fn a_reader_that_came_before_the_shell(at: At) {
    let s = at.session().await;
    // Reads a little of each command's input, as soon as it is there, and goes away again.
    let thief = s.sandbox.session("/bin/sh").await;
    let thief = thief.exec_text("while :; do head -c 1 /run/sandshell/*/in; done 2>/dev/null | cat >/dev/null").await;
    for round in 0..20 {
        let sent = if round % 2 == 0 { b"hello\n".to_vec() } else { vec![b'x'; 300_000] };
        // What the command gets of it is anybody's guess; but it ends.
        let got = s.run_start(s.start("cat >/dev/null; echo over"), &sent).await;
        assert_eq!((got.out().as_str(), got.exit_code()), ("over\n", 0), "round {round}: {got:?}");
    }
    thief.signal(2).await;
    thief.finish().await;
    s.alive().await;
}
