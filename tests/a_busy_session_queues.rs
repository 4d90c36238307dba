//! Commands given to a busy session wait for their turn, in order, up to a bound.

use crate::kit::{At, Running, Session, errors::expect_error, v1};
use tonic::Code;
use v1::{ExecStart, IfBusy, SignalCommandRequest, command::State, exited::Reason};

crate::in_every_shell!(
    eight_at_once_are_answered_in_order,
    a_client_may_ask_to_be_refused,
    a_waiting_command_can_be_cancelled,
    the_queue_is_bounded,
    the_queue_outlives_a_shell,
    sessions_do_not_wait_for_each_other,
);

/// A command that runs until it is told to end.
async fn blocker(s: &Session) -> Running {
    s.exec(ExecStart { stdin: true, ..s.start("cat") }).await
}

async fn eight_at_once_are_answered_in_order(at: At) {
    let s = at.session().await;
    for _ in 0..5 {
        s.run("rm -f /tmp/order").await;
        let blocked = blocker(&s).await;
        let mut streams = Vec::new();
        for n in 0..8 {
            streams.push(s.exec_text(format!("echo {n} >>/tmp/order; echo {n}")).await);
        }
        blocked.close_stdin().await;
        blocked.finish().await;
        for (n, stream) in streams.into_iter().enumerate() {
            stream.finish().await.expect(format!("{n}\n"), "", 0);
        }
        s.run("cat /tmp/order").await.expect("0\n1\n2\n3\n4\n5\n6\n7\n", "", 0);
    }
    // And with Run, from eight tasks.
    let runs: Vec<_> = (0..8)
        .map(|n| {
            let s = s.clone();
            tokio::spawn(async move { s.run(format!("sleep 0.0{n}; echo {n}; echo e{n} >&2")).await })
        })
        .collect();
    for (n, run) in runs.into_iter().enumerate() {
        run.await.expect("the task").expect(format!("{n}\n"), format!("e{n}\n"), 0);
    }
}

async fn a_client_may_ask_to_be_refused(at: At) {
    let s = at.session().await;
    let refuse = ExecStart { if_busy: IfBusy::Refuse.into(), ..s.start("echo mine") };
    s.run_start(refuse.clone(), b"").await.expect("mine\n", "", 0);
    let blocked = blocker(&s).await;
    expect_error(&s.refused(refuse.clone()).await, Code::FailedPrecondition, "SESSION_BUSY");
    let refused = Running::try_start(&s.sandbox.clients, refuse.clone()).await;
    let Err(refused) = refused else { panic!("a busy session took a command that asked to be refused") };
    expect_error(&refused, Code::FailedPrecondition, "SESSION_BUSY");
    assert_eq!(s.get().await.state(), v1::session::State::Busy);
    blocked.close_stdin().await;
    blocked.finish().await;
    s.run_start(refuse, b"").await.expect("mine\n", "", 0);
    assert_eq!(s.get().await.state(), v1::session::State::Idle);
}

async fn a_waiting_command_can_be_cancelled(at: At) {
    let s = at.session().await;
    let mut sessions = s.sandbox.clients.sessions.clone();
    for signal in [0, 15] {
        let blocked = blocker(&s).await;
        let (unwanted, wanted) = (s.exec_text("touch /tmp/unwanted").await, s.exec_text("echo wanted").await);
        let command_id = unwanted.got.command_id.clone();
        let known = sessions.get_command(v1::GetCommandRequest { command_id: command_id.clone() }).await;
        let known = known.expect("it is known").into_inner();
        assert_eq!(known.state(), State::Queued);
        assert!(known.start_time.is_none() && known.exited.is_none(), "{known:?}");
        assert_eq!(s.get().await.queued_commands, 2);
        sessions.signal_command(SignalCommandRequest { command_id, signal }).await.expect("it waits");
        let got = unwanted.finish().await;
        assert_eq!(got.reason(), Reason::Cancelled, "{got:?}");
        assert!(!blocked.ended);
        assert_eq!(s.get().await.queued_commands, 1);
        blocked.close_stdin().await;
        blocked.finish().await.expect("", "", 0);
        wanted.finish().await.expect("wanted\n", "", 0);
    }
    s.run("ls /tmp/unwanted").await.expect_complaint();
}

async fn the_queue_is_bounded(at: At) {
    let s = at.session().await;
    let blocked = blocker(&s).await;
    let mut taken = 0;
    let refused = loop {
        match Running::try_start(&s.sandbox.clients, s.start("n=$((n + 1))")).await {
            Ok(_stream_dropped) => taken += 1,
            Err(status) => break status,
        }
        assert!(taken < 20_000, "a queue of 20000 is not bounded");
    };
    expect_error(&refused, Code::ResourceExhausted, "QUEUE_FULL");
    assert!(taken >= 8, "only {taken} commands may wait");
    blocked.close_stdin().await;
    blocked.finish().await;
    // All that were taken run, in whatever state their clients are.
    s.run("echo $n").await.expect(format!("{taken}\n"), "", 0);
}

async fn the_queue_outlives_a_shell(at: At) {
    let s = at.session().await;
    let blocked = blocker(&s).await;
    let (first, second) = (s.exec_text("cd /usr; exit 3").await, s.exec_text("pwd").await);
    blocked.close_stdin().await;
    first.finish().await.expect_shell_exit(3, 0, 2);
    second.finish().await.expect("/usr\n", "", 0);
}

async fn sessions_do_not_wait_for_each_other(at: At) {
    let sandbox = at.sandbox().await;
    let (one, two) = (sandbox.session(at.shell.path()).await, sandbox.session(at.shell.path()).await);
    let blocked = blocker(&one).await;
    for _ in 0..10 {
        two.alive().await;
    }
    sandbox.run("echo direct").await.expect("direct\n", "", 0);
    assert!(!blocked.ended);
    blocked.close_stdin().await;
    blocked.finish().await.expect("", "", 0);
}
