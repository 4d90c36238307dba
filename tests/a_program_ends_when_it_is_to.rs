//! A program without a shell ends when its client, its time or its sandbox says so, however it resists, and what it started ends with it.

use crate::{
    a_program_runs_exactly_as_asked::{argv, cancel, run},
    kit::{Runtime, host, token, v1, within},
};
use v1::{ExecStart, Pty, exited::Reason};

crate::in_every_runtime!(
    it_is_signalled_cancelled_and_timed_out,
    it_is_ended_however_it_resists,
    what_it_started_ends_with_it,
);

const TRAP: &str = "trap 'echo int; exit 3' INT; echo ready; while :; do sleep 0.05; done";

async fn it_is_signalled_cancelled_and_timed_out(on: Runtime) {
    let sandbox = on.sandbox().await;
    let mut running = sandbox.exec(argv(&sandbox, &["sh", "-c", TRAP])).await;
    running.until_out("ready\n").await;
    running.signal(libc::SIGINT).await;
    running.finish().await.expect("ready\nint\n", "", 3);
    let running = sandbox.exec(argv(&sandbox, &["sleep", "1000"])).await;
    running.signal(libc::SIGKILL).await;
    let got = running.finish().await;
    assert_eq!((got.exit_code(), got.exited.signal, got.reason()), (137, 9, Reason::Signaled), "{got:?}");
    let running = sandbox.exec(argv(&sandbox, &["sleep", "1000"])).await;
    cancel(&sandbox, &running.got.command_id).await;
    let got = running.finish().await;
    assert_eq!((got.exit_code(), got.reason()), (130, Reason::Cancelled), "{got:?}");
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
    let got = run(&sandbox, ExecStart { timeout, ..argv(&sandbox, &["sleep", "1000"]) }).await;
    assert_eq!((got.exit_code(), got.reason()), (130, Reason::TimedOut), "{got:?}");
    // What ended well although it was told to end is no success.
    let polite = "trap 'exit 0' INT; while :; do sleep 0.05; done";
    let got = run(&sandbox, ExecStart { timeout, ..argv(&sandbox, &["sh", "-c", polite]) }).await;
    assert_eq!((got.exit_code(), got.reason()), (130, Reason::TimedOut), "{got:?}");
    // A call that is lost.
    let word = token();
    let lost = ExecStart { cancel_on_disconnect: true, ..argv(&sandbox, &["sh", "-c", "sleep 10000; :", &word]) };
    let running = sandbox.exec(lost).await;
    within::until("a program", async || !host::with_argument(&word).is_empty()).await;
    drop(running.lose());
    within::until("the end of a program whose call is lost", async || host::with_argument(&word).is_empty()).await;
}

async fn it_is_ended_however_it_resists(on: Runtime) {
    let sandbox = on.sandbox().await;
    let kill_grace = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
    let deaf = "trap '' INT TERM HUP; setsid sleep 10000 & echo ready; while :; do sleep 0.05; done";
    for pty in [None, Some(Pty::default())] {
        let word = token();
        let start = ExecStart { kill_grace, pty: pty.clone(), ..argv(&sandbox, &["sh", "-c", deaf, &word]) };
        let mut running = sandbox.exec(start).await;
        if pty.is_some() {
            running.until_tty("ready").await;
        } else {
            running.until_out("ready\n").await;
        }
        cancel(&sandbox, &running.got.command_id).await;
        let got = running.finish().await;
        assert_eq!((got.exit_code(), got.reason()), (137, Reason::Cancelled), "{got:?}");
        within::until("nothing of it", async || host::with_argument(&word).is_empty()).await;
    }
    // One that has stopped itself.
    let running = sandbox.exec(ExecStart { kill_grace, ..argv(&sandbox, &["sh", "-c", "kill -STOP $$"]) }).await;
    cancel(&sandbox, &running.got.command_id).await;
    assert_eq!(running.finish().await.reason(), Reason::Cancelled);
    // A sandbox that ends.
    let mut running = sandbox.exec(argv(&sandbox, &["sleep", "1000"])).await;
    sandbox.delete().await;
    running.until("the end", |r| r.ended).await;
    assert_eq!(running.got.reason(), Reason::SandboxStopped);
}

async fn what_it_started_ends_with_it(on: Runtime) {
    let sandbox = on.sandbox().await;
    let word = token();
    let script = format!("setsid sh -c 'sleep 10000; :' {word} & sh -c 'sleep 10000; :' {word} & echo on");
    run(&sandbox, argv(&sandbox, &["sh", "-c", &script])).await.expect("on\n", "", 0);
    // It was ended before the end was reported.
    assert!(host::with_argument(&word).is_empty());
    let request = v1::ListSessionsRequest { sandbox_id: sandbox.id.clone(), ..Default::default() };
    let listed = sandbox.clients.sessions.clone().list_sessions(request).await.expect("a list").into_inner();
    assert!(listed.sessions.is_empty(), "a direct execution is not a session: {listed:?}");
}
