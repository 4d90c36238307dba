//! What a session notices of another sandbox that tries everything at once (`tests/hostile/everything.py`), and what that
//! costs the server.

use crate::{
    neighbours::TURNS,
    processes::{self, Pids},
    report::{Samples, Table},
    server::{Client, Server},
};
use sandshell::api::v1::{
    CloseSessionRequest, CreateSandboxRequest, ExecRequest, ExecResponse, ExecStart, GetSessionRequest,
    ListSessionsRequest, Resources, RunRequest, exec_request::Request, exec_response::Response, exec_start::Target,
};
use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
};
use tonic::{Code, Streaming};

const PROGRAM: &str = include_str!("../tests/hostile/everything.py");

/// How long it does its worst in each turn.
const SECONDS: u32 = 6;

/// How often the server's memory is looked at. A look takes the server's own lock of its mappings for a moment.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// In sandboxes of `client`'s image, which has Python.
pub(crate) async fn measure(server: &Server, mut client: Client, runtime: &str, quick: bool, table: &mut Table) {
    let sandbox = client.create_sandbox().await;
    let session = client.create_session(&sandbox).await.session_id;
    // Its client is a program of its own: on the threads of this one it would hold up nobody but ourselves.
    let threads = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let [mut quiet, mut loud] = std::array::from_fn(|_| Samples::default());
    // What the server needs once and keeps is none of the hostile sandbox's doing.
    client.run_in(&session, "true").await;
    let before = memory(server.pid());
    let watch = Watch::over(server.pid());
    for _ in 0..if quick { 2 } else { TURNS } {
        // Long enough for a true p99, and as long as the loud ones: a machine that others use is not quiet for long.
        sample(&mut client, &session, Duration::from_secs(SECONDS.into()), &mut quiet).await;
        let hostile = Hostile::begin(server, threads.handle(), &client.image).await;
        sample(&mut client, &session, Duration::from_secs(SECONDS.into()), &mut loud).await;
        hostile.end().await;
    }
    let highest = watch.highest();
    let request = GetSessionRequest { session_id: session.clone() };
    let there = client.sessions.get_session(request).await.unwrap().into_inner();
    assert_eq!(there.generation, 1, "the neighbour has lost its shell: {there:?}");
    client.run_in(&session, "true").await;
    client.delete_sandbox(sandbox).await;
    threads.shutdown_background();
    table.beside_a_flood(&format!("{runtime}`Run(\"true\")` while a neighbour does its worst"), &loud, &quiet);
    let [before, highest] = [before, highest].map(|kib| format!("{:.1} MiB", kib as f64 / 1024.0));
    let what = format!("{runtime}memory of the server meanwhile, at its highest (PSS)");
    table.number(&what, &highest, &format!("{before} before; both sandboxes answer afterwards"));
}

async fn sample(client: &mut Client, session: &str, time: Duration, samples: &mut Samples) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        let start = Instant::now();
        client.run_in(session, "true").await;
        samples.push(start.elapsed());
    }
}

/// A sandbox that is under attack from inside.
struct Hostile {
    client: Client,
    sandbox: String,
    readers: Vec<JoinHandle<()>>,
}

