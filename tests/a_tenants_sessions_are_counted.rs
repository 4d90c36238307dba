//! A tenant's limit of sessions holds in all of its sandboxes together, for direct executions too, and nobody waits for an agent
//! that does not answer.

use crate::{
    in_every_runtime,
    kit::{Running, Runtime, Sandbox, Server, cli, create_sandbox, errors::expect_error, host, token, v1, within},
};
use futures_util::future::join_all;
use tonic::{Code, Status};
use v1::{ExecStart, exec_start::Target};

in_every_runtime!(
    a_frozen_agent_holds_up_only_who_calls_it,
    any_number_at_once_keeps_the_limit,
    direct_executions_count_as_long_as_they_run,
    a_place_is_free_as_soon_as_its_session_is_over,
    a_repeated_call_finds_what_the_first_has_made,
);

/// A server whose default tenant may have so many sessions.
fn limited(runtime: Runtime, most: &str) -> Server {
    let server = Server::start(runtime.options());
    set_limit(&server, most);
    server
}

fn set_limit(server: &Server, most: &str) {
    let data = server.data_dir().to_str().unwrap();
    cli::prints(&["tenant", "limit", "default", "--max-sessions", most, "--data-dir", data]);
}

async fn open(server: &Server, sandbox: &Sandbox) -> Result<v1::Session, Status> {
    let request = v1::CreateSessionRequest { sandbox_id: sandbox.id.clone(), ..Default::default() };
    server.connect().await.sessions.create_session(request).await.map(tonic::Response::into_inner)
}

async fn close(server: &Server, session: v1::Session) {
    let request = v1::CloseSessionRequest { session_id: session.session_id };
    server.connect().await.sessions.close_session(request).await.unwrap();
}

fn too_many<T>(result: Result<T, Status>) {
    expect_error(&result.err().expect("one too many"), Code::ResourceExhausted, "TOO_MANY_SESSIONS");
}

/// A command that runs until its input ends.
fn cat(sandbox: &Sandbox) -> ExecStart {
    let target = Some(Target::SandboxId(sandbox.id.clone()));
    ExecStart { command: "cat".into(), stdin: true, target, ..Default::default() }
}

async fn a_frozen_agent_holds_up_only_who_calls_it(runtime: Runtime) {
    let server = limited(runtime, "4");
    let frozen = create_sandbox(&server, runtime.request()).await;
    let other = create_sandbox(&server, runtime.request()).await;
    let mark = token();
    frozen.session("").await.run(format!("touch /tmp/{mark}")).await.expect("", "", 0);
    let agent = host::agent_with_file(&format!("/tmp/{mark}"));
    host::signal(agent, libc::SIGSTOP);
    let stuck = {
        let mut sessions = server.connect().await.sessions;
        let request = v1::CreateSessionRequest { sandbox_id: frozen.id.clone(), ..Default::default() };
        tokio::spawn(async move { sessions.create_session(request).await })
    };
    // It has its place when one more is one too many.
    let mut opened = vec![open(&server, &other).await.expect("there is room")];
    fill(&server, &other, &mut opened).await;
    // The session of the frozen agent counts twice as long as its agent cannot be asked whether it counts it already.
    assert!(
        (1..=2).contains(&opened.len()),
        "{} sessions beside the one that is open and the one that is stuck",
        opened.len()
    );
    close(&server, opened.pop().unwrap()).await;
    opened.push(open(&server, &other).await.expect("what was closed makes room"));
    // All that went on while one call was stuck.
    assert!(!stuck.is_finished(), "{:?}", stuck.await);
    host::signal(agent, libc::SIGCONT);
    let mut there = 1 + usize::from(within("the answer of an agent that goes on", stuck).await.unwrap().is_ok());
    fill(&server, &frozen, &mut opened).await;
    there += opened.len();
    assert_eq!(there, 4, "an agent that answers again is counted exactly");
}

