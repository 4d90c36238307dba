//! A call may be cancelled at any moment. What it had begun is then finished, if its client can still ask for it by its
//! `request_id`, or undone.

use crate::kit::{Clients, Dice, Runtime, Sandbox, errors::expect_error, host, token, v1, within};
use std::{collections::BTreeSet, time::Duration};
use tonic::Code;
use v1::{CreateSessionRequest, ExecStart, ListSessionsRequest, RunRequest, Session, session::State};

crate::in_every_runtime!(
    a_direct_start_can_be_sent_again,
    a_session_that_nobody_heard_of_is_undone,
    a_session_can_be_asked_for_again,
    another_request_under_the_same_id_is_refused,
    an_id_whose_session_was_closed_says_so,
    an_id_whose_request_failed_is_free,
);

/// A client with a connection of its own, so that cancelling is all that its calls share.
async fn client(on: Runtime) -> Clients {
    on.shared().connect().await
}

/// Makes a call and drops it after a moment, or takes its answer when that comes first.
async fn cancel_after<T>(moment: Duration, call: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(moment, call).await.ok()
}

async fn a_direct_start_can_be_sent_again(on: Runtime) {
    let sandbox = on.sandbox().await;
    let mut dice = Dice::new();
    for number in 0..60 {
        let word = token();
        let start = ExecStart {
            request_id: token(),
            ..sandbox.start(format!("echo {number} >>/tmp/{number}; echo {number}; : {word}"))
        };
        for _ in 0..dice.below(3) {
            let request = RunRequest { start: Some(start.clone()), ..Default::default() };
            let mut sessions = client(on).await.sessions;
            cancel_after(Duration::from_micros(dice.below(8000)), sessions.run(request)).await;
        }
        let request = RunRequest { start: Some(start), ..Default::default() };
        let mut sessions = sandbox.clients.sessions.clone();
        let got = within("the end of a start that was sent again", sessions.run(request)).await;
        let got = got.unwrap_or_else(|status| panic!("start {number}: {status:?}")).into_inner();
        assert_eq!(got.stdout, format!("{number}\n").as_bytes());
    }
    // Each has run once.
    let counted = sandbox.run("cat /tmp/[0-9]* | sort -n").await;
    counted.expect((0..60).map(|number| format!("{number}\n")).collect::<String>(), "", 0);
    nothing_is_left_of_direct_starts(&sandbox).await;
}

/// Only the one that looks has a directory and processes: itself, its holder, and the agent.
async fn nothing_is_left_of_direct_starts(sandbox: &Sandbox) {
    within::until("the end of all others", async || {
        let seen = sandbox.run("ls /run/sandshell | wc -l; ls /proc | grep -c '^[0-9]'").await.out();
        let numbers: Vec<u32> = seen.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        numbers.len() == 2 && numbers[0] == 1 && numbers[1] < 10
    })
    .await;
}

async fn a_session_that_nobody_heard_of_is_undone(on: Runtime) {
    let sandbox = on.sandbox().await;
    let s = sandbox.session("").await;
    let word = token();
    // The start-up file never ends, so no session is ever ready, and it does not end with its terminal.
    let file = format!("trap '' HUP INT TERM; echo began >>/tmp/began; sh -c 'while :; do sleep 1000; done' {word}");
    s.run(format!("cat >~/.profile <<'END'\n{file}\nEND")).await.expect("", "", 0);
    let mut dice = Dice::new();
    for number in 0..12 {
        let request = CreateSessionRequest { login: true, ..sandbox.ask_session() };
        let mut sessions = client(on).await.sessions;
        let call = sessions.create_session(request);
        if number % 3 == 0 {
            // The worst moment: everything was started.
            let began = async {
                within::until("a start-up file that runs", async || !host::with_argument(&word).is_empty()).await;
            };
            tokio::select! {
                () = began => {}
                answer = call => panic!("no session can be ready: {answer:?}"),
            }
        } else {
            let answer = cancel_after(Duration::from_micros(dice.below(60_000)), call).await;
            assert!(answer.is_none(), "no session can be ready: {answer:?}");
        }
        let name = format!("the end of what call {number} had started");
        within::until(&name, async || host::with_argument(&word).is_empty()).await;
    }
    s.run("[ $(wc -l </tmp/began) -ge 4 ] && echo enough").await.expect("enough\n", "", 0);
    only_these_are_left(&sandbox, std::slice::from_ref(&s.id)).await;
    // Those that get ready at once, too. An answer that was on its way cannot be called back, so those that are left are
    // those that the list shows.
    s.run("rm ~/.profile").await.expect("", "", 0);
    for _ in 0..60 {
        let mut sessions = client(on).await.sessions;
        let call = sessions.create_session(sandbox.ask_session());
        cancel_after(Duration::from_micros(dice.below(10_000)), call).await;
    }
    for session in listed(&sandbox).await.into_iter().filter(|session| session.session_id != s.id) {
        let request = v1::CloseSessionRequest { session_id: session.session_id };
        within("a session to close", sandbox.clients.sessions.clone().close_session(request))
            .await
            .expect("it is there");
    }
    only_these_are_left(&sandbox, std::slice::from_ref(&s.id)).await;
    s.alive().await;
}

