//! Calls of every method are cancelled at random instants. Afterwards nothing of them is left: no process, descriptor, row,
//! directory or control group, no place of a limit, and every request id can be used.
//!
//! `SANDSHELL_TEST_CANCELLATIONS=10000` makes it so many calls.

use crate::kit::{
    Clients, Dice, LONG, Options, Runtime, Sandbox, Server, cli, create_sandbox, errors, host, token, v1, within,
    within_time,
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tonic::{Code, Status, Streaming};
use v1::{ExecStart, exec_request::Request as Piece, exec_start::Target};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn on_linux() {
    cancelled_calls_leave_nothing(Runtime::Linux).await;
}

/// Calls at one time.
const AT_ONCE: usize = 12;

/// What the tenant may have, so that a place that is not given back is missed.
const MOST_SANDBOXES: usize = 40;
const MOST_SESSIONS: usize = 60;

/// Descriptors that may be kept for later: connections to the database, pipes of a session whose commands overlapped. What is lost
/// with each call, or with each tenth, is far more.
const KEPT: usize = 12;

/// One call of the many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    CreateSandbox,
    CreateAndWatchSandbox,
    GetSandbox,
    ListSandboxes,
    UpdateSandbox,
    DeleteSandbox,
    GetSandboxStats,
    WatchSandbox,
    CreateSession,
    GetSession,
    ListSessions,
    CloseSession,
    ExecInSession,
    ExecDirect,
    RunInSession,
    RunDirect,
    Attach,
    GetCommand,
    ListCommands,
    SignalCommand,
}

use Method::*;

const METHODS: [Method; 20] = [
    CreateSandbox,
    CreateAndWatchSandbox,
    GetSandbox,
    ListSandboxes,
    UpdateSandbox,
    DeleteSandbox,
    GetSandboxStats,
    WatchSandbox,
    CreateSession,
    GetSession,
    ListSessions,
    CloseSession,
    ExecInSession,
    ExecDirect,
    RunInSession,
    RunDirect,
    Attach,
    GetCommand,
    ListCommands,
    SignalCommand,
];

/// What calls are made on.
struct Stage {
    clients: Clients,
    runtime: Runtime,
    sandbox_id: String,
    session_id: String,
    command_id: String,
}

/// What is counted before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    server_descriptors: usize,
    agent_descriptors: usize,
    processes: usize,
    private_directories: Vec<String>,
    sandboxes: usize,
    sessions: usize,
}

impl Left {
    fn is_no_more_than(&self, before: &Self) -> bool {
        self.server_descriptors <= before.server_descriptors + KEPT
            && self.agent_descriptors <= before.agent_descriptors + KEPT
            && self.processes <= before.processes
            && self.private_directories == before.private_directories
            && (self.sandboxes, self.sessions) == (before.sandboxes, before.sessions)
    }
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

impl Stage {
    fn labels(&self, id: &str) -> v1::CreateSandboxRequest {
        v1::CreateSandboxRequest { request_id: id.to_owned(), ..self.runtime.request() }
    }

    fn start(&self, target: Target, command: &str, id: &str) -> ExecStart {
        ExecStart { target: Some(target), command: command.into(), request_id: id.into(), ..Default::default() }
    }

    fn in_session(&self) -> Target {
        Target::SessionId(self.session_id.clone())
    }

    fn direct(&self) -> Target {
        Target::SandboxId(self.sandbox_id.clone())
    }

    async fn exec(&self, start: ExecStart) -> Result<(), Status> {
        let first = v1::ExecRequest { request: Some(Piece::Start(start)) };
        drain(self.clients.sessions.clone().exec(tokio_stream::once(first)).await?.into_inner()).await
    }

    async fn run(&self, start: ExecStart) -> Result<(), Status> {
        let request = v1::RunRequest { start: Some(start), ..Default::default() };
        self.clients.sessions.clone().run(request).await.map(drop)
    }

    async fn create_session(&self) -> Result<v1::Session, Status> {
        let request = v1::CreateSessionRequest { sandbox_id: self.sandbox_id.clone(), ..Default::default() };
        self.clients.sessions.clone().create_session(request).await.map(tonic::Response::into_inner)
    }

    /// Makes what a call is about, where that is not there already. Not cancelled.
    async fn prepare(&self, method: Method) -> Result<String, Status> {
        match method {
            DeleteSandbox => {
                let made = self.clients.sandboxes.clone().create_sandbox(self.runtime.request()).await?;
                Ok(made.into_inner().sandbox_id)
            }
            CloseSession => Ok(self.create_session().await?.session_id),
            _ => Ok(token()),
        }
    }

