//! A question on the terminal that nobody can answer ends at once, with the program's own words; one that can be answered waits.

use crate::kit::{At, Finished, Runtime, Session, Shell, v1};
use tonic::Code;
use v1::{ExecStart, exited::Reason};

crate::in_every_shell!(
    a_run_answers_nothing_and_brings_the_question,
    every_way_to_ask_ends,
    what_was_set_up_for_keys_ends_too,
    a_client_that_says_no_more_answers_nothing,
    a_client_that_only_listens_answers_nothing,
    input_that_was_ended_answers_nothing,
    a_client_that_streams_input_has_all_the_time,
    input_that_nothing_wants_is_refused,
    what_was_set_on_the_terminal_stays,
    an_editor_is_not_opened_where_there_is_no_terminal,
    what_a_terminal_is_called_is_the_users,
);

/// More than any of it takes, and less than somebody who waits for an answer: that would be for ever.
fn start(s: &Session, command: &str) -> ExecStart {
    ExecStart { timeout: Some(prost_types::Duration { seconds: 20, nanos: 0 }), ..s.start(command) }
}

async fn run(s: &Session, command: &str) -> Finished {
    let got = s.run_start(start(s, command), b"").await;
    assert_eq!(got.reason(), Reason::Exited, "`{command}`: {got:?}");
    got
}

async fn a_run_answers_nothing_and_brings_the_question(at: At) {
    let s = at.session().await;
    for _ in 0..2 {
        let got = run(&s, "printf 'Password: ' >/dev/tty; read p </dev/tty; echo \"$? [$p]\"; echo e >&2").await;
        got.expect("1 []\n", "e\n", 0);
        assert_eq!(got.tty(), "Password: ");
    }
    // With bytes on standard input there is still nobody at the terminal.
    let got = s.run_start(start(&s, "read p </dev/tty; echo $?; cat"), b"input").await;
    got.expect("1\ninput", "", 0);
    let many = v1::RunRequest {
        start: Some(start(&s, "printf 0123456789 >/dev/tty")),
        max_output_bytes: 4,
        ..Default::default()
    };
    let got = s.sandbox.clients.sessions.clone().run(many).await.expect("an answer").into_inner();
    assert_eq!((&got.terminal[..], got.terminal_truncated, got.terminal_truncated_at), (&b"0189"[..], true, 2));
    let direct = s.sandbox.run("read p </dev/tty; echo $?").await;
    assert_eq!(direct.out(), "1\n", "{direct:?}");
}

async fn every_way_to_ask_ends(at: At) {
    let s = at.session().await;
    let got = run(&s, "/usr/bin/python3 -c 'import getpass; getpass.getpass()'").await;
    assert!(got.exit_code() == 1 && got.err().contains("EOFError") && got.tty().contains("Password: "), "{got:?}");
    // In the background of a list, in a pipeline, in a program of its own.
    for command in [
        "sh -c 'read p </dev/tty; echo $?'",
        "(read p </dev/tty; echo $?) | cat",
        "cat /dev/tty | wc -c | tr -d ' 0'; echo 1",
    ] {
        assert!(run(&s, command).await.out().trim_start().starts_with('1'), "`{command}`");
    }
    if at.runtime == Runtime::Docker {
        // The image has no more programs than the shells, and these behave the same everywhere.
        return;
    }
    run(&s, "ssh-keygen -q -t ed25519 -N secret -f key").await.expect("", "", 0);
    let got = run(&s, "ssh-keygen -y -f key").await;
    assert!(got.exit_code() != 0 && got.tty().contains("passphrase"), "{got:?}");
    let got = run(&s, "printf 'protocol=https\\nhost=example.org\\n\\n' | git credential fill").await;
    assert_eq!(got.exit_code(), 128, "{got:?}");
    assert!(got.tty().contains("Username") || got.err().contains("Username"), "{got:?}");
    s.alive().await;
}

async fn what_was_set_up_for_keys_ends_too(at: At) {
    let s = at.session().await;
    let read = match at.shell {
        Shell::Bash => "read -n 1 p </dev/tty",
        Shell::Zsh => "read -q p",
        _ => "/bin/bash -c 'read -n 1 p </dev/tty'",
    };
    run(&s, read).await;
    let raw = "import os, sys, tty, select
f = os.open('/dev/tty', os.O_RDWR)
tty.setraw(f)
while True:
    select.select([f], [], [])
    if not os.read(f, 1):
        break
print('over')";
    s.run(format!("cat >keys.py <<'END'\n{raw}\nEND")).await.expect("", "", 0);
    run(&s, "/usr/bin/python3 keys.py").await.expect("over\n", "", 0);
    // It is as it should be again for the next one.
    run(&s, "read p </dev/tty; echo $?").await.expect("1\n", "", 0);
}

async fn a_client_that_says_no_more_answers_nothing(at: At) {
    let s = at.session().await;
    for command in ["read p </dev/tty; echo $?", "sleep 0.3; read p </dev/tty; echo $?"] {
        let mut running = s.exec(start(&s, command)).await;
        running.say_no_more();
        running.finish().await.expect("1\n", "", 0);
    }
}

