//! Sandboxes are created again and again and forgotten; when they were released, the server is as it was before.
//! `SANDSHELL_SOAK_SECONDS=600` makes it ten minutes.

use crate::kit::{Options, Server, host, v1, within};
use std::{path::Path, time::Duration};
use v1::{CreateSandboxRequest, CreateSessionRequest, Lifetime, RunRequest, exec_start::Target};

const CREATIONS_A_MINUTE: u32 = 200;

#[derive(Debug)]
struct Size {
    memory: u64,
    descriptors: usize,
    disk: u64,
    processes: usize,
}

impl Size {
    fn of(server: &Server) -> Self {
        let all = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("descriptors");
        // A connection to the database that was once needed is kept; there are few of them.
        let is_database = |path: &Path| path.to_string_lossy().contains("/sandshell.db");
        let links = all.flatten().map(|entry| std::fs::read_link(entry.path()));
        let descriptors = links.filter(|link| !link.as_ref().is_ok_and(|path| is_database(path))).count();
        let processes = host::with_argument(&server.data_dir().to_string_lossy()).len();
        Self { memory: host::memory(server.pid()), descriptors, disk: disk(server.data_dir()), processes }
    }
}

fn disk(dir: &Path) -> u64 {
    let mut total = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => total += disk(&entry.path()),
            Ok(meta) => total += meta.len(),
            Err(_) => {}
        }
    }
    total
}

async fn create_and_forget(server: &Server) {
    let mut clients = server.connect().await;
    let lifetime = Some(Lifetime { ttl: None, idle_timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }) });
    let request = CreateSandboxRequest { lifetime, ..Default::default() };
    let sandbox_id = within("a sandbox", clients.sandboxes.create_sandbox(request)).await.expect("a sandbox");
    let sandbox_id = sandbox_id.into_inner().sandbox_id;
    let request = CreateSessionRequest { sandbox_id, ..Default::default() };
    let session = within("a session", clients.sessions.create_session(request)).await.expect("a session").into_inner();
    let command = "head -c 1000000 /dev/zero >/tmp/file; (sleep 1000 &); echo done".to_owned();
    let start = v1::ExecStart { target: Some(Target::SessionId(session.session_id)), command, ..Default::default() };
    let request = RunRequest { start: Some(start), ..Default::default() };
    let answer = within("a command", clients.sessions.run(request)).await.expect("a command").into_inner();
    assert_eq!(answer.stdout, "done\n");
}

async fn all_are_released(server: &Server) {
    within::until("all sandboxes to be released", async || {
        let listed = server.connect().await.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await;
        listed.expect("a list").into_inner().total_size == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_returns_to_the_start() {
    let seconds = std::env::var("SANDSHELL_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let server = std::sync::Arc::new(Server::start(Options::default()));
    // What is made once and kept.
    for _ in 0..20 {
        create_and_forget(&server).await;
    }
    all_are_released(&server).await;
    let before = Size::of(&server);
    let mut pace = tokio::time::interval(Duration::from_secs(60) / CREATIONS_A_MINUTE);
    let count = seconds * CREATIONS_A_MINUTE / 60;
    let mut work = tokio::task::JoinSet::new();
    for _ in 0..count {
        pace.tick().await;
        let server = server.clone();
        work.spawn(async move { create_and_forget(&server).await });
    }
    while let Some(done) = work.join_next().await {
        done.expect("a creation");
    }
    all_are_released(&server).await;
    within::until("the descriptors of closed connections", async || {
        Size::of(&server).descriptors <= before.descriptors
    })
    .await;
    let after = Size::of(&server);
    println!("{count} sandboxes in {seconds} s; before: {before:?}, after: {after:?}");
    assert_eq!(after.processes, before.processes, "processes");
    // The database keeps what it once needed, and the allocator too.
    assert!(after.disk < before.disk + (4 << 20), "disk: {before:?}, {after:?}");
    assert!(after.memory < before.memory + (16 << 20), "memory: {before:?}, {after:?}");
}
