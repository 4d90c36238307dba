//! The server is killed at random points while clients create, run, stream and delete. At the end no byte is missing or
//! doubled, no acknowledged sandbox is lost, and nothing is left of those that were deleted.

use crate::kit::{Clients, Dice, Options, Runtime, Server, docker::shared_docker, host, token, v1, within};
use sandshell::store::{Durability, Store};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tonic::{Code, Status, transport::Endpoint};
use v1::{
    AttachRequest, CreateSandboxRequest, CreateSessionRequest, DeleteSandboxRequest, ExecRequest, ExecResponse,
    ExecStart, exec_request::Request, exec_response::Response, exec_start::Target,
};

const KILLS: usize = 50;
/// At most so many control groups are made ahead of the sandboxes that will be in them.
const PREPARED: usize = 16;

crate::in_every_runtime!(fifty_kills_lose_nothing);

/// What the host has for sandboxes: control groups, which have names of their own, or containers, by their sandbox's id.
fn seen_from_outside(on: Runtime, data_dir: &Path) -> BTreeSet<String> {
    match on {
        Runtime::Linux => {
            let instance = std::fs::read_to_string(data_dir.join("instance")).expect("the name of the cgroups");
            let below = |path: &String| path.split_once(&instance).map(|(_, rest)| rest.trim_matches('/').to_owned());
            let names = host::cgroups_with(&instance).iter().filter_map(below).collect::<BTreeSet<_>>();
            names.into_iter().filter(|name| !name.is_empty()).collect()
        }
        Runtime::Docker => {
            let instance =
                std::fs::read_to_string(data_dir.join("docker/instance")).expect("the data directory's word");
            let filter = format!("label=sandshell.instance={instance}");
            let format = "{{.Label \"sandshell.sandbox\"}}";
            let said = shared_docker().run(&["ps", "-a", "--filter", &filter, "--format", format]);
            said.lines().map(str::to_owned).collect()
        }
    }
}

/// What was done, and what was seen of it.
#[derive(Default)]
struct Figures {
    created: AtomicUsize,
    commands: AtomicUsize,
    bytes: AtomicUsize,
    broken: AtomicUsize,
    deleted: AtomicUsize,
}

