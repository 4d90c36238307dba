//! `user` of a command and of a session: its ids and groups, its home, streams that it can use, and a session that stays as it was.

use crate::kit::within::until;
use crate::kit::{At, Runtime, Sandbox, errors::expect_bad_fields, v1, within};
use prost_types::Duration;
use v1::{ExecStart, exited::Reason};

crate::in_every_shell!(
    a_command_in_a_session_leaves_it_as_it_was,
    a_session_may_be_another_users,
    it_ends_as_any_command
);

mod runtimes {
    crate::in_every_runtime!(
        a_direct_execution_is_that_users,
        nobody_unknown_runs_anything,
        a_directory_may_be_closed_to_it
    );

    use super::*;

    async fn a_direct_execution_is_that_users(on: Runtime) {
        let sandbox = with_ann(on).await;
        for user in ["ann", "1234"] {
            let start = ExecStart { user: user.into(), ..sandbox.start(WHO) };
            run(&sandbox, start).await.expect(ANN, "", 0);
        }
        let start = ExecStart { user: "ann:0".into(), ..sandbox.start("id -u; id -g; id -G") };
        run(&sandbox, start).await.expect("1234\n0\n0\n", "", 0);
        let start = ExecStart { user: "4242".into(), ..sandbox.start("id -u; echo $HOME") };
        run(&sandbox, start).await.expect("4242\n/\n", "", 0);
        let start = ExecStart { user: "root".into(), ..sandbox.start("id -u; touch /root/x") };
        run(&sandbox, start).await.expect("0\n", "", 0);
        let env = [("HOME".to_owned(), "/elsewhere".to_owned())].into();
        let start =
            ExecStart { user: "ann".into(), env, ..sandbox.start("echo $HOME $USER; touch /root/y 2>/dev/null") };
        assert_ne!(run(&sandbox, start.clone()).await.exit_code(), 0);
        let got = run(&sandbox, start).await;
        assert_eq!(got.out(), "/elsewhere ann\n");
        // Input, and a terminal.
        let start = ExecStart { user: "ann".into(), stdin: true, ..sandbox.start("cat; cat /dev/stdin") };
        let running = sandbox.exec(start).await;
        running.stdin("typed\n").await;
        running.close_stdin().await;
        running.finish().await.expect("typed\n", "", 0);
        let pty = Some(v1::Pty::default());
        let start = ExecStart { user: "ann".into(), pty, ..sandbox.start("id -un >/dev/tty; tty; stty size <$(tty)") };
        let got = sandbox.exec(start).await.finish().await;
        assert!(got.tty().starts_with("ann\r\n/dev/pts/") && got.tty().ends_with("24 80\r\n"), "{got:?}");
    }

    async fn a_directory_may_be_closed_to_it(on: Runtime) {
        let sandbox = with_ann(on).await;
        let (user, working_directory) = ("ann".to_owned(), "/root".to_owned());
        let start =
            ExecStart { user: user.clone(), working_directory: working_directory.clone(), ..sandbox.start("pwd") };
        let refused = within(
            "a refusal",
            sandbox.clients.sessions.clone().run(v1::RunRequest { start: Some(start), ..Default::default() }),
        )
        .await;
        expect_bad_fields(&refused.expect_err("closed"), &["start.working_directory"]);
        let request = v1::CreateSessionRequest { user, working_directory, ..sandbox.ask_session() };
        let refused = within("a refusal", sandbox.clients.sessions.clone().create_session(request)).await;
        expect_bad_fields(&refused.expect_err("closed"), &["working_directory"]);
        // What it need not be in is left for the root directory.
        let start = ExecStart { user: "ann".into(), ..sandbox.start("cd /; pwd") };
        run(&sandbox, start).await.expect("/\n", "", 0);
    }

