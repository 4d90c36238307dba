//! Calls of every method are cancelled at random instants. Afterwards nothing of them is left: no process, descriptor, row,
//! directory or control group, no place of a limit, and every request id can be used.
//!
//! `SANDSHELL_TEST_CANCELLATIONS=10000` makes it so many calls.

mod left;
mod method;
mod stage;

use crate::kit::{
    Dice, LONG, Options, Runtime, Sandbox, Server, cli, create_sandbox, errors, host, token, within, within_time,
};
use left::{Left, inside, left_of_sandboxes};
use method::{
    METHODS,
    Method::{self, *},
};
use stage::Stage;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn on_linux() {
    cancelled_calls_leave_nothing(Runtime::Linux).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn on_docker() {
    cancelled_calls_leave_nothing(Runtime::Docker).await;
}

/// Calls at one time.
const AT_ONCE: usize = 12;

/// What the tenant may have, so that a place that is not given back is missed.
const MOST_SANDBOXES: usize = 40;
const MOST_SESSIONS: usize = 60;

/// Processes in a sandbox with one session in which nothing runs: the agent, its starter, the shell, and the process that waits
/// to hold the next program.
const AT_REST: usize = 4;

fn count(runtime: Runtime) -> usize {
    let asked = std::env::var("SANDSHELL_TEST_CANCELLATIONS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if runtime == Runtime::Linux { 1200 } else { 100 })
}

async fn cancelled_calls_leave_nothing(runtime: Runtime) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(Options { data_dir: Some(dir.path().to_owned()), ..runtime.options() });
    let data = dir.path().to_str().expect("a path");
    let (sandboxes, sessions) = (MOST_SANDBOXES.to_string(), MOST_SESSIONS.to_string());
    let limits = ["--max-sandboxes", &sandboxes, "--max-sessions", &sessions, "--data-dir", data];
    cli::prints(&[&["tenant", "limit", "default"], &limits[..]].concat());

    let base = create_sandbox(&server, runtime.request()).await;
    let session = base.session("").await;
    let mark = token();
    session.run(format!("touch /tmp/{mark}")).await.expect("", "", 0);
    let agent = host::agent_with_file(&format!("/tmp/{mark}"));
    let command_id = session.exec_text("echo over").await.finish().await.command_id;
    let stage = Arc::new(Stage {
        clients: server.connect().await,
        runtime,
        sandbox_id: base.id.clone(),
        session_id: session.id.clone(),
        command_id,
    });
    // What is made once and kept: one call of each, to its end.
    for &method in METHODS {
        let id = stage.prepare(method).await.expect("something to call on");
        let call = stage.call(method, &id);
        if method == WatchSandbox {
            let _ = timeout(Duration::from_millis(100), call).await;
        } else if let Err(status) = within_time(LONG, "a call", call).await {
            assert_eq!((method, status.code()), (SignalCommand, Code::FailedPrecondition), "{status:?}");
        }
    }
    stage.tidy().await;
    // As many at once as later: connections to the database and pipes of a busy session are made once and kept.
    cancel_many(&stage, count(runtime) / 4).await;
    stage.tidy().await;
    within::until("the end of the first calls' programs", async || inside(agent) <= AT_REST).await;
    let before = Left::now(&stage, &server, agent).await;

    let used = cancel_many(&stage, count(runtime)).await;
    // Every request id can be used: for the same, because what came of it nobody knows.
    for (id, method) in used {
        stage.persist(method, &id).await;
        if matches!(method, CreateSandbox | CreateAndWatchSandbox) {
            stage.tidy().await;
        }
    }
    stage.tidy().await;

    let mut last = None;
    let look = async || {
        let now = Left::now(&stage, &server, agent).await;
        let same = now.is_no_more_than(&before);
        if last.as_ref() != Some(&now) {
            println!("before: {before:?}\nnow:    {now:?}");
        }
        last = Some(now);
        same
    };
    within::until("no more than there was before", look).await;
    limits_are_free(&stage, &base).await;

    base.delete().await;
    assert_eq!(left_of_sandboxes(runtime, dir.path()), [""; 0]);
}

/// Makes so many calls and cancels each at a random instant. Returns the request ids that were used, and for what.
async fn cancel_many(stage: &Arc<Stage>, calls: usize) -> BTreeMap<String, Method> {
    let mut dice = Dice::new();
    let (turns, mut work) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    let mut used = BTreeMap::new();
    for n in 0..calls {
        let method = METHODS[dice.below(METHODS.len() as u64) as usize];
        // Most calls take a millisecond or ten, some a hundred.
        let most = [500, 3_000, 20_000, 150_000][dice.below(4) as usize];
        let instant = Duration::from_micros(dice.below(most));
        let turn = turns.clone().acquire_owned().await.expect("a turn");
        let on = stage.clone();
        work.spawn(async move {
            let _turn = turn;
            let id = match on.prepare(method).await {
                Ok(id) => id,
                // The limits are the tenant's, and others' calls are in the way.
                Err(status) => {
                    let busy = matches!(status.code(), Code::ResourceExhausted | Code::Unavailable);
                    assert!(busy, "{method:?}: {status:?}");
                    return None;
                }
            };
            let _ = timeout(instant, on.call(method, &id)).await;
            matches!(
                method,
                CreateSandbox | CreateAndWatchSandbox | ExecDirect | ExecInSession | RunDirect | RunInSession
            )
            .then_some((id, method))
        });
        while let Some(done) = work.try_join_next() {
            used.extend(done.expect("a call"));
        }
        if n % 100 == 99 {
            // What was made by calls that came to their end is not to fill the limits.
            while let Some(done) = work.join_next().await {
                used.extend(done.expect("a call"));
            }
            stage.tidy().await;
        }
    }
    while let Some(done) = work.join_next().await {
        used.extend(done.expect("a call"));
    }
    used
}

/// The tenant can have all that it may, and no more.
async fn limits_are_free(stage: &Stage, base: &Sandbox) {
    let open = stage.session_ids().await.len();
    for _ in open..MOST_SESSIONS {
        stage.create_session().await.expect("a place for a session");
    }
    let refused = stage.create_session().await.expect_err("one session too many");
    errors::expect_error(&refused, Code::ResourceExhausted, "TOO_MANY_SESSIONS");
    let clients = &stage.clients;
    let create = async || clients.sandboxes.clone().create_sandbox(stage.runtime.request()).await;
    let some = if stage.runtime == Runtime::Linux { MOST_SANDBOXES } else { 1 };
    if some < MOST_SANDBOXES {
        // Forty containers take long; the rows are counted all the same.
        return stage.tidy().await;
    }
    assert_eq!(stage.sandbox_ids().await, std::slice::from_ref(&base.id));
    for _ in 1..some {
        create().await.expect("a place for a sandbox");
    }
    errors::expect_error(&create().await.expect_err("one too many"), Code::ResourceExhausted, "TOO_MANY_SANDBOXES");
    stage.tidy().await;
}
