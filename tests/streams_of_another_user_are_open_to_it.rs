//! A program that runs as another user than the shell has the command's streams, and may open them by name, as on any system.

use crate::kit::{At, Runtime, v1};
use v1::ExecStart;

crate::in_every_shell!(
    what_it_prints_by_name_arrives,
    what_it_reads_by_name_is_there,
    it_may_open_the_terminal,
    another_session_is_closed_to_it,
);

/// As nobody. The image of the tests on Docker has no more of `su` than its name.
fn as_nobody(at: At, command: &str) -> String {
    match at.runtime {
        Runtime::Linux => format!("su nobody -s /bin/sh -c '{command}'"),
        Runtime::Docker => format!("{SETPRIV} /bin/sh -c '{command}'"),
    }
}

const SETPRIV: &str = "/usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups";

async fn what_it_prints_by_name_arrives(at: At) {
    let s = at.session().await;
    for (command, out, err) in [
        ("echo hi >/dev/stdout", "hi\n", ""),
        ("echo hi >/dev/stderr", "", "hi\n"),
        ("echo hi | tee /dev/stderr", "hi\n", "hi\n"),
        ("echo hi >>/proc/self/fd/1", "hi\n", ""),
        ("echo a; echo b >/dev/fd/1; echo c >&2", "a\nb\n", "c\n"),
        ("(sleep 0.1; echo late >/dev/stdout) & wait", "late\n", ""),
    ] {
        s.run(as_nobody(at, command)).await.expect(out, err, 0);
    }
    let direct = s.sandbox.run(&as_nobody(at, "echo hi >/dev/stdout")).await;
    assert_eq!(direct.out(), "hi\n", "{direct:?}");
}

async fn what_it_reads_by_name_is_there(at: At) {
    let s = at.session().await;
    s.run_start(s.start(as_nobody(at, "cat /dev/stdin")), b"input\n").await.expect("input\n", "", 0);
    let running = s.exec(ExecStart { stdin: true, ..s.start(as_nobody(at, "cat </proc/self/fd/0")) }).await;
    running.stdin("streamed\n").await;
    running.close_stdin().await;
    running.finish().await.expect("streamed\n", "", 0);
    s.run(as_nobody(at, "cat /dev/stdin")).await.expect("", "", 0);
}

async fn it_may_open_the_terminal(at: At) {
    let s = at.session().await;
    // `su` gives a command a process session of its own, without a terminal; `setpriv` does not.
    let got = s.run(format!("{SETPRIV} /bin/sh -c 'echo hi >/dev/tty'")).await;
    assert_eq!((got.tty().trim_end(), got.exit_code()), ("hi", 0), "{got:?}");
}

async fn another_session_is_closed_to_it(at: At) {
    let s = at.session().await;
    let other = s.sandbox.session(at.shell.path()).await;
    let mut running = other.exec_text("echo $$; sleep 1000").await;
    running.until_out("\n").await;
    let pid = running.got.out().trim().to_owned();
    let got = s
        .run(as_nobody(
            at,
            &format!("echo no >/proc/{pid}/fd/1; ls /run/sandshell/1 /run/sandshell/2; echo no >/run/sandshell/2/out"),
        ))
        .await;
    assert!(got.exit_code() != 0 && got.stdout.is_empty(), "{got:?}");
    running.signal(libc::SIGINT).await;
    assert_eq!(running.finish().await.out(), format!("{pid}\n"));
}
