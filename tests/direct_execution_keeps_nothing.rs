//! A command may run directly in a sandbox: a fresh shell, of which nothing is kept.

use crate::kit::{At, host, token, v1, within};
use v1::{ExecStart, Pty, exited::Reason};

crate::in_every_shell!(
    nothing_is_kept,
    it_starts_as_asked,
    what_it_started_ends_with_it,
    it_streams_as_a_session_does,
    it_ends_as_a_session_does,
);

fn start(at: At, sandbox: &crate::kit::Sandbox, command: &str) -> ExecStart {
    ExecStart { shell: at.shell.path().into(), ..sandbox.start(command) }
}

async fn nothing_is_kept(at: At) {
    let sandbox = at.sandbox().await;
    let run = async |command: &str| sandbox.exec(start(at, &sandbox, command)).await.finish().await;
    let first = run("cd /usr; export A=1; B=2; f() { :; }; pwd; echo $$ >pid 2>/dev/null; echo $A").await;
    assert_eq!(first.out(), "/usr\n1\n", "{first:?}");
    let second = run("pwd; echo \"[$A$B]\"").await;
    assert_eq!((second.out().as_str(), second.exit_code()), ("/workspace\n[]\n", 0), "{second:?}");
    assert_ne!(first.command_id, second.command_id);
    run("echo file >kept").await;
    assert_eq!(run("cat kept").await.out(), "file\n", "files are the sandbox's");
    let request = v1::ListSessionsRequest { sandbox_id: sandbox.id.clone(), ..Default::default() };
    let listed = sandbox.clients.sessions.clone().list_sessions(request).await.expect("a list").into_inner();
    assert!(listed.sessions.is_empty(), "a direct execution is not a session: {listed:?}");
    let request = v1::GetCommandRequest { command_id: first.command_id.clone() };
    let known = sandbox.clients.sessions.clone().get_command(request).await.expect("it is known").into_inner();
    assert_eq!((known.session_id.as_str(), known.stdout_bytes), ("", 7));
}

async fn it_starts_as_asked(at: At) {
    let sandbox = at.sandbox().await;
    let asked = ExecStart {
        env: [("GREETING".into(), "a 'b' $c".into())].into(),
        working_directory: "/usr/lib".into(),
        ..start(at, &sandbox, "pwd; echo \"$GREETING\"; sh -c 'echo $GREETING'")
    };
    let got = sandbox.exec(asked).await.finish().await;
    got.expect("/usr/lib\na 'b' $c\na 'b' $c\n", "", 0);
    let pty = ExecStart { pty: Some(Pty::default()), ..start(at, &sandbox, "stty size") };
    assert_eq!(sandbox.exec(pty).await.finish().await.tty(), "24 80\r\n");
    let name = sandbox.exec(start(at, &sandbox, "readlink /proc/$$/exe")).await.finish().await;
    let wanted = at.shell.path().rsplit('/').next().unwrap_or_default();
    assert!(name.out().trim().ends_with(wanted), "{name:?}");
}

async fn what_it_started_ends_with_it(at: At) {
    let sandbox = at.sandbox().await;
    let word = token();
    let command = format!("setsid sh -c 'sleep 10000; :' {word} & sh -c 'sleep 10000; :' {word} & echo on");
    let got = sandbox.exec(start(at, &sandbox, &command)).await.finish().await;
    assert_eq!((got.out().as_str(), got.exit_code()), ("on\n", 0), "{got:?}");
    within::until("the end of what it started", async || host::with_argument(&word).is_empty()).await;
}

async fn it_streams_as_a_session_does(at: At) {
    let sandbox = at.sandbox().await;
    let mut running = sandbox.exec(ExecStart { stdin: true, ..start(at, &sandbox, "cat; echo e >&2") }).await;
    running.stdin("one\n").await;
    running.until_out("one\n").await;
    running.close_stdin().await;
    running.finish().await.expect("one\n", "e\n", 0);
    let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let got =
        sandbox.exec(ExecStart { timeout, ..start(at, &sandbox, "echo up; sleep 1000; echo no") }).await.finish().await;
    assert_eq!((got.out().as_str(), got.reason()), ("up\n", Reason::TimedOut), "{got:?}");
    let mut running = sandbox.exec(start(at, &sandbox, "echo up; sleep 1000; echo no")).await;
    running.until_out("up\n").await;
    running.signal(2).await;
    let got = running.finish().await;
    assert_eq!((got.out().as_str(), got.reason()), ("up\n", Reason::Signaled), "{got:?}");
}

async fn it_ends_as_a_session_does(at: At) {
    let sandbox = at.sandbox().await;
    for (command, code) in [
        ("false", 1),
        ("sh -c 'exit 7'", 7),
        ("exit 3", 3),
        ("set -e; false; echo no", 1),
        ("exec true", 0),
        ("kill -9 $$", 137),
        ("nosuch 2>/dev/null", 127),
    ] {
        let got = sandbox.exec(start(at, &sandbox, command)).await.finish().await;
        assert_eq!((got.exit_code(), got.out().as_str()), (code, ""), "`{command}`: {got:?}");
    }
    let got = sandbox.exec(start(at, &sandbox, "echo 'oops")).await.finish().await;
    assert!(got.exit_code() != 0 && !got.stderr.is_empty(), "{got:?}");
}
