//! A server has so many connections and open files, and those who only hold some keep nobody out who says something.

use crate::kit::{
    Clients, LONG, Options, Running, Server, create_sandbox,
    errors::expect_error,
    frames::Frames,
    host, v1,
    within::{self, within, within_time},
};
use futures_util::future::join_all;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::net::TcpStream;
use tonic::{Code, Status, transport::Endpoint};
use tonic_types::StatusExt;

/// Very few, as some systems give.
const OPEN_FILES: u64 = 256;
const MOST: usize = 90;

fn few() -> Options {
    let args = ["--max-sandboxes", "8", "--max-connections", "90"].map(str::to_owned).to_vec();
    Options { open_files: Some(OPEN_FILES), args, ..Default::default() }
}

async fn list(clients: &Clients) -> Result<usize, Status> {
    let mut sandboxes = clients.sandboxes.clone();
    let call = sandboxes.list_sandboxes(v1::ListSandboxesRequest::default());
    Ok(within("a list or a refusal", call).await?.into_inner().sandboxes.len())
}

/// A client on a connection of its own that has made a call, or why it could not.
async fn client(server: &Server) -> Result<Clients, Status> {
    let connected = Endpoint::from_shared(server.url()).expect("an address").connect().await;
    let clients = Clients::new(connected.map_err(|error| Status::from_error(Box::new(error)))?);
    list(&clients).await?;
    Ok(clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_clients_of_whom_two_hundred_are_silent() {
    let server = Server::start(few());
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let session = sandbox.session("").await;
    session.run("kept=here").await.expect("", "", 0);
    let cat = Running::start(&sandbox.clients, v1::ExecStart { stdin: true, ..session.start("cat") }).await;
    cat.stdin("before").await;

    let silent = join_all((0..200).map(|_| TcpStream::connect(server.address()))).await;
    assert!(silent.iter().all(Result::is_ok), "the system takes all connections");
    // Whoever asks again gets the place of somebody silent, until all places are of those who say something.
    let mut served = Vec::new();
    within_time(LONG, "places for those who say something", async {
        while served.len() < MOST - 5 {
            let outcomes = join_all((0..10).map(|_| client(&server))).await;
            served.extend(outcomes.into_iter().filter_map(Result::ok));
        }
    })
    .await;
    for clients in &served {
        assert_eq!(list(clients).await.expect("who has a place keeps it"), 1);
    }
    // The others are refused in words.
    let mut refusals = Vec::new();
    while refusals.is_empty() {
        match client(&server).await {
            Ok(clients) => served.push(clients),
            Err(status) => refusals.push(status),
        }
        assert!(served.len() <= MOST, "{} connections", served.len());
    }
    for status in refusals {
        expect_error(&status, Code::ResourceExhausted, "TOO_MANY_CONNECTIONS");
        assert!(status.get_details_retry_info().is_some(), "{status:?}");
    }

    // Nothing is lost meanwhile.
    cat.stdin(" and after").await;
    cat.close_stdin().await;
    assert_eq!(cat.finish().await.out(), "before and after");
    session.run("echo $kept").await.expect("here\n", "", 0);
    // And when some go, others have their places.
    drop((served, silent));
    within::until("a place", async || client(&server).await.is_ok()).await;
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_descriptors_waits_for_some() {
    let server = Server::start(Options::default());
    let pid = Pid::from_raw(server.pid() as i32);
    let clients = client(&server).await.expect("a first client");
    // As much as this process may have, because the server inherited it.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let usual = prlimit(pid, Resource::Nofile, Rlimit { current: Some(1), maximum }).expect("root");
    let connecting = tokio::spawn({
        let endpoint = Endpoint::from_shared(server.url()).expect("an address");
        async move { endpoint.connect().await }
    });
    within::until("a word in the log", async || server.log().contains("no connection can be taken")).await;
    list(&clients).await.expect("who is connected is served");
    prlimit(pid, Resource::Nofile, usual).expect("root");
    let late = within("a connection that had to wait", connecting).await.expect("no panic").expect("a connection");
    list(&Clients::new(late)).await.expect("all is as before");
    let said = server.log().matches("no connection can be taken").count();
    assert_eq!(said, 1, "one failure after another is told once");
}

#[test]
fn what_does_not_fit_is_refused_at_the_start() {
    let start = |open_files, args: &[&str]| {
        let args = args.iter().map(|&word| word.to_owned()).collect();
        Server::try_start(Options { open_files: Some(open_files), args, ..Default::default() })
    };
    for args in [&[][..], &["--max-sandboxes", "8", "--max-connections", "200"]] {
        let (_, said) = start(OPEN_FILES, args).err().expect("too few descriptors");
        for part in ["--max-sandboxes", "--max-connections", "open files", "may have 256", "LimitNOFILE"] {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
    }
    let server = start(4096, &[]).unwrap_or_else(|(_, said)| panic!("{said}"));
    assert!(server.log().contains("room for 1000 sandboxes and 968 connections"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_nobody_who_says_nothing() {
    let server = Server::start(Options { keep: true, ..Options::default() });
    let clients = client(&server).await.expect("a client");
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let session = sandbox.session("").await;
    let _silent = TcpStream::connect(server.address()).await.expect("a connection");
    let _deaf = Frames::connect(server.address(), &[]).await;
    // One with a stream that is never read.
    let mut unread = Frames::connect(server.address(), &[(4, 0)]).await;
    unread.open("/grpc.health.v1.Health/Watch", &[]).await.expect("a stream");
    let mut sessions = clients.sessions.clone();
    let start = session.start("read line </dev/zero");
    let run =
        tokio::spawn(async move { sessions.run(v1::RunRequest { start: Some(start), ..Default::default() }).await });
    within::until("a command that runs", async || {
        let request = v1::ListCommandsRequest { session_id: session.id.clone(), ..Default::default() };
        let listed = clients.sessions.clone().list_commands(request).await.expect("a list").into_inner();
        listed.commands.iter().any(|command| command.state() == v1::command::State::Running)
    })
    .await;
    host::signal(server.pid(), libc::SIGTERM);
    let told = within("the answer of a call under way", run).await.expect("no panic").expect_err("the server stops");
    expect_error(&told, Code::Unavailable, "SERVER_STOPPING");
    assert!(told.get_details_retry_info().is_some(), "{told:?}");
    assert!(told.metadata().get("x-request-id").is_some());
    within::until("the server's end", async || !host::lives(server.pid())).await;
    assert!(!server.log().contains("were cut"), "{}", server.log());
    // What ran goes on, and ends with its sandbox.
    let again = Server::start(Options { data_dir: Some(server.data_dir().to_owned()), ..Options::default() });
    let mut clients = again.connect().await;
    let id = sandbox.id.clone();
    clients.sandboxes.delete_sandbox(v1::DeleteSandboxRequest { sandbox_id: id }).await.expect("it is there");
}