async fn fifty_kills_lose_nothing(on: Runtime) {
    let dir = tempfile::tempdir().expect("a directory for data");
    let data_dir = dir.path().join("data");
    let address = free_address();
    let options = |keep| Options {
        data_dir: Some(data_dir.clone()),
        keep,
        listen: Some(address.clone()),
        args: [on.options().args, vec!["--default-idle-timeout".into(), "none".into()]].concat(),
        ..on.options()
    };
    // As many clients as keep the host busy, and time enough between two kills for some of them to get on. Where sandboxes
    // take longer to make, commands do too, so that kills hit both.
    let (count, longest_life, lines) = match on {
        Runtime::Linux => (20, 600, 3000),
        Runtime::Docker => (3, 2000, 30_000),
    };
    let (figures, stop) = (Arc::new(Figures::default()), Arc::new(AtomicBool::new(false)));
    let mut server = start(options(true)).await;
    let clients = (0..count).map(|number| Client::new(number, on, lines, &address, &figures, &stop).work());
    let kills = async {
        let mut dice = Dice::new();
        for _ in 0..KILLS {
            // Not a wait for something, but a point in the middle of it.
            tokio::time::sleep(Duration::from_millis(dice.below(longest_life))).await;
            tokio::task::spawn_blocking(move || server.crash()).await.expect("a killed server");
            server = start(options(true)).await;
        }
        stop.store(true, Ordering::Relaxed);
        server
    };
    let (server, kept) = tokio::join!(kills, futures_util::future::join_all(clients));
    let kept: BTreeSet<_> = kept.into_iter().collect();
    assert_eq!(kept.len(), count);
    let figure = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{KILLS} kills; {} clients: {} sandboxes created, {} commands with {} bytes of output, {} broken streams \
         continued, {} sandboxes deleted",
        count,
        figure(&figures.created),
        figure(&figures.commands),
        figure(&figures.bytes),
        figure(&figures.broken),
        figure(&figures.deleted)
    );
    assert!(figure(&figures.broken) > 0, "no kill has hit a stream: nothing was shown");

    // What is there is what was acknowledged and not deleted, wherever one looks.
    let listed = listed(&server).await;
    assert_eq!(listed, kept, "listed, and acknowledged");
    let store = Store::in_directory(&data_dir, Durability::Kill).await.expect("the store");
    let server_id = std::fs::read_to_string(data_dir.join("server-id")).expect("the server's id");
    let rows: BTreeSet<_> =
        store.sandboxes_of_server(&server_id).await.expect("rows").into_iter().map(|row| row.id).collect();
    drop(store);
    assert_eq!(rows, kept, "rows");
    let directories: BTreeSet<_> = names(&data_dir.join(match on {
        Runtime::Linux => "sandboxes",
        Runtime::Docker => "docker/sandboxes",
    }));
    assert_eq!(directories, kept, "directories");
    let outside = seen_from_outside(on, &data_dir);
    match on {
        Runtime::Linux => assert!((kept.len()..=kept.len() + PREPARED).contains(&outside.len()), "{outside:?}"),
        Runtime::Docker => assert_eq!(outside, kept),
    }
    println!(
        "left: {} sandboxes, {} rows, {} directories, {} seen from outside",
        kept.len(),
        rows.len(),
        directories.len(),
        outside.len()
    );

    tokio::task::spawn_blocking(move || server.stop()).await.expect("the server's end");
    let last = start(options(false)).await;
    tokio::task::spawn_blocking(move || last.stop()).await.expect("the last server's end");
    let name = dir.path().to_string_lossy().into_owned();
    within::until("the end of all helpers", async || host::with_argument(&name).is_empty()).await;
    assert_eq!(host::mounts_with(&name), [""; 0]);
    assert_eq!(seen_from_outside(on, &data_dir), BTreeSet::new());
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

async fn start(options: Options) -> Server {
    tokio::task::spawn_blocking(move || Server::start(options)).await.expect("a server")
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(PathBuf::from(dir)).expect("a directory").flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("sbx-"))
        .collect()
}

async fn listed(server: &Server) -> BTreeSet<String> {
    let request = v1::ListSandboxesRequest { page_size: 1000, ..Default::default() };
    let answer = server.connect().await.sandboxes.list_sandboxes(request).await.expect("a list").into_inner();
    assert_eq!(answer.total_size as usize, answer.sandboxes.len());
    answer.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect()
}

/// One client, which tries everything until it is answered.
struct Client {
    number: usize,
    on: Runtime,
    /// That each of its commands prints.
    lines: usize,
    clients: Clients,
    figures: Arc<Figures>,
    stop: Arc<AtomicBool>,
}