    /// One call, to its end. `id` is a request id, or of what [`Stage::prepare`] has made.
    async fn call(&self, method: Method, id: &str) -> Result<(), Status> {
        let (mut sandboxes, mut sessions) = (self.clients.sandboxes.clone(), self.clients.sessions.clone());
        let (sandbox_id, session_id) = (self.sandbox_id.clone(), self.session_id.clone());
        let command_id = self.command_id.clone();
        match method {
            CreateSandbox => sandboxes.create_sandbox(self.labels(id)).await.map(drop),
            CreateAndWatchSandbox => {
                drain(sandboxes.create_and_watch_sandbox(self.labels(id)).await?.into_inner()).await
            }
            GetSandbox => sandboxes.get_sandbox(v1::GetSandboxRequest { sandbox_id }).await.map(drop),
            ListSandboxes => sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.map(drop),
            UpdateSandbox => {
                let labels = [("last".to_owned(), id.to_owned())].into();
                let sandbox = Some(v1::Sandbox { sandbox_id, labels, ..Default::default() });
                let update_mask = Some(prost_types::FieldMask { paths: vec!["labels".into()] });
                sandboxes.update_sandbox(v1::UpdateSandboxRequest { sandbox, update_mask }).await.map(drop)
            }
            DeleteSandbox => {
                sandboxes.delete_sandbox(v1::DeleteSandboxRequest { sandbox_id: id.to_owned() }).await.map(drop)
            }
            GetSandboxStats => sandboxes.get_sandbox_stats(v1::GetSandboxStatsRequest { sandbox_id }).await.map(drop),
            WatchSandbox => {
                drain(sandboxes.watch_sandbox(v1::WatchSandboxRequest { sandbox_id }).await?.into_inner()).await
            }
            CreateSession => self.create_session().await.map(drop),
            GetSession => sessions.get_session(v1::GetSessionRequest { session_id }).await.map(drop),
            ListSessions => {
                let request = v1::ListSessionsRequest { sandbox_id, ..Default::default() };
                sessions.list_sessions(request).await.map(drop)
            }
            CloseSession => {
                sessions.close_session(v1::CloseSessionRequest { session_id: id.to_owned() }).await.map(drop)
            }
            ExecInSession => self.exec(self.start(self.in_session(), "echo in a session", id)).await,
            ExecDirect => self.exec(self.start(self.direct(), "sleep 0.01; echo by itself", id)).await,
            RunInSession => self.run(self.start(self.in_session(), "(sleep 0.02 &); true", id)).await,
            RunDirect => self.run(self.start(self.direct(), "echo by itself", id)).await,
            Attach => {
                let request = v1::AttachRequest { command_id, ..Default::default() };
                drain(sessions.attach(request).await?.into_inner()).await
            }
            GetCommand => sessions.get_command(v1::GetCommandRequest { command_id }).await.map(drop),
            ListCommands => {
                let request = v1::ListCommandsRequest { session_id, ..Default::default() };
                sessions.list_commands(request).await.map(drop)
            }
            SignalCommand => {
                let request = v1::SignalCommandRequest { command_id, signal: libc::SIGWINCH };
                sessions.signal_command(request).await.map(drop)
            }
        }
    }

    async fn sandbox_ids(&self) -> Vec<String> {
        let request = v1::ListSandboxesRequest { page_size: 1000, ..Default::default() };
        let listed = self.clients.sandboxes.clone().list_sandboxes(request).await.expect("a list").into_inner();
        listed.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect()
    }

    async fn session_ids(&self) -> Vec<String> {
        let request =
            v1::ListSessionsRequest { sandbox_id: self.sandbox_id.clone(), page_size: 1000, ..Default::default() };
        let listed = self.clients.sessions.clone().list_sessions(request).await.expect("a list").into_inner();
        listed.sessions.into_iter().map(|session| session.session_id).collect()
    }

    /// Ends what calls have made whose answers nobody waited for, as a client does that lists what it has.
    async fn tidy(&self) {
        for sandbox_id in self.sandbox_ids().await {
            if sandbox_id != self.sandbox_id {
                self.persist(DeleteSandbox, &sandbox_id).await;
            }
        }
        for session_id in self.session_ids().await {
            if session_id != self.session_id {
                self.persist(CloseSession, &session_id).await;
            }
        }
    }

    /// Calls until it succeeds, as a client does that heeds `UNAVAILABLE` and what is still being ended.
    async fn persist(&self, method: Method, id: &str) {
        let persist = async {
            loop {
                match self.call(method, id).await {
                    Ok(()) => return,
                    // It has ended meanwhile; or what the request has made was deleted in `tidy`, and it says so.
                    Err(status)
                        if matches!(method, CloseSession | DeleteSandbox | CreateSandbox | CreateAndWatchSandbox)
                            && status.code() == Code::NotFound =>
                    {
                        return;
                    }
                    Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(status) => panic!("{method:?} with {id}: {status:?}"),
                }
            }
        };
        within_time(LONG, "a call that is repeated", persist).await;
    }

    async fn left(&self, server: &Server, agent: u32) -> Left {
        Left {
            server_descriptors: descriptors(server.pid()),
            agent_descriptors: descriptors(agent),
            processes: inside(agent),
            private_directories: names(Path::new(&format!("/proc/{agent}/root/run/sandshell"))),
            sandboxes: self.sandbox_ids().await.len(),
            sessions: self.session_ids().await.len(),
        }
    }
}

/// Processes in the process namespace of an agent.
fn inside(agent: u32) -> usize {
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(agent);
    host::pids().into_iter().filter(|pid| namespace(*pid) == own).count()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

async fn drain<T>(mut stream: Streaming<T>) -> Result<(), Status> {
    while stream.message().await?.is_some() {}
    Ok(())
}

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
    for method in METHODS {
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
    within::until("the end of the first calls' programs", async || inside(agent) <= 3).await;
    let before = stage.left(&server, agent).await;

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
        let now = stage.left(&server, agent).await;
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

/// What the host would show of a sandbox that was left.
fn left_of_sandboxes(runtime: Runtime, dir: &Path) -> Vec<String> {
    let mut left = host::mounts_with(&dir.to_string_lossy());
    left.extend(walk(dir).into_iter().filter(|path| path.contains("sbx-")));
    if runtime == Runtime::Linux {
        let instance = std::fs::read_to_string(dir.join("instance")).expect("the name of the control groups");
        let of_sandboxes = |path: &String| path.contains(&format!("sandshell-{instance}/")) && path.contains("sbx-");
        left.extend(host::cgroups_with("sbx-").into_iter().filter(of_sandboxes));
    }
    left
}

fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&entry.path()));
        }
    }
    found
}
