//! What a background process prints belongs to the command that started it, for as long as it prints.

use crate::kit::{At, Running, Shell, v1};
use v1::{AttachRequest, ExecStart};

crate::in_every_shell!(
    late_output_is_the_first_commands,
    a_watcher_may_stay_for_it,
    a_server_stays,
    jobs_work_as_in_a_terminal,
    a_command_does_not_wait_for_its_children,
    much_background_output_blocks_nobody,
    what_is_left_on_a_terminal_prints_for_its_command,
);

fn follow(command_id: &str) -> AttachRequest {
    AttachRequest { command_id: command_id.into(), follow_background: true, ..Default::default() }
}

async fn late_output_is_the_first_commands(at: At) {
    let s = at.session().await;
    let first = s.run("(until [ -e /tmp/go ]; do sleep 0.05; done; echo late) & echo now").await;
    assert_eq!((first.out().as_str(), first.exit_code()), ("now\n", 0), "{first:?}");
    assert_eq!(s.run("echo next").await.out(), "next\n");
    let mut watcher = Running::attach(&s.sandbox.clients, follow(&first.command_id)).await;
    watcher.until("the end of the first command", |r| r.ended).await;
    assert_eq!(watcher.got.out(), "now\n");
    let third = s.run("touch /tmp/go; wait; echo third").await;
    assert_eq!(third.out(), "third\n", "{third:?}");
    watcher.until_out("late\n").await;
    // Nobody has its output open any more, so this stream is over too.
    let got = watcher.finish().await;
    assert_eq!(got.out(), "now\nlate\n");
    let again = Running::attach(
        &s.sandbox.clients,
        AttachRequest { command_id: first.command_id.clone(), ..Default::default() },
    )
    .await;
    assert_eq!(again.finish().await.out(), "now\nlate\n", "it is kept, for all who come later");
}

