//! The edge and the domain together, over TCP, with a fake agent behind them.

use super::{AtStop, Server};
use crate::{
    api::v1::{
        exec_request::Request as Input, exec_response::Response as Reply, exec_start::Target, exited::Reason,
        sandbox::State, sandbox_service_client::SandboxServiceClient, session_service_client::SessionServiceClient, *,
    },
    rpc::transport::MAX_MESSAGE_BYTES,
    sample::Samples,
    sandbox::{Policy, Sandboxes, fake::FakeRuntime},
    store::{Durability, Store},
    verification::{AtOnce, Verifications},
};
use bytes::Bytes;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_types::StatusExt;

struct Kit {
    runtime: Arc<FakeRuntime>,
    address: std::net::SocketAddr,
    sandboxes: SandboxServiceClient<Channel>,
    sessions: SessionServiceClient<Channel>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), super::ServerError>>,
}

impl Kit {
    async fn new() -> Self {
        Self::with(FakeRuntime::default()).await
    }

    async fn with(runtime: FakeRuntime) -> Self {
        Self::at_stop(runtime, AtStop::Delete).await
    }

    async fn at_stop(runtime: FakeRuntime, at_stop: AtStop) -> Self {
        let runtime = Arc::new(runtime);
        let policy = Policy { max_sandboxes: 3, ..Policy::default() };
        let listener = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let store = Store::open("sqlite::memory:", Durability::Kill).await.unwrap();
        let sandboxes = Sandboxes::new(runtime.clone(), store.clone(), "here", policy);
        let verifications = Verifications::new(sandboxes.clone(), Samples::default(), store, "here", AtOnce::default());
        let server = Server::new(sandboxes, verifications, at_stop);
        let server = tokio::spawn(server.run(listener, async move { drop(stopped.await) }));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let (sandboxes, sessions) = (SandboxServiceClient::new(channel.clone()), SessionServiceClient::new(channel));
        Self { runtime, address, sandboxes, sessions, stop, server }
    }

    async fn create(&mut self) -> String {
        self.sandboxes.create_sandbox(CreateSandboxRequest::default()).await.unwrap().into_inner().sandbox_id
    }

    async fn delete(&mut self, id: &str) -> Result<(), Status> {
        self.sandboxes.delete_sandbox(DeleteSandboxRequest { sandbox_id: id.into() }).await.map(drop)
    }

    async fn exec(&mut self, id: &str, command: &str) -> (mpsc::Sender<ExecRequest>, Streaming<ExecResponse>) {
        let (input, sent) = mpsc::channel(8);
        input.send(message(Input::Start(start(id, command)))).await.unwrap();
        let mut output = self.sessions.exec(ReceiverStream::new(sent)).await.unwrap().into_inner();
        assert!(matches!(next(&mut output).await, Some(Reply::Started(_))));
        (input, output)
    }

    async fn run(&mut self, id: &str, command: &str) -> Result<RunResponse, Status> {
        let request = RunRequest { start: Some(start(id, command)), ..RunRequest::default() };
        self.sessions.run(request).await.map(tonic::Response::into_inner)
    }
}

fn start(id: &str, command: &str) -> ExecStart {
    let target = Some(Target::SessionId(format!("{id}/main")));
    ExecStart { target, command: command.into(), ..ExecStart::default() }
}

fn message(request: Input) -> ExecRequest {
    ExecRequest { request: Some(request) }
}

async fn next(output: &mut Streaming<ExecResponse>) -> Option<Reply> {
    output.message().await.unwrap().and_then(|message| message.response)
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_sandbox_lives_from_create_to_delete() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let sandbox = kit.sandboxes.get_sandbox(GetSandboxRequest { sandbox_id: id.clone() }).await.unwrap().into_inner();
    assert_eq!((sandbox.state(), sandbox.image.as_str()), (State::Running, "host"));
    let limits = sandbox.resources.unwrap();
    assert_eq!((limits.memory_bytes, limits.max_processes, limits.cpu_millis), (Some(2 << 30), Some(1024), None));
    assert_eq!(kit.run(&id, "hello").await.unwrap().stdout, "hello");
    kit.delete(&id).await.unwrap();
    kit.delete(&id).await.expect("a repeated deletion succeeds for a while");
    assert_eq!(kit.delete("sbx-none").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(kit.run(&id, "hello").await.unwrap_err().code(), Code::NotFound);
    assert!(kit.runtime.ids().is_empty());
}

#[tokio::test]
async fn every_answer_carries_a_request_id_and_nothing_of_the_agents_metadata() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let mut request = Request::new(RunRequest { start: Some(start(&id, "x")), ..RunRequest::default() });
    request.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    let response = kit.sessions.run(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "mine");
    assert!(response.metadata().get("from-the-agent").is_none());
    let mut request = Request::new(GetSandboxRequest { sandbox_id: "nope".into() });
    request.metadata_mut().insert("x-request-id", "mine-2".parse().unwrap());
    let status = kit.sandboxes.get_sandbox(request).await.unwrap_err();
    assert_eq!(status.metadata().get("x-request-id").unwrap(), "mine-2");
    assert_eq!(reason(&status), "SANDBOX_NOT_FOUND");
    let status = kit.run(&id, "a\0b").await.unwrap_err();
    assert!(status.metadata().get("x-request-id").is_some());
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "start.command");
}