/// Opens sessions until there are too many.
async fn fill(server: &Server, sandbox: &Sandbox, opened: &mut Vec<v1::Session>) {
    within::until("the limit", async || match open(server, sandbox).await {
        Ok(session) => {
            opened.push(session);
            false
        }
        Err(status) => {
            too_many::<()>(Err(status));
            true
        }
    })
    .await;
}

async fn any_number_at_once_keeps_the_limit(runtime: Runtime) {
    let server = limited(runtime, "3");
    let sandboxes =
        [create_sandbox(&server, runtime.request()).await, create_sandbox(&server, runtime.request()).await];
    let opened = join_all((0..16).map(|n| open(&server, &sandboxes[n % 2]))).await;
    let (opened, refused): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!(opened.len(), 3);
    refused.into_iter().for_each(too_many);
    for session in opened {
        close(&server, session.unwrap()).await;
        open(&server, &sandboxes[0]).await.expect("one was closed");
        too_many(open(&server, &sandboxes[1]).await);
    }
}

async fn direct_executions_count_as_long_as_they_run(runtime: Runtime) {
    let server = limited(runtime, "2");
    let sandbox = create_sandbox(&server, runtime.request()).await;
    let clients = server.connect().await;
    let started = join_all((0..10).map(|_| Running::try_start(&clients, cat(&sandbox)))).await;
    let (running, refused): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
    assert_eq!(running.len(), 2);
    refused.into_iter().for_each(too_many);
    too_many(open(&server, &sandbox).await);
    // One whose client is lost goes on, and counts.
    let mut running: Vec<_> = running.into_iter().map(Result::unwrap).collect();
    drop(running.pop().unwrap().lose());
    too_many(Running::try_start(&clients, cat(&sandbox)).await);
    let last = running.pop().unwrap();
    last.close_stdin().await;
    last.finish().await.expect("", "", 0);
    let session = open(&server, &sandbox).await.expect("one has ended");
    too_many(Running::try_start(&clients, cat(&sandbox)).await);
    close(&server, session).await;
}

async fn a_place_is_free_as_soon_as_its_session_is_over(runtime: Runtime) {
    let server = limited(runtime, "1");
    let sandbox = create_sandbox(&server, runtime.request()).await;
    for n in 0..20 {
        sandbox.run(&format!("echo {n}")).await.expect(format!("{n}\n"), "", 0);
        let session = open(&server, &sandbox).await.expect("the execution is over");
        close(&server, session).await;
    }
}

async fn a_repeated_call_finds_what_the_first_has_made(runtime: Runtime) {
    let server = limited(runtime, "2");
    let sandbox = create_sandbox(&server, runtime.request()).await;
    let mut sessions = server.connect().await.sessions;
    let request = v1::CreateSessionRequest { request_id: token(), ..sandbox.ask_session() };
    let first = sessions.create_session(request.clone()).await.expect("there is room").into_inner();
    let start = ExecStart { request_id: token(), ..cat(&sandbox) };
    let running = Running::try_start(&sandbox.clients, start.clone()).await.expect("there is room");
    too_many(open(&server, &sandbox).await);
    // Whoever does not know whether the first call has arrived is answered as if it had been the only one.
    let again = sessions.create_session(request.clone()).await.expect("the same session").into_inner();
    assert_eq!(again.session_id, first.session_id);
    let again = Running::try_start(&sandbox.clients, start.clone()).await.expect("the same command");
    assert_eq!(again.got.command_id, running.got.command_id);
    // What nobody has asked for before is refused as ever, and its id is free then.
    let new = v1::CreateSessionRequest { request_id: token(), ..request };
    too_many(sessions.create_session(new.clone()).await);
    too_many(Running::try_start(&sandbox.clients, ExecStart { request_id: token(), ..start }).await);
    close(&server, first).await;
    sessions.create_session(new).await.expect("there is room");
}