impl Client {
    fn new(
        number: usize,
        on: Runtime,
        lines: usize,
        address: &str,
        figures: &Arc<Figures>,
        stop: &Arc<AtomicBool>,
    ) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let clients = Clients::new(endpoint.connect_lazy());
        Self { number, on, lines, clients, figures: figures.clone(), stop: stop.clone() }
    }

    /// Works until told to stop. Returns the one sandbox that it has kept from the beginning.
    async fn work(self) -> String {
        let kept = self.create().await;
        let session = self.session(&kept).await;
        let word = token();
        self.run(&session, &format!("kept={word}"), "").await;
        let mut round = 0;
        while !self.stop.load(Ordering::Relaxed) {
            round += 1;
            let sandbox = self.create().await;
            let session = self.session(&sandbox).await;
            let name = format!("{}-{round}", self.number);
            let lines = self.lines;
            let text = format!("i=0; while [ $i -lt {lines} ]; do i=$((i + 1)); echo {name} $i; done");
            let expected: String = (1..=lines).map(|line| format!("{name} {line}\n")).collect();
            self.run(&session, &text, &expected).await;
            self.delete(&sandbox).await;
        }
        self.run(&session, "echo $kept", &format!("{word}\n")).await;
        kept
    }

    /// Tries until it is answered by a server that lives.
    async fn persist<T>(&self, what: &str, mut attempt: impl AsyncFnMut() -> Result<T, Status>) -> T {
        within(what, async {
            loop {
                match attempt().await {
                    Ok(value) => return value,
                    Err(status) if is_of_a_lost_server(&status) => {}
                    Err(status) => panic!("client {}: {what}: {status:?}", self.number),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    async fn create(&self) -> String {
        let request = CreateSandboxRequest { request_id: token(), ..self.on.request() };
        let created = self.persist("a sandbox", async || {
            let answer = self.clients.sandboxes.clone().create_sandbox(request.clone()).await?;
            Ok(answer.into_inner().sandbox_id)
        });
        let id = created.await;
        self.figures.created.fetch_add(1, Ordering::Relaxed);
        id
    }

    async fn session(&self, sandbox_id: &str) -> String {
        let request = CreateSessionRequest { sandbox_id: sandbox_id.to_owned(), ..Default::default() };
        let opened = self.persist("a session", async || {
            let answer = self.clients.sessions.clone().create_session(request.clone()).await?;
            Ok(answer.into_inner().session_id)
        });
        opened.await
    }

    /// Runs a command and reads all it prints, however often the stream breaks.
    async fn run(&self, session_id: &str, text: &str, expected: &str) {
        let target = Some(Target::SessionId(session_id.to_owned()));
        let start = ExecStart { target, command: text.to_owned(), request_id: token(), ..Default::default() };
        let (mut command_id, mut output, mut code) = (None::<String>, Vec::new(), None);
        let ended = self.persist("the end of a command", async || {
            let mut messages = match &command_id {
                Some(id) => {
                    let from = AttachRequest {
                        command_id: id.clone(),
                        stdout_offset: output.len() as i64,
                        ..Default::default()
                    };
                    self.clients.sessions.clone().attach(from).await?.into_inner()
                }
                None => {
                    let start = ExecRequest { request: Some(Request::Start(start.clone())) };
                    let requests = tokio_stream::StreamExt::chain(
                        tokio_stream::once(start),
                        tokio_stream::pending::<ExecRequest>(),
                    );
                    self.clients.sessions.clone().exec(requests).await?.into_inner()
                }
            };
            loop {
                match messages.message().await {
                    Ok(Some(ExecResponse { response: Some(response) })) => match response {
                        Response::Started(started) => command_id = Some(started.command_id),
                        Response::Output(piece) => {
                            assert_eq!(piece.offset as usize, output.len(), "the next byte, and no other");
                            output.extend_from_slice(&piece.data);
                        }
                        Response::Gap(gap) => panic!("bytes were dropped: {gap:?}"),
                        Response::Exited(exited) => {
                            code = Some(exited.exit_code);
                            return Ok(());
                        }
                        Response::KeepAlive(_) => {}
                    },
                    Ok(other) => return Err(Status::unavailable(format!("the stream ended: {other:?}"))),
                    Err(status) => {
                        self.figures.broken.fetch_add(1, Ordering::Relaxed);
                        return Err(status);
                    }
                }
            }
        });
        ended.await;
        assert_eq!(code, Some(0), "{text}");
        assert!(
            output == expected.as_bytes(),
            "client {}: {} bytes came of {}",
            self.number,
            output.len(),
            expected.len()
        );
        self.figures.commands.fetch_add(1, Ordering::Relaxed);
        self.figures.bytes.fetch_add(output.len(), Ordering::Relaxed);
    }

    async fn delete(&self, sandbox_id: &str) {
        let request = DeleteSandboxRequest { sandbox_id: sandbox_id.to_owned() };
        let deleted =
            self.persist("a deletion", async || self.clients.sandboxes.clone().delete_sandbox(request.clone()).await);
        deleted.await;
        self.figures.deleted.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a client sees of a server that was killed, and of one that is not there yet.
fn is_of_a_lost_server(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unknown => true,
        // A stream that broke in the middle, as HTTP/2 tells it.
        Code::Internal => status.message().contains("h2") || status.message().contains("error reading"),
        _ => false,
    }
}