async fn a_client_that_only_listens_answers_nothing(at: At) {
    let s = at.session().await;
    let got = s.exec(start(&s, "read p </dev/tty; echo $?; read p </dev/tty; echo $?")).await.finish().await;
    got.expect("1\n1\n", "", 0);
}

async fn input_that_was_ended_answers_nothing(at: At) {
    let s = at.session().await;
    let running = s.exec(ExecStart { stdin: true, ..start(&s, "cat; read p </dev/tty; echo $?") }).await;
    running.stdin("in\n").await;
    running.close_stdin().await;
    running.finish().await.expect("in\n1\n", "", 0);
    // The read was there first.
    let mut running = s.exec(ExecStart { stdin: true, ..start(&s, "echo up; read p </dev/tty; echo $?") }).await;
    running.until_out("up\n").await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    running.close_stdin().await;
    running.finish().await.expect("up\n1\n", "", 0);
}

async fn a_client_that_streams_input_has_all_the_time(at: At) {
    let s = at.session().await;
    // After a command that nobody could answer, too.
    run(&s, "read p </dev/tty; echo $?").await.expect("1\n", "", 0);
    let command = "printf 'Password: ' >/dev/tty; read p </dev/tty; echo got $p";
    let mut running = s.exec(ExecStart { stdin: true, ..start(&s, command) }).await;
    running.until_tty("Password: ").await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    running.stdin("secret\n").await;
    running.finish().await.expect("got secret\n", "", 0);
    let mut running = s.exec(start(&s, command)).await;
    running.until_tty("Password: ").await;
    running.stdin("secret\n").await;
    running.finish().await.expect("got secret\n", "", 0);
}

async fn input_that_nothing_wants_is_refused(at: At) {
    let s = at.session().await;
    let running = s.exec(start(&s, "sleep 1000")).await;
    let id = running.got.command_id.clone();
    running.stdin("lost\n").await;
    let status = running.broken().await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("stdin"), "{status:?}");
    // The command knows nothing of it.
    let mut clients = s.sandbox.clients.clone();
    clients
        .sessions
        .signal_command(v1::SignalCommandRequest { command_id: id, signal: 0 })
        .await
        .expect("it still runs");
    s.alive().await;
}

async fn what_was_set_on_the_terminal_stays(at: At) {
    let s = at.session().await;
    run(&s, "stty -echo intr ^B </dev/tty").await.expect("", "", 0);
    let got = run(&s, "stty -a </dev/tty").await;
    assert!(got.out().contains("-echo ") && got.out().contains("intr = ^B"), "{got:?}");
    let pty = ExecStart { pty: Some(v1::Pty::default()), ..s.start("stty -a") };
    let got = s.exec(pty).await.finish().await;
    assert!(
        got.tty().contains(" echo ") && got.tty().contains(" icanon ") && got.tty().contains("intr = ^C"),
        "{got:?}"
    );
}

async fn an_editor_is_not_opened_where_there_is_no_terminal(at: At) {
    if at.runtime == Runtime::Docker {
        // The image has no git. What it looks at is the same: see `what_a_terminal_is_called_is_the_users`.
        return;
    }
    let s = at.session().await;
    let repository =
        "git init -q r && cd r && git config user.name n && git config user.email e && touch f && git add f";
    assert_eq!(run(&s, repository).await.exit_code(), 0);
    let got = run(&s, "unset EDITOR VISUAL GIT_EDITOR; git commit").await;
    assert!(got.exit_code() != 0 && got.err().contains("dumb"), "{got:?}");
    s.alive().await;
}

async fn what_a_terminal_is_called_is_the_users(at: At) {
    let sandbox = at.sandbox().await;
    let s = sandbox.session(at.shell.path()).await;
    let on_terminal = async |s: &Session, term: &str| {
        let pty = v1::Pty { term: term.into(), ..Default::default() };
        let got = s.exec(ExecStart { pty: Some(pty), ..s.start("sh -c 'echo $TERM'") }).await.finish().await;
        got.tty().trim().to_owned()
    };
    let plain = async |s: &Session| s.run("sh -c 'echo $TERM'").await.out().trim().to_owned();
    assert_eq!(plain(&s).await, "dumb");
    assert_eq!(s.exec_text("echo $TERM").await.finish().await.out(), "dumb\n");
    assert_eq!(sandbox.run("echo $TERM").await.out(), "dumb\n");
    assert_eq!(on_terminal(&s, "").await, "xterm-256color");
    assert_eq!(on_terminal(&s, "vt100").await, "vt100");
    assert_eq!(plain(&s).await, "dumb", "only for a command on a terminal");
    s.run("export TERM=screen").await.expect("", "", 0);
    assert_eq!((plain(&s).await.as_str(), on_terminal(&s, "").await.as_str()), ("screen", "screen"));
    s.run("set -u; unset TERM").await.expect("", "", 0);
    assert_eq!(on_terminal(&s, "").await, "xterm-256color");
    let asked = v1::CreateSessionRequest {
        shell: at.shell.path().into(),
        env: [("TERM".to_owned(), "linux".to_owned())].into(),
        ..sandbox.ask_session()
    };
    let s = sandbox.open(asked).await;
    assert_eq!((plain(&s).await.as_str(), on_terminal(&s, "").await.as_str()), ("linux", "linux"));
}
