//! When a session closes, everything that it started dies, however detached, and nothing else does.

use crate::kit::{At, Running, Runtime, create_sandbox, errors::expect_error, host, token, v1, within};
use tonic::Code;
use v1::exited::Reason;

crate::in_every_shell!(daemons_go_with_their_session, a_running_command_is_cancelled, earlier_shells_children_go_too);

mod under_a_fork_bomb {
    use super::{a_bomb_of_daemons_ends, a_bomb_of_shells_ends, a_bomb_that_flees_ends};
    crate::in_every_runtime!(a_bomb_of_shells_ends, a_bomb_of_daemons_ends, a_bomb_that_flees_ends);
}

const DAEMON: &str = "import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        time.sleep(10000)
    os._exit(0)
os.wait()";

async fn daemons_go_with_their_session(at: At) {
    let sandbox = at.sandbox().await;
    let (s, other) = (sandbox.session(at.shell.path()).await, sandbox.session(at.shell.path()).await);
    let (mine, theirs) = (token(), token());
    let start = |word: &str| {
        format!(
            "setsid sh -c 'sleep 10000; :' {word}-setsid & \
             nohup sh -c 'sleep 10000; :' {word}-nohup >/dev/null 2>&1 & \
             (sh -c 'sleep 10000; :' {word}-double &) ; \
             sh -c 'trap \"\" HUP INT TERM; while :; do sleep 1; done' {word}-deaf & \
             sh -c 'kill -STOP $$; :' {word}-stopped & \
             /usr/bin/python3 -c '{DAEMON}' {word}-daemon"
        )
    };
    for (session, word) in [(&s, &mine), (&other, &theirs)] {
        session.run(start(word)).await;
        within::until("six of them", async || host::with_argument(word).len() >= 6).await;
    }
    s.close().await;
    let left: Vec<_> = host::with_argument(&mine).into_iter().map(host::arguments).collect();
    assert!(left.is_empty(), "left after CloseSession had answered: {left:?}");
    // A shell that is just starting something counts twice, so there may be more.
    assert!(host::with_argument(&theirs).len() >= 6, "another session's processes are untouched");
    other.alive().await;
    let mut sessions = sandbox.clients.sessions.clone();
    let gone = sessions.get_session(v1::GetSessionRequest { session_id: s.id.clone() }).await;
    expect_error(&gone.expect_err("it is closed"), Code::NotFound, "SESSION_NOT_FOUND");
    expect_error(&s.refused(s.start("true")).await, Code::NotFound, "SESSION_NOT_FOUND");
    let listed =
        sessions.list_sessions(v1::ListSessionsRequest { sandbox_id: sandbox.id.clone(), ..Default::default() });
    let listed = listed.await.expect("a list").into_inner();
    assert_eq!(listed.sessions.len(), 1);
    assert_eq!(listed.sessions[0].session_id, other.id);
}

async fn a_running_command_is_cancelled(at: At) {
    let s = at.session().await;
    let mut running = s.exec_text("echo up; sleep 10000").await;
    running.until_out("up\n").await;
    let watcher = Running::attach(
        &s.sandbox.clients,
        v1::AttachRequest { command_id: running.got.command_id.clone(), ..Default::default() },
    )
    .await;
    let queued = s.exec_text("echo never").await;
    s.close().await;
    for (stream, out) in [(running, "up\n"), (watcher, "up\n"), (queued, "")] {
        let got = stream.finish().await;
        assert_eq!((got.reason(), got.out().as_str()), (Reason::Cancelled, out), "{got:?}");
    }
}

async fn earlier_shells_children_go_too(at: At) {
    let s = at.session().await;
    let word = token();
    s.run(format!("setsid sh -c 'sleep 10000; :' {word} & sh -c 'sleep 10000; :' {word} &")).await;
    s.run("exit 0").await.expect_shell_exit(0, 0, 2);
    s.run("kill -9 $$").await.expect_shell_exit(137, 9, 3);
    s.run(format!("setsid sh -c 'sleep 10000; :' {word} &")).await;
    within::until("the last one", async || !host::with_argument(&word).is_empty()).await;
    s.close().await;
    assert_eq!(host::with_argument(&word).len(), 0);
}

/// Each part starts two more, and ends.
async fn a_bomb_of_shells_ends(on: Runtime) {
    ends(on, |word| format!("bash -c 'bomb() {{ bomb | bomb & }}; bomb; sleep 10000' {word}")).await;
}

/// Each part is alone in a session of its own, and none of them ever ends.
async fn a_bomb_of_daemons_ends(on: Runtime) {
    let program = "import os
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: pass";
    ends(on, |word| format!("/usr/bin/python3 -c '{program}' {word}")).await;
}

/// Each part leaves its session, and lives on as its child alone.
async fn a_bomb_that_flees_ends(on: Runtime) {
    let program = "import os
for _ in range(6):
    if os.fork() == 0: os.setsid()
while True:
    try:
        if os.fork() != 0: os._exit(0)
        os.setsid()
    except OSError: pass";
    ends(on, |word| format!("/usr/bin/python3 -c '{program}' {word}")).await;
}

async fn ends(on: Runtime, bomb: impl Fn(&str) -> String) {
    // Enough of them to be busy without end, and few enough to leave something of the machine to others.
    let resources = Some(v1::Resources { max_processes: Some(100), ..Default::default() });
    let sandbox = create_sandbox(on.shared(), v1::CreateSandboxRequest { resources, ..on.request() }).await;
    let (s, other) = (sandbox.session("/bin/bash").await, sandbox.session("").await);
    let word = token();
    let running = s.exec_text(bomb(&word)).await;
    within::until("a good many", async || host::with_argument(&word).len() > 10).await;
    s.close().await;
    let left: Vec<_> = host::with_argument(&word).into_iter().map(host::arguments).collect();
    assert!(left.is_empty(), "left after CloseSession had answered: {left:?}");
    // Where each part ends when it has started the next, the first may have ended before.
    let reason = running.finish().await.reason();
    assert!([Reason::Cancelled, Reason::Exited].contains(&reason), "{reason:?}");
    other.alive().await;
}