#[tokio::test]
async fn the_agents_own_errors_are_passed_on_with_their_details() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let status = kit.sessions.get_session(GetSessionRequest { session_id: format!("{id}/s") }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
}

#[tokio::test]
async fn a_caller_that_vanished_leaves_nothing_behind() {
    let gate = Arc::new(Semaphore::new(0));
    let mut kit = Kit::with(FakeRuntime::gated(gate.clone())).await;
    let mut client = kit.sandboxes.clone();
    let create = tokio::spawn(async move { client.create_sandbox(CreateSandboxRequest::default()).await });
    let list = async |kit: &mut Kit| {
        kit.sandboxes.list_sandboxes(ListSandboxesRequest::default()).await.unwrap().into_inner().total_size
    };
    while list(&mut kit).await == 0 {}
    create.abort();
    let _ = create.await;
    // Another call on the same connection: when it is answered, the server has seen the cancellation before it.
    list(&mut kit).await;
    gate.add_permits(1);
    kit.runtime.removed.subscribe().wait_for(|count| *count == 1).await.unwrap();
    while list(&mut kit).await != 0 {}
    assert!(kit.runtime.ids().is_empty());
}

#[tokio::test]
async fn the_number_of_sandboxes_is_bounded() {
    let mut kit = Kit::new().await;
    let first = kit.create().await;
    kit.create().await;
    kit.create().await;
    let status = kit.sandboxes.create_sandbox(CreateSandboxRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_SANDBOXES"));
    kit.delete(&first).await.unwrap();
    kit.create().await;
}

#[tokio::test]
async fn concurrent_deletes_all_succeed() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let deletes = (0..8).map(|_| {
        let mut client = kit.sandboxes.clone();
        let request = DeleteSandboxRequest { sandbox_id: id.clone() };
        async move { client.delete_sandbox(request).await }
    });
    for outcome in futures_util::future::join_all(deletes).await {
        outcome.expect("who comes later finds it deleted, which is what was asked for");
    }
    assert_eq!(*kit.runtime.removed.borrow(), 1);
}

#[tokio::test]
async fn input_and_output_go_through_unchanged() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let (input, mut output) = kit.exec(&id, "cat").await;
    // Nothing is no input, and is not passed on.
    input.send(message(Input::Stdin(Bytes::new()))).await.unwrap();
    for part in [&b"one"[..], b"\0\xff"] {
        input.send(message(Input::Stdin(part.into()))).await.unwrap();
        let Some(Reply::Output(echo)) = next(&mut output).await else { panic!("no output") };
        assert_eq!(echo.data, part);
    }
    input.send(message(Input::CloseStdin(CloseStdin {}))).await.unwrap();
    assert!(matches!(next(&mut output).await, Some(Reply::Exited(_))));
    assert!(next(&mut output).await.is_none());
}

#[tokio::test]
async fn a_client_that_has_no_input_gets_all_output() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    for _ in 0..20 {
        let only_start = tokio_stream::once(message(Input::Start(start(&id, "echo"))));
        let mut output = kit.sessions.exec(only_start).await.unwrap().into_inner();
        assert!(matches!(next(&mut output).await, Some(Reply::Started(_))));
        assert!(matches!(next(&mut output).await, Some(Reply::Output(_))));
        assert!(matches!(next(&mut output).await, Some(Reply::Exited(_))));
        assert!(next(&mut output).await.is_none());
    }
}

#[tokio::test]
async fn a_wrong_message_ends_the_call_and_its_way_to_the_agent() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let wrong =
        [Input::Start(start(&id, "again")), Input::Signal(65), Input::Resize(TerminalSize { rows: 1, columns: 1 })];
    for (number, wrong) in wrong.into_iter().enumerate() {
        // The input stays open on the client's side.
        let (_input, mut output) = kit.exec(&id, "hang").await;
        _input.send(message(wrong)).await.unwrap();
        assert_eq!(output.message().await.unwrap_err().code(), Code::InvalidArgument);
        kit.runtime.inputs_ended.subscribe().wait_for(|count| *count == number + 1).await.unwrap();
    }
    let no_start = kit.sessions.exec(tokio_stream::once(message(Input::Signal(2)))).await.unwrap_err();
    assert_eq!(no_start.get_details_bad_request().unwrap().field_violations[0].field, "start");
}