async fn a_watcher_may_stay_for_it(at: At) {
    let s = at.session().await;
    let first = s.run("(while :; do echo tick; echo tock >&2; sleep 0.05; done) & echo now").await;
    let mut watcher = Running::attach(&s.sandbox.clients, follow(&first.command_id)).await;
    let counts = |r: &Running| (r.got.out().matches("tick").count(), r.got.err().matches("tock").count());
    watcher.until("five ticks and tocks", |r| counts(r).0 >= 5 && counts(r).1 >= 5).await;
    assert!(watcher.ended, "the command itself was over long ago");
    s.alive().await;
    s.close().await;
    let end = crate::kit::within("the end of the stream", async {
        loop {
            match watcher.next().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    });
    assert!(matches!(end.await, Ok(None)), "closing the session ends the stream well");
}

async fn a_server_stays(at: At) {
    let s = at.session().await;
    s.run("echo served >page").await;
    let first = s.run("/usr/bin/python3 -u -m http.server 8000 &").await;
    assert_eq!(first.exit_code(), 0);
    let get = "until curl -sf localhost:8000/page; do sleep 0.05; done";
    s.run(get).await.expect("served\n", "", 0);
    let other = s.sandbox.session(at.shell.path()).await;
    other.run(get).await.expect("served\n", "", 0);
    s.run(get).await.expect("served\n", "", 0);
    let mut watcher = Running::attach(&s.sandbox.clients, follow(&first.command_id)).await;
    watcher.until("its log of requests", |r| r.got.err().matches("GET /page").count() >= 3).await;
    s.close().await;
    let got = other.run("curl -sf --max-time 5 localhost:8000/page").await;
    assert_eq!(got.exit_code(), 7, "the server went with its session: {got:?}");
}

async fn jobs_work_as_in_a_terminal(at: At) {
    let s = at.session().await;
    let got = s.run("sleep 1000 &").await;
    assert_eq!((got.out().as_str(), got.exit_code()), ("", 0), "a job notice is never on stdout: {got:?}");
    let jobs = s.run("jobs").await;
    assert!(jobs.out().to_lowercase().contains("running") && jobs.out().contains("sleep"), "{jobs:?}");
    assert!(jobs.stderr.is_empty(), "{jobs:?}");
    // zsh counts the sourcing of a command as a job, so that the first of the user's is the second.
    let (first, second) = if at.shell == Shell::Zsh { ("%2", "%3") } else { ("%1", "%2") };
    let got = s.run(format!("kill {first}")).await;
    assert_eq!((got.out().as_str(), got.exit_code()), ("", 0), "{got:?}");
    let got = s.run("wait; echo waited").await;
    assert_eq!((got.out().as_str(), got.exit_code()), ("waited\n", 0), "{got:?}");
    let got = s.run("jobs").await;
    assert!(!got.out().to_lowercase().contains("running"), "{got:?}");
    s.alive().await;
    let got = s.run("sh -c 'exit 7' & wait $!").await;
    assert_eq!((got.out().as_str(), got.exit_code()), ("", 7), "{got:?}");
    // A job that ends while another command runs says nothing there.
    s.run("sleep 0.1 &").await;
    let got = s.run("sleep 0.3; echo mine").await;
    assert_eq!(got.out(), "mine\n", "{got:?}");
    let got = s.run(format!("sleep 1000 & sleep 1000 & kill {first} {second}; wait; jobs")).await;
    assert!(!got.out().to_lowercase().contains("running"), "{got:?}");
    s.run("sleep 0.2 & fg >/dev/null; echo $?").await;
    s.alive().await;
}

async fn a_command_does_not_wait_for_its_children(at: At) {
    let s = at.session().await;
    for command in [
        "sleep 1000 & echo on",
        "(sleep 1000 &) ; echo on",
        "setsid sleep 1000 & echo on",
        "nohup sleep 1000 >/dev/null 2>&1 & echo on",
        "sh -c 'sleep 1000 & echo on'",
        "sh -c 'sleep 1000 | sleep 1000 & echo on'",
    ] {
        let got = s.run(command).await;
        assert_eq!((got.out().as_str(), got.exit_code()), ("on\n", 0), "`{command}`: {got:?}");
    }
    s.alive().await;
}

async fn much_background_output_blocks_nobody(at: At) {
    let s = at.session().await;
    let noisy = s.run_start(ExecStart { max_log_bytes: 64 << 10, ..s.start("yes & echo $! >/tmp/yes") }, b"").await;
    for _ in 0..20 {
        s.alive().await;
    }
    let mut sessions = s.sandbox.clients.sessions.clone();
    let request = v1::GetCommandRequest { command_id: noisy.command_id.clone() };
    crate::kit::within::until("a megabyte of it", async || {
        sessions.get_command(request.clone()).await.expect("it is known").into_inner().stdout_bytes > 1 << 20
    })
    .await;
    s.run("kill $(cat /tmp/yes)").await;
    s.alive().await;
}

/// The terminal is one for all commands of a session.
async fn what_is_left_on_a_terminal_prints_for_its_command(at: At) {
    let s = at.session().await;
    let pty = ExecStart {
        pty: Some(v1::Pty::default()),
        ..s.start("(until [ -e go ]; do sleep 0.1; done; echo LATE; touch went) & echo now")
    };
    let first = s.exec(pty).await.finish().await;
    assert!(first.tty().contains("now\r\n") && !first.tty().contains("LATE"), "{first:?}");
    let second = s.exec_text("echo a; touch go; until [ -e went ]; do sleep 0.1; done; echo b").await.finish().await;
    // bash may tell on standard error that the job is done.
    assert_eq!((second.out().as_str(), second.exit_code(), second.tty().as_str()), ("a\nb\n", 0, ""), "{second:?}");
    let request = AttachRequest { command_id: first.command_id.clone(), ..Default::default() };
    let again = Running::attach(&s.sandbox.clients, request).await.finish().await;
    assert!(again.tty().contains("LATE"), "{again:?}");
    // When nothing is left there, the terminal is the next command's.
    s.run("wait").await;
    let third = s.run("echo mine >/dev/tty").await;
    assert_eq!(third.tty().trim_end(), "mine", "{third:?}");
}