impl Hostile {
    /// As the test of the same sandbox starts it: in a session whose client reads, in one whose client goes away, and in one
    /// that stops its shell's parent and then ends its shell.
    async fn begin(server: &Server, threads: &Handle, image: &str) -> Self {
        let mut client = server.another_client_on(threads).await;
        client.image = image.to_owned();
        let sandbox = create_sandbox(&mut client).await;
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(client.create_session(&sandbox).await.session_id);
        }
        let [watched, lost, stopped]: [String; 3] = sessions.try_into().unwrap();
        let request = RunRequest {
            start: Some(start(&watched, "cat >/tmp/everything.py")),
            stdin: PROGRAM.as_bytes().into(),
            ..RunRequest::default()
        };
        let brought = client.sessions.run(request).await.unwrap().into_inner();
        assert_eq!(brought.exited.unwrap().exit_code, 0);
        let everything = format!("/usr/bin/python3 /tmp/everything.py /tmp/go {SECONDS}");
        let everything = format!("{everything} & {everything}");
        // All begin before any may take every process, and go on at once.
        let mut streams = Vec::new();
        for session in [&lost, &watched] {
            let mut stream = exec(&mut client, session, &everything).await;
            until_both_have_begun(&mut stream).await;
            streams.push(stream);
        }
        drop(streams.remove(0));
        streams.push(exec(&mut client, &stopped, ": >/tmp/go; kill -STOP $PPID; exit 3").await);
        let read = |mut stream: Streaming<_>| {
            threads.spawn(async move { while let Ok(Some(ExecResponse { .. })) = stream.message().await {} })
        };
        let readers = streams.into_iter().map(read).collect();
        Self { client, sandbox, readers }
    }

    /// Ends what it has started: then it is a sandbox as any other.
    async fn end(mut self) {
        let request = ListSessionsRequest { sandbox_id: self.sandbox.clone(), ..ListSessionsRequest::default() };
        let listed = self.client.sessions.list_sessions(request).await.unwrap().into_inner();
        for session in listed.sessions {
            let request = CloseSessionRequest { session_id: session.session_id };
            self.client.sessions.close_session(request).await.unwrap();
        }
        let session = self.client.create_session(&self.sandbox).await.session_id;
        self.client.run_in(&session, "true").await;
        self.client.delete_sandbox(self.sandbox).await;
        for reader in self.readers {
            reader.await.unwrap();
        }
    }
}

/// With a limit for each thing that can be limited. Not every runtime, nor every host, has one for the disk.
async fn create_sandbox(client: &mut Client) -> String {
    let resources = Resources {
        memory_bytes: Some(512 << 20),
        max_processes: Some(200),
        disk_bytes: Some(64 << 20),
        ..Resources::default()
    };
    let request = |resources| CreateSandboxRequest {
        image: client.image.clone(),
        resources: Some(resources),
        ..CreateSandboxRequest::default()
    };
    let (limited, unlimited) = (request(resources), request(Resources { disk_bytes: None, ..resources }));
    let created = match client.sandboxes.create_sandbox(limited).await {
        Err(status) if status.code() == Code::FailedPrecondition => client.sandboxes.create_sandbox(unlimited).await,
        other => other,
    };
    created.unwrap().into_inner().sandbox_id
}

fn start(session: &str, command: &str) -> ExecStart {
    ExecStart {
        target: Some(Target::SessionId(session.to_owned())),
        command: command.to_owned(),
        ..ExecStart::default()
    }
}

async fn exec(client: &mut Client, session: &str, command: &str) -> Streaming<ExecResponse> {
    let requests = tokio_stream::iter([ExecRequest { request: Some(Request::Start(start(session, command))) }]);
    let mut stream = client.sessions.exec(requests).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().response;
    assert!(matches!(first, Some(Response::Started(_))), "{first:?}");
    stream
}

async fn until_both_have_begun(stream: &mut Streaming<ExecResponse>) {
    let mut printed = Vec::new();
    while String::from_utf8_lossy(&printed).matches("begun").count() < 2 {
        match stream.message().await.unwrap().and_then(|message| message.response) {
            Some(Response::Output(output)) => printed.extend_from_slice(&output.data),
            Some(Response::KeepAlive(_)) => {}
            other => panic!("the attacks never began: {other:?}, {:?}", String::from_utf8_lossy(&printed)),
        }
    }
}

fn memory(pid: u32) -> u64 {
    processes::memory_kib(&Pids::from([pid]))
}

/// The highest memory of a process while something happens, in KiB.
struct Watch {
    stop: mpsc::Sender<()>,
    highest: thread::JoinHandle<u64>,
}

impl Watch {
    fn over(pid: u32) -> Self {
        let (stop, stopped) = mpsc::channel();
        let highest = thread::spawn(move || {
            let mut highest = memory(pid);
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                highest = highest.max(memory(pid));
            }
            highest
        });
        Self { stop, highest }
    }

    fn highest(self) -> u64 {
        self.stop.send(()).unwrap();
        self.highest.join().unwrap()
    }
}