#[tokio::test]
async fn watchers_of_a_deleted_sandbox_are_told_even_if_its_agent_cannot() {
    for deaf in [false, true] {
        let mut kit = Kit::new().await;
        kit.runtime.deaf.store(deaf, Ordering::Relaxed);
        let id = kit.create().await;
        let (_input, mut output) = kit.exec(&id, "hang").await;
        kit.delete(&id).await.unwrap();
        let Some(Reply::Exited(exited)) = next(&mut output).await else { panic!("not told") };
        assert_eq!(exited.reason(), Reason::SandboxStopped);
        assert_eq!(exited.exit_code, if deaf { 137 } else { 0 });
        assert!(next(&mut output).await.is_none());
    }
}

#[tokio::test]
async fn a_dead_agent_is_unavailable_and_then_failed() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let (_input, mut output) = kit.exec(&id, "hang").await;
    kit.runtime.kill(&id);
    let status = output.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SANDBOX_UNREACHABLE"));
    assert!(status.get_details_retry_info().is_some());
    let sandbox = kit.sandboxes.get_sandbox(GetSandboxRequest { sandbox_id: id.clone() }).await.unwrap().into_inner();
    assert_eq!(sandbox.state(), State::Failed);
    assert_eq!(reason(&kit.run(&id, "x").await.unwrap_err()), "SANDBOX_NOT_RUNNING");
    kit.delete(&id).await.unwrap();
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_agent() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let (_input, _output) = kit.exec(&id, "flood").await;
    let too_much = async {
        while kit.runtime.produced.load(Ordering::Relaxed) < 32 << 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(Duration::from_secs(1), too_much).await.is_err(), "output is buffered without a bound");
    // Others on the same connections are not slowed.
    let mut other = SessionServiceClient::clone(&kit.sessions);
    let request = RunRequest { start: Some(start(&id, "quick")), ..RunRequest::default() };
    assert_eq!(other.run(request).await.unwrap().into_inner().stdout, "quick");
}

#[tokio::test]
async fn what_is_too_large_or_garbage_is_refused_and_disturbs_nobody() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    let request = RunRequest {
        start: Some(start(&id, "x")),
        stdin: vec![0; MAX_MESSAGE_BYTES + 1].into(),
        ..RunRequest::default()
    };
    let status = kit.sessions.run(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let mut stream = TcpStream::connect(kit.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(kit.run(&id, "still here").await.unwrap().stdout, "still here");
}

#[tokio::test]
async fn a_stopping_server_tells_watchers_and_leaves_nothing() {
    let mut kit = Kit::new().await;
    let id = kit.create().await;
    kit.create().await;
    let (_input, mut output) = kit.exec(&id, "hang").await;
    kit.stop.send(()).unwrap();
    let Some(Reply::Exited(exited)) = next(&mut output).await else { panic!("not told") };
    assert_eq!(exited.reason(), Reason::SandboxStopped);
    drop((output, _input, kit.sandboxes, kit.sessions));
    kit.server.await.unwrap().unwrap();
    assert!(kit.runtime.ids().is_empty());
    assert!(TcpStream::connect(kit.address).await.is_err());
}

#[tokio::test]
async fn a_server_that_keeps_its_sandboxes_ends_the_streams_only() {
    let mut kit = Kit::at_stop(FakeRuntime::default(), AtStop::Keep).await;
    let id = kit.create().await;
    let (_input, mut output) = kit.exec(&id, "hang").await;
    let watch = WatchSandboxRequest { sandbox_id: id.clone() };
    let mut changes = kit.sandboxes.watch_sandbox(watch).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().sandbox.unwrap().state(), State::Running);
    kit.stop.send(()).unwrap();
    for status in [output.message().await.unwrap_err(), changes.message().await.unwrap_err()] {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SERVER_STOPPING"));
    }
    drop((output, _input, changes, kit.sandboxes, kit.sessions));
    kit.server.await.unwrap().unwrap();
    assert_eq!(kit.runtime.ids(), [id]);
}

#[tokio::test]
async fn health_is_told_by_service() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let kit = Kit::new().await;
    let channel = Channel::from_shared(format!("http://{}", kit.address)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    for service in ["", "sandshell.v1.SandboxService", "sandshell.v1.SessionService"] {
        let request = HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
    let status = health.check(HealthCheckRequest { service: "nope".into() }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NOT_FOUND"));
}
