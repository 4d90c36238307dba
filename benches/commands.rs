//! Commands: one after another, and many sessions at once.

use crate::{
    Options,
    create::time_of,
    report::{Samples, Table},
    server::Server,
};
use sandshell::api::v1::exec_start::Target;
use std::time::Instant;

const SANDBOXES: usize = 8;
const SESSIONS_IN_EACH: usize = 8;

pub(crate) async fn one_at_a_time(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.client.clone();
    let sandbox = client.create_sandbox().await;
    let session = client.create_session(&sandbox).await.session_id;
    let [mut run, mut sh] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(500) {
        for _ in 0..10 {
            let start = Instant::now();
            client.run_in(&session, "true").await;
            run.push(start.elapsed());
        }
        sh.push(time_of(&["sh", "-c", "true"]));
    }
    client.delete_sandbox(sandbox).await;
    table.times("`Run(\"true\")` in a session", &run, Some(("sh -c true", &sh)));
}

/// Without a session: a program, and a text for a fresh shell.
pub(crate) async fn directly(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.client.clone();
    let sandbox = client.create_sandbox().await;
    let [mut program, mut text, mut sh] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(500) {
        let start = Instant::now();
        client.execute(&sandbox, &["true"]).await;
        program.push(start.elapsed());
        let start = Instant::now();
        client.run(Target::SandboxId(sandbox.clone()), "true").await;
        text.push(start.elapsed());
        sh.push(time_of(&["sh", "-c", "true"]));
    }
    client.delete_sandbox(sandbox).await;
    table.times("direct execution of `argv [\"true\"]`", &program, Some(("sh -c true", &sh)));
    table.times("direct execution of the text `true`", &text, Some(("sh -c true", &sh)));
}

/// In turn on a server that anybody may call and on one with an API key and TLS.
pub(crate) async fn for_a_team(server: &Server, team: &Server, options: &Options, table: &mut Table) {
    let mut places = Vec::new();
    for server in [team, server] {
        let mut client = server.client.clone();
        let sandbox = client.create_sandbox().await;
        let session = client.create_session(&sandbox).await.session_id;
        places.push((client, sandbox, session, Samples::default()));
    }
    for _ in 0..options.samples(5000) {
        for (client, _, session, samples) in &mut places {
            let start = Instant::now();
            client.run_in(session, "true").await;
            samples.push(start.elapsed());
        }
    }
    for (client, sandbox, ..) in &mut places {
        client.delete_sandbox(sandbox.clone()).await;
    }
    let [(.., with), (.., without)] = &places[..] else { unreachable!("two places") };
    table.times("`Run(\"true\")` with an API key and TLS", with, Some(("Run(\"true\") without them", without)));
}

pub(crate) async fn many_sessions(server: &Server, options: &Options, how: &str, table: &mut Table) {
    let runs_each = options.samples(1000);
    let mut sandboxes = Vec::new();
    let mut sessions = Vec::new();
    for _ in 0..SANDBOXES {
        let mut client = server.another_client().await;
        let sandbox = client.create_sandbox().await;
        for _ in 0..SESSIONS_IN_EACH {
            let session = client.create_session(&sandbox).await.session_id;
            sessions.push((client.clone(), session));
        }
        sandboxes.push((client, sandbox));
    }

    let start = Instant::now();
    let work: Vec<_> = sessions
        .into_iter()
        .map(|(mut client, session)| {
            tokio::spawn(async move {
                for n in 0..runs_each {
                    let answer = client.run_in(&session, &format!("echo {session} {n}")).await.stdout;
                    assert_eq!(answer, format!("{session} {n}\n").as_bytes());
                }
            })
        })
        .collect();
    for task in work {
        task.await.unwrap();
    }
    let rate = (SANDBOXES * SESSIONS_IN_EACH * runs_each) as f64 / start.elapsed().as_secs_f64();
    for (mut client, sandbox) in sandboxes {
        client.delete_sandbox(sandbox).await;
    }
    let what = format!("`Run` in {} sessions of {SANDBOXES} sandboxes at once{how}", SANDBOXES * SESSIONS_IN_EACH);
    table.number(&what, &format!("{rate:.0} a second"), "every answer checked");
}
