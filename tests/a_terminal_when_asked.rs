//! A command started with `pty` runs on a terminal, as a person would have it.

use crate::kit::{At, Running, Session, Shell, v1};
use v1::{ExecStart, Pty, TerminalSize, exited::Reason};

crate::in_every_shell!(
    it_is_a_terminal_of_the_size_asked_for,
    the_shell_keeps_its_state,
    the_program_sees_a_new_size,
    ctrl_c_interrupts,
    ctrl_z_stops_and_jobs_shows_it,
    ctrl_d_ends_the_input,
    a_backspace_takes_a_whole_character,
    full_screen_programs_work,
    an_interactive_shell_is_a_command,
    the_next_command_finds_a_clean_terminal,
    a_time_out_holds_on_a_terminal_too,
);

async fn on_terminal(s: &Session, rows: u32, columns: u32, command: &str) -> Running {
    let pty = Pty { size: Some(TerminalSize { rows, columns }), term: String::new() };
    s.exec(ExecStart { pty: Some(pty), ..s.start(command) }).await
}

async fn it_is_a_terminal_of_the_size_asked_for(at: At) {
    let s = at.session().await;
    let got = on_terminal(
        &s,
        40,
        100,
        "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; echo e >&2; echo $TERM",
    )
    .await
    .finish()
    .await;
    let shown = got.tty();
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].starts_with("/dev/pts/") || lines[0] == "/dev/tty", "{got:?}");
    assert_eq!(lines[1..], ["40 100", "all", "e", "xterm-256color"], "{got:?}");
    assert!(got.stdout.is_empty() && got.stderr.is_empty() && got.exit_code() == 0, "{got:?}");
    let default = s
        .exec(ExecStart { pty: Some(Pty { size: None, term: "vt100".into() }), ..s.start("stty size; echo $TERM") })
        .await;
    assert_eq!(default.finish().await.tty().replace('\r', ""), "24 80\nvt100\n");
    // Only for that command.
    s.run("tty").await.expect("not a tty\n", "", 1);
}

async fn the_shell_keeps_its_state(at: At) {
    let s = at.session().await;
    on_terminal(&s, 24, 80, "cd /usr; export A=1; false").await.finish().await;
    s.run("echo $?; pwd; echo $A").await.expect("1\n/usr\n1\n", "", 0);
    let got = on_terminal(&s, 24, 80, "exit 4").await.finish().await;
    got.expect_shell_exit(4, 0, 2);
    s.run("pwd; echo $A").await.expect("/usr\n1\n", "", 0);
}

async fn the_program_sees_a_new_size(at: At) {
    let s = at.session().await;
    let mut running =
        on_terminal(&s, 24, 80, "sh -c 'trap \"stty size\" WINCH; echo ready; while :; do sleep 0.05; done'").await;
    running.until_tty("ready").await;
    running.resize(50, 132).await;
    running.until_tty("50 132").await;
    running.stdin("\x03").await;
    assert_ne!(running.finish().await.exit_code(), 0);
    s.alive().await;
}

async fn ctrl_c_interrupts(at: At) {
    let s = at.session().await;
    let mut running = on_terminal(&s, 24, 80, "echo up; sleep 1000; touch /tmp/after").await;
    running.until_tty("up").await;
    running.stdin("\x03").await;
    let got = running.finish().await;
    assert_eq!(got.exit_code(), 130, "{got:?}");
    assert!(got.tty().contains("^C"), "the terminal echoes what is typed: {got:?}");
    s.run("ls /tmp/after").await.expect_complaint();
    s.alive().await;
}

async fn ctrl_z_stops_and_jobs_shows_it(at: At) {
    let s = at.session().await;
    let mut running = on_terminal(&s, 24, 80, "sh -c 'echo up; exec sleep 1000'").await;
    running.until_tty("up").await;
    running.stdin("\x1a").await;
    let got = running.finish().await;
    assert_eq!(got.exit_code(), 148, "{got:?}");
    let jobs = s.run("jobs").await.out().to_lowercase();
    assert!(jobs.contains("stopped") || jobs.contains("suspended"), "{jobs:?}");
    s.run("kill -9 %1; wait %1; true").await;
    s.alive().await;
}