    async fn nobody_unknown_runs_anything(on: Runtime) {
        let sandbox = with_ann(on).await;
        let s = sandbox.session("").await;
        for user in ["nosuch", "ann:nosuch", "-1"] {
            for start in [sandbox.start("echo ran"), s.start("echo ran")] {
                expect_bad_fields(&s.refused(ExecStart { user: user.into(), ..start }).await, &["start.user"]);
            }
            let request = v1::CreateSessionRequest { user: user.into(), ..sandbox.ask_session() };
            let refused = within("a refusal", sandbox.clients.sessions.clone().create_session(request)).await;
            expect_bad_fields(&refused.expect_err("unknown"), &["user"]);
        }
        expect_bad_fields(&s.refused(ExecStart { user: "a\0b".into(), ..s.start("true") }).await, &["start.user"]);
        // Who is there is looked up each time.
        s.run("echo 'ben:x:1235:1235::/:/bin/sh' >>/etc/passwd").await.expect("", "", 0);
        let request = v1::CreateSessionRequest { user: "ben".into(), ..sandbox.ask_session() };
        let of_ben = sandbox.open(request).await;
        of_ben.run("id -un; echo $HOME").await.expect("ben\n/\n", "", 0);
    }
}

/// Who runs it, with what, and whether the streams can be used by their names.
const WHO: &str = "id -un; id -g; id -G; echo $HOME $USER $LOGNAME; echo out >/dev/stdout; touch /home/ann/x && rm /home/ann/x; \
                   [ -w /root ] || echo closed; cat /etc/shadow 2>/dev/null; :";
const ANN: &str = "ann\n1234\n1234 777\n/home/ann ann ann\nout\nclosed\n";

async fn with_ann(on: Runtime) -> Sandbox {
    let sandbox = on.sandbox().await;
    let made = "echo 'ann:x:1234:1234::/home/ann:/bin/sh' >>/etc/passwd
        echo 'ann:x:1234:' >>/etc/group
        echo 'crew:x:777:other,ann' >>/etc/group
        mkdir -p /home/ann && chown 1234:1234 /home/ann && chmod 700 /root && chmod 640 /etc/shadow";
    sandbox.run(made).await.expect("", "", 0);
    sandbox
}

async fn run(sandbox: &Sandbox, start: ExecStart) -> crate::kit::Finished {
    let request = v1::RunRequest { start: Some(start), ..Default::default() };
    let answer = within("an answer", sandbox.clients.sessions.clone().run(request)).await;
    answer.unwrap_or_else(|e| panic!("{e:?}")).into_inner().into()
}

async fn a_command_in_a_session_leaves_it_as_it_was(at: At) {
    at.shell.require();
    let s = with_ann(at.runtime).await.session(at.shell.path()).await;
    s.run("cd /usr/share; export A=a; B=b; f() { echo fn; }; (exit 3)").await.expect("", "", 3);
    let ann = |text: &str| ExecStart { user: "ann".into(), ..s.start(text) };
    s.run_start(ann(&format!("echo $?; {WHO}")), b"").await.expect(format!("3\n{ANN}"), "", 0);
    let got = s.run_start(ann("pwd; echo $A; cd /tmp; export A=changed C=new; exit 7"), b"").await;
    got.expect("/usr/share\na\n", "", 7);
    assert_eq!((got.exited.working_directory.as_str(), got.exited.generation), ("/usr/share", 1));
    s.run_start(ann("f"), b"").await;
    s.run("trap 'echo trapped' EXIT; (exit 7)").await;
    s.run("echo $? $A $B ${C-unset}; f; pwd; id -un").await.expect("7 a b unset\nfn\n/usr/share\nroot\n", "", 0);
    let env = [("D".to_owned(), "own".to_owned()), ("HOME".to_owned(), "/h".to_owned())].into();
    let start = ExecStart { env, working_directory: "/tmp".into(), ..ann("echo $D $HOME $A; pwd") };
    s.run_start(start, b"").await.expect("own /h a\n/tmp\n", "", 0);
    s.run("echo ${D-unset} $HOME; pwd").await.expect("unset /root\n/usr/share\n", "", 0);
    s.run_start(ann("cat"), b"typed").await.expect("typed", "", 0);
    // Where the user may not go, and where nobody can.
    s.run("cd /root").await.expect("", "", 0);
    s.run_start(ann("pwd"), b"").await.expect("/\n", "", 0);
    let nowhere = ExecStart { working_directory: "/nosuch".into(), ..ann("echo ran") };
    let got = s.run_start(nowhere, b"").await;
    assert!(got.stdout.is_empty() && got.exit_code() == 126 && got.err().contains("/nosuch"), "{got:?}");
    // A directory that was asked for is not replaced by another one.
    let closed = ExecStart { working_directory: "/root".into(), ..ann("echo ran") };
    let got = s.run_start(closed, b"").await;
    assert!(got.stdout.is_empty() && got.exit_code() == 126 && got.err().contains("/root"), "{got:?}");
    // The background is the session's.
    s.run_start(ann("sleep 1020 & echo up"), b"").await.expect("up\n", "", 0);
    let request = v1::ListProcessesRequest { session_id: s.id.clone(), ..Default::default() };
    let mut sleeping = None;
    until("a background process", async || {
        let mut sessions = s.sandbox.clients.sessions.clone();
        let listed = within("a list", sessions.list_processes(request.clone())).await.unwrap().into_inner().processes;
        sleeping = listed.into_iter().find(|process| process.command == "sleep 1020").map(|process| process.pid);
        sleeping.is_some()
    })
    .await;
    let sleeping = sleeping.expect("it was found");
    s.alive().await;
    s.close().await;
    s.sandbox.run(&format!("kill -0 {sleeping} 2>/dev/null")).await.expect("", "", 1);
}