async fn listed(sandbox: &Sandbox) -> Vec<Session> {
    let request = ListSessionsRequest { sandbox_id: sandbox.id.clone(), page_size: 1000, ..Default::default() };
    sandbox.clients.sessions.clone().list_sessions(request).await.expect("a list").into_inner().sessions
}

/// Waits until the sandbox has these sessions alone, in the list as in the file system.
async fn only_these_are_left(sandbox: &Sandbox, ids: &[String]) {
    let wanted: BTreeSet<_> = ids.iter().cloned().collect();
    within::until("these sessions alone", async || {
        let there: BTreeSet<_> = listed(sandbox).await.into_iter().map(|session| session.session_id).collect();
        // The direct execution that looks has a directory too.
        let directories = sandbox.run("ls /run/sandshell | grep -v d | wc -l").await.out();
        there == wanted && directories.trim() == wanted.len().to_string()
    })
    .await;
}

async fn a_session_can_be_asked_for_again(on: Runtime) {
    let sandbox = on.sandbox().await;
    let mut dice = Dice::new();
    let mut ids = Vec::new();
    for _ in 0..40 {
        let request = CreateSessionRequest { request_id: token(), ..sandbox.ask_session() };
        for _ in 0..dice.below(3) {
            let mut sessions = client(on).await.sessions;
            let call = sessions.create_session(request.clone());
            cancel_after(Duration::from_micros(dice.below(10_000)), call).await;
        }
        let (first, again) = (sandbox.open(request.clone()).await, sandbox.open(request).await);
        assert_eq!(first.id, again.id);
        first.alive().await;
        ids.push(first.id);
    }
    only_these_are_left(&sandbox, &ids).await;
    // Two at one time are one session as well.
    let request = CreateSessionRequest { request_id: token(), ..sandbox.ask_session() };
    let (one, other) = tokio::join!(sandbox.open(request.clone()), sandbox.open(request));
    assert_eq!(one.id, other.id);
}

async fn another_request_under_the_same_id_is_refused(on: Runtime) {
    let sandbox = on.sandbox().await;
    let request = CreateSessionRequest {
        request_id: token(),
        env: [("A".into(), "1".into()), ("B".into(), "2".into())].into(),
        ..sandbox.ask_session()
    };
    let s = sandbox.open(request.clone()).await;
    let others = [
        CreateSessionRequest { login: true, ..request.clone() },
        CreateSessionRequest { env: [("A".into(), "1".into())].into(), ..request.clone() },
        CreateSessionRequest { working_directory: "/tmp".into(), ..request.clone() },
    ];
    for other in others {
        let refused = sandbox.clients.sessions.clone().create_session(other).await.expect_err("another request");
        expect_error(&refused, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    }
    assert_eq!(sandbox.open(request).await.id, s.id);
}

async fn an_id_whose_session_was_closed_says_so(on: Runtime) {
    let sandbox = on.sandbox().await;
    let request = CreateSessionRequest {
        request_id: token(),
        on_shell_exit: v1::OnShellExit::Close.into(),
        ..sandbox.ask_session()
    };
    let s = sandbox.open(request.clone()).await;
    s.run("exit 3").await.expect_shell_exit(3, 0, 1);
    // It is there as long as nobody closes it.
    let again = sandbox.open(request.clone()).await;
    assert_eq!((again.id.as_str(), again.described.state()), (s.id.as_str(), State::Closed));
    s.close().await;
    let refused = sandbox.clients.sessions.clone().create_session(request).await.expect_err("it was closed");
    expect_error(&refused, Code::FailedPrecondition, "SESSION_CLOSED");
}

async fn an_id_whose_request_failed_is_free(on: Runtime) {
    let sandbox = on.sandbox().await;
    let good = CreateSessionRequest { request_id: token(), ..sandbox.ask_session() };
    let bad = CreateSessionRequest { shell: "/bin/no-such-shell".into(), ..good.clone() };
    for _ in 0..2 {
        let refused = sandbox.clients.sessions.clone().create_session(bad.clone()).await.expect_err("no such shell");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    sandbox.open(good).await.alive().await;
}