async fn ctrl_d_ends_the_input(at: At) {
    let s = at.session().await;
    let mut running = on_terminal(&s, 24, 80, "cat; echo over").await;
    running.stdin("line\r").await;
    running.until_tty("line\r\nline\r\n").await;
    running.stdin("\x04").await;
    running.until_tty("over").await;
    assert_eq!(running.finish().await.exit_code(), 0);
}

async fn a_backspace_takes_a_whole_character(at: At) {
    let s = at.session().await;
    // The terminal's own editing of the line, whatever a shell has for its own.
    let running = on_terminal(&s, 24, 80, "head -n 1 >/tmp/line; stty -a").await;
    running.stdin("\u{17e}\x7fo\u{20ac}\u{1f600}\x7f\x7f\n").await;
    let got = running.finish().await;
    assert!(got.tty().contains(" iutf8"), "{got:?}");
    s.run("cat /tmp/line").await.expect("o\n", "", 0);
}

async fn full_screen_programs_work(at: At) {
    let s = at.session().await;
    let mut running = on_terminal(&s, 24, 80, "top").await;
    running.until_tty("PID").await;
    running.stdin("q").await;
    let got = running.finish().await;
    assert_eq!(got.exit_code(), 0, "{got:?}");
    let mut running = on_terminal(&s, 24, 80, "/usr/bin/vi -u NONE text").await;
    running.until_tty("text").await;
    running.stdin("ihello\x1b:wq\r").await;
    assert_eq!(running.finish().await.exit_code(), 0);
    s.run("cat text").await.expect("hello\n", "", 0);
}

async fn an_interactive_shell_is_a_command(at: At) {
    let s = at.session().await;
    let mut running = on_terminal(&s, 24, 80, "bash --norc -i").await;
    // Typing waits for the prompt: a line editor that is not there yet takes keys in its own way.
    let prompt = |r: &Running| r.got.tty().ends_with("# ");
    running.until("the first prompt", prompt).await;
    running.stdin("echo $((40 + 2))\r").await;
    running.until("the second prompt", |r| r.got.tty().contains("42\r\n") && prompt(r)).await;
    running.stdin("sh -c 'echo u''p; exec sleep 1000'\r").await;
    running.until_tty("up\r\n").await;
    running.stdin("\x03").await;
    running.until("the third prompt", |r| r.got.tty().contains("^C") && prompt(r)).await;
    running.stdin("echo after $?\r").await;
    running.until("the fourth prompt", |r| r.got.tty().contains("after 130") && prompt(r)).await;
    running.stdin("exit 5\r").await;
    let got = running.finish().await;
    assert_eq!((got.exit_code(), got.reason()), (5, Reason::Exited), "{got:?}");
    assert!(!got.tty().contains("no job control"), "{got:?}");
    s.alive().await;
}

async fn the_next_command_finds_a_clean_terminal(at: At) {
    let s = at.session().await;
    let mut running = on_terminal(&s, 30, 90, "stty -echo raw; echo up; sleep 1000").await;
    running.until_tty("up").await;
    running.signal(2).await;
    running.finish().await;
    let got = on_terminal(&s, 24, 80, "stty size; stty -a").await.finish().await;
    assert!(got.tty().starts_with("24 80\r\n"), "{got:?}");
    assert!(got.tty().contains(" echo ") && got.tty().contains(" icanon "), "{got:?}");
    // What was typed ahead is not the next command's.
    let mut running = on_terminal(&s, 24, 80, "echo up; sleep 0.3").await;
    running.until_tty("up").await;
    running.stdin("typed ahead\r").await;
    running.finish().await;
    if at.shell != Shell::Zsh {
        let mut running = on_terminal(&s, 24, 80, "read x; echo \"[$x]\"").await;
        running.stdin("mine\r").await;
        running.until_tty("[mine]").await;
        running.finish().await;
    }
}

async fn a_time_out_holds_on_a_terminal_too(at: At) {
    let s = at.session().await;
    let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let running =
        s.exec(ExecStart { pty: Some(Pty::default()), timeout, ..s.start("echo up; sleep 1000; echo no") }).await;
    let got = running.finish().await;
    assert_eq!(got.reason(), Reason::TimedOut, "{got:?}");
    assert!(got.tty().starts_with("up\r\n") && !got.tty().contains("no"), "{got:?}");
    s.alive().await;
}