async fn a_session_may_be_another_users(at: At) {
    at.shell.require();
    let sandbox = with_ann(at.runtime).await;
    let shell = at.shell.path().to_owned();
    let s = sandbox.open(v1::CreateSessionRequest { user: "ann".into(), shell, ..sandbox.ask_session() }).await;
    s.run(WHO).await.expect(ANN, "", 0);
    s.run("cd /home/ann; export A=a; (exit 3)").await.expect("", "", 3);
    s.run("echo $? $A; pwd").await.expect("3 a\n/home/ann\n", "", 0);
    let timeout = Some(Duration { seconds: 0, nanos: 300_000_000 });
    let got = s.run_start(ExecStart { timeout, ..s.start("sleep 1000; echo no") }, b"").await;
    assert!(got.reason() == Reason::TimedOut && got.stdout.is_empty(), "{got:?}");
    // A new shell is ann's too.
    s.run("exit 4").await.expect_shell_exit(4, 0, 2);
    s.run("id -un; echo $A; pwd").await.expect("ann\na\n/home/ann\n", "", 0);
    let start = ExecStart { user: "root".into(), ..s.start("id -un") };
    s.run_start(start, b"").await.expect("root\n", "", 0);
    s.alive().await;
}

async fn it_ends_as_any_command(at: At) {
    at.shell.require();
    let s = with_ann(at.runtime).await.session(at.shell.path()).await;
    let ann = |text: &str| ExecStart { user: "ann".into(), ..s.start(text) };
    let timeout = Some(Duration { seconds: 0, nanos: 500_000_000 });
    let got = s.run_start(ExecStart { timeout, ..ann("echo up; sleep 1000; echo no") }, b"").await;
    assert!(got.reason() == Reason::TimedOut && got.out() == "up\n", "{got:?}");
    let mut running = s.exec(ann("echo up; sleep 1000; echo no")).await;
    running.until_out("up\n").await;
    running.signal(libc::SIGINT).await;
    let got = running.finish().await;
    assert!(got.exit_code() == 130 && got.out() == "up\n", "{got:?}");
    let mut running = s.exec(ann("echo up; while :; do :; done")).await;
    running.until_out("up\n").await;
    let cancel = v1::SignalCommandRequest { command_id: running.got.command_id.clone(), signal: 0 };
    within("a cancel", s.sandbox.clients.sessions.clone().signal_command(cancel)).await.unwrap();
    assert_eq!(running.finish().await.reason(), Reason::Cancelled);
    s.run("echo $?").await.expect("130\n", "", 0);
    s.alive().await;
    let mut running = s.exec(ann("echo up; sleep 1000")).await;
    running.until_out("up\n").await;
    s.close().await;
    assert_eq!(running.finish().await.reason(), Reason::Cancelled);
}
