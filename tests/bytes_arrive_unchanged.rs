//! What a program prints is what the client gets: nothing added, trimmed, cleaned or interpreted.

use crate::kit::{At, LONG, expected, v1};

crate::in_every_shell!(
    both_outputs_are_apart,
    no_newline_is_added,
    no_byte_is_special,
    nothing_is_trimmed,
    nothing_is_interpreted,
    one_line_of_3_mb,
    many_short_lines,
    output_comes_as_it_is_printed,
    a_character_may_come_in_two_writes,
    stdout_is_not_a_terminal,
    run_cuts_the_middle_and_says_so,
);

async fn both_outputs_are_apart(at: At) {
    let s = at.session().await;
    s.run("echo o; echo e >&2").await.expect("o\n", "e\n", 0);
    s.run("echo e >&2; echo o").await.expect("o\n", "e\n", 0);
    s.run("echo only >&2").await.expect("", "only\n", 0);
    s.run("(echo o; echo e >&2) 2>&1").await.expect("o\ne\n", "", 0);
}

async fn no_newline_is_added(at: At) {
    let s = at.session().await;
    s.run("printf abc").await.expect("abc", "", 0);
    s.run("printf abc >&2").await.expect("", "abc", 0);
    s.run("printf ''").await.expect("", "", 0);
    s.run("printf '\\n'").await.expect("\n", "", 0);
}

async fn no_byte_is_special(at: At) {
    let s = at.session().await;
    s.run(r"printf '\000\377\r\n'").await.expect(b"\0\xff\r\n", "", 0);
    let all: Vec<u8> = (0..=255).collect();
    let script: String = all.iter().map(|b| format!("\\{b:03o}")).collect();
    s.run(format!("printf '{script}'")).await.expect(&all, "", 0);
    s.run(format!("printf '{script}' >&2")).await.expect("", &all, 0);
}

async fn nothing_is_trimmed(at: At) {
    let s = at.session().await;
    s.run(r"printf '\n\n  a  \n\n'").await.expect("\n\n  a  \n\n", "", 0);
    s.run(r"printf ' \t\n'").await.expect(" \t\n", "", 0);
}

async fn nothing_is_interpreted(at: At) {
    let s = at.session().await;
    s.run(r"printf 'a\rb\bc\033[31mx'").await.expect("a\rb\x08c\x1b[31mx", "", 0);
    // What ends input, asks a terminal for its name, or clears a screen.
    s.run(r"printf '\004\003\032\033[c\033[2J\033]0;t\007'").await.expect(
        "\x04\x03\x1a\x1b[c\x1b[2J\x1b]0;t\x07",
        "",
        0,
    );
}

async fn one_line_of_3_mb(at: At) {
    let s = at.session().await;
    let got = s.exec_text(r"head -c 3000000 /dev/zero | tr '\0' x").await.finish().await;
    assert_eq!(got.stdout.len(), 3_000_000);
    got.expect(vec![b'x'; 3_000_000], "", 0);
}

async fn many_short_lines(at: At) {
    let s = at.session().await;
    let got = s.exec_text("seq 1 200000; seq 1 200000 >&2").await.finish().await;
    let lines = expected::seq(200_000);
    got.expect(&lines, &lines, 0);
}

async fn output_comes_as_it_is_printed(at: At) {
    let s = at.session().await;
    let mut running = s.exec_text("sh -c 'echo a; sleep 1; echo b'").await;
    running.until_out("a\n").await;
    assert_eq!(running.got.stdout, b"a\n", "what was printed later cannot be here yet");
    running.until_out("b\n").await;
    let (a, b) = (running.pieces[0].0, running.pieces[1].0);
    assert!((b - a).as_millis() > 500, "`a` came only {:?} before `b`", b - a);
    running.finish().await.expect("a\nb\n", "", 0);
}

async fn a_character_may_come_in_two_writes(at: At) {
    let s = at.session().await;
    let mut running = s.exec_text(r"printf '\360\237'; sleep 0.3; printf '\230\200'").await;
    running.until("two bytes", |r| r.got.stdout.len() >= 2).await;
    assert_eq!(running.got.stdout, b"\xf0\x9f", "half a character is not held back");
    running.finish().await.expect("😀", "", 0);
}

async fn stdout_is_not_a_terminal(at: At) {
    let s = at.session().await;
    for descriptor in 0..3 {
        s.run(format!("test -t {descriptor}; echo $? >&1")).await.expect("1\n", "", 0);
    }
    let got = s.run("tty").await;
    got.expect("not a tty\n", "", 1);
}

async fn run_cuts_the_middle_and_says_so(at: At) {
    let s = at.session().await;
    let all = expected::seq(100_000);
    let mut sessions = s.sandbox.clients.sessions.clone();
    for (bound, kept) in [(1000, 1000), (16 << 20, all.len())] {
        let request = v1::RunRequest {
            start: Some(s.start("seq 1 100000; echo e >&2")),
            max_output_bytes: bound,
            ..Default::default()
        };
        let wait = sessions.run(request);
        let answer = crate::kit::within_time(LONG, "a cut answer", wait).await.expect("it runs").into_inner();
        let cut = kept < all.len();
        assert_eq!((answer.stdout_truncated, answer.stdout.len()), (cut, kept), "with a bound of {bound}");
        assert_eq!(answer.stdout_truncated_at, if cut { kept as i64 / 2 } else { 0 });
        let (head, tail) = answer.stdout.split_at(kept / 2);
        assert!(*head == all[..head.len()], "the head is kept");
        assert!(*tail == all[all.len() - tail.len()..], "the tail is kept");
    }
}
