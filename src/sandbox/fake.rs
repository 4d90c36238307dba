//! A runtime in memory with an agent that does as it is told, for tests of the rooms around it.

use crate::{
    agent::config::AgentConfig,
    api::{
        agent::v1::{
            ActivityRequest, ActivityResponse, HelloRequest, HelloResponse, PrepareRequest, PrepareResponse,
            StopRequest, StopResponse,
            agent_service_server::{AgentService, AgentServiceServer},
        },
        v1::*,
    },
    image::Image,
    rpc::{
        services::{Named, Services},
        serving::{self, Terms},
    },
    runtime::{
        Connection, Created, Inspection, Pull, Runtime, RuntimeError, SandboxSpec, SupportedLimits, Tell, Usage,
    },
};
use futures_util::stream::BoxStream;
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::AbortHandle,
    time::Instant,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// Sandboxes by id, with the tasks that serve their connections.
#[derive(Default)]
pub(crate) struct FakeRuntime {
    agents: Mutex<BTreeMap<String, (FakeAgent, Vec<AbortHandle>)>>,
    /// When set, `create` waits for a permit.
    gate: Option<Arc<Semaphore>>,
    /// When set, `fetch` does.
    image_gate: Option<Arc<Semaphore>>,
    pub(crate) removed: watch::Sender<usize>,
    pub(crate) deaf: AtomicBool,
    pub(crate) produced: Arc<AtomicUsize>,
    pub(crate) inputs_ended: watch::Sender<usize>,
    /// What all agents say of what runs in them.
    pub(crate) activity: watch::Sender<FakeActivity>,
    /// Whether it cannot be seen what lives.
    pub(crate) blind: AtomicBool,
    /// Whether the next creation fails.
    pub(crate) fail_next: AtomicBool,
    /// How many of the next creations never come to an end.
    pub(crate) hang_next: AtomicUsize,
    /// Whether removals wait until this is false again.
    pub(crate) removals_hang: watch::Sender<bool>,
    /// Removals that have begun.
    pub(crate) removals_begun: AtomicUsize,
}

impl FakeRuntime {
    pub(crate) fn gated(gate: Arc<Semaphore>) -> Self {
        Self { gate: Some(gate), ..Self::default() }
    }

    pub(crate) fn with_gated_images(gate: Arc<Semaphore>) -> Self {
        Self { image_gate: Some(gate), ..Self::default() }
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.agents.lock().unwrap().keys().cloned().collect()
    }

    /// A sandbox that no server has a row of.
    pub(crate) fn add_orphan(&self, id: &str) {
        let agent = self.agents.lock().unwrap().values().next().unwrap().0.clone();
        self.agents.lock().unwrap().insert(id.to_owned(), (agent, Vec::new()));
    }

    /// Ends an agent as `kill -9` does.
    pub(crate) fn kill(&self, id: &str) {
        let (_, connections) = self.agents.lock().unwrap().remove(id).unwrap();
        connections.iter().for_each(AbortHandle::abort);
    }
}

#[async_trait::async_trait]
impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn warnings(&self) -> &[String] {
        &[]
    }

    fn supported_limits(&self) -> SupportedLimits {
        SupportedLimits { memory: true, processes: true, ..SupportedLimits::default() }
    }

    async fn fetch(&self, _: &Image, tell: Tell) -> Result<(), RuntimeError> {
        if let Some(gate) = &self.image_gate {
            tell(Pull { layers_total: 1, ..Pull::default() });
            gate.acquire().await.unwrap().forget();
        }
        Ok(())
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Created, RuntimeError> {
        if self.fail_next.swap(false, Ordering::Relaxed) {
            let source = io::Error::other("as told");
            return Err(RuntimeError::Failed { step: "create".into(), source });
        }
        let hang = |left: usize| left.checked_sub(1);
        if self.hang_next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, hang).is_ok() {
            std::future::pending::<()>().await;
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        let config: AgentConfig = serde_json::from_slice(&spec.agent_config).unwrap();
        let agent = FakeAgent {
            config: Arc::new(config),
            stop: watch::Sender::new(false),
            deaf: self.deaf.load(Ordering::Relaxed),
            produced: self.produced.clone(),
            inputs_ended: self.inputs_ended.clone(),
            activity: self.activity.clone(),
        };
        self.agents.lock().unwrap().insert(spec.sandbox_id, (agent, Vec::new()));
        Ok(Created::default())
    }

    async fn connect(&self, sandbox_id: &str) -> Result<Connection, RuntimeError> {
        let mut agents = self.agents.lock().unwrap();
        let (agent, connections) = agents.get_mut(sandbox_id).ok_or(RuntimeError::NotFound)?;
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let services = Services::new([Named::new(AgentServiceServer::new(agent.clone()))]);
        let (cut, mut is_cut) = (tokio::spawn(std::future::pending::<()>()), theirs);
        connections.push(cut.abort_handle());
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move {
            let terms = Terms { stream_window: 1 << 20, most_calls: 1000 };
            serving::serve(tokio_stream::once(far), terms, |_| {
                let services = services.clone();
                move |request| services.answer(request)
            })
            .await;
        });
        // Connections have tasks of their own, so what can be cut is the pipe in front of one.
        tokio::spawn(async move {
            let mut near = near;
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut is_cut, &mut near) => {}
                _ = cut => {}
            }
        });
        Ok(Connection::Stream(Box::pin(ours)))
    }

    async fn inspect(&self, sandbox_id: &str) -> Inspection {
        if self.blind.load(Ordering::Relaxed) {
            return Inspection::unknown("as told");
        }
        match self.agents.lock().unwrap().contains_key(sandbox_id) {
            true => Inspection::alive(),
            false => Inspection::dead(None),
        }
    }

    async fn stats(&self, _: &str) -> Result<Usage, RuntimeError> {
        Ok(Usage { processes: Some(2), ..Usage::default() })
    }

    async fn list(&self) -> Result<Vec<String>, RuntimeError> {
        Ok(self.ids())
    }

    async fn remove(&self, sandbox_id: &str) -> Result<(), RuntimeError> {
        self.removals_begun.fetch_add(1, Ordering::Relaxed);
        self.removals_hang.subscribe().wait_for(|hang| !hang).await.unwrap();
        if let Some((_, connections)) = self.agents.lock().unwrap().remove(sandbox_id) {
            connections.iter().for_each(AbortHandle::abort);
        }
        self.removed.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// Commands are words: `echo` ends with its own name, `cat` repeats its input, `hang` waits, `flood` never ends.
#[derive(Clone)]
pub(crate) struct FakeAgent {
    config: Arc<AgentConfig>,
    stop: watch::Sender<bool>,
    deaf: bool,
    produced: Arc<AtomicUsize>,
    inputs_ended: watch::Sender<usize>,
    activity: watch::Sender<FakeActivity>,
}

/// How many commands run, and since when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FakeActivity(pub(crate) i64, Instant);

impl FakeActivity {
    pub(crate) fn running(commands: i64) -> Self {
        Self(commands, Instant::now())
    }

    fn describe(self) -> ActivityResponse {
        let idle = (self.0 == 0).then(|| self.1.elapsed().try_into().unwrap());
        ActivityResponse { running_commands: self.0, commands: 1, idle, ..ActivityResponse::default() }
    }
}

impl Default for FakeActivity {
    fn default() -> Self {
        Self::running(0)
    }
}

type Replies = BoxStream<'static, Result<ExecResponse, Status>>;

fn reply(response: exec_response::Response) -> Result<ExecResponse, Status> {
    Ok(ExecResponse { response: Some(response) })
}

fn exited(reason: exited::Reason) -> Result<ExecResponse, Status> {
    reply(exec_response::Response::Exited(Exited { reason: reason.into(), ..Exited::default() }))
}

fn output(data: bytes::Bytes) -> Result<ExecResponse, Status> {
    reply(exec_response::Response::Output(Output { stream: Stream::Stdout.into(), offset: 0, data }))
}

impl FakeAgent {
    async fn execute(
        self,
        command: String,
        mut input: Streaming<ExecRequest>,
        replies: mpsc::Sender<Result<ExecResponse, Status>>,
    ) -> Option<()> {
        let id = format!("{}/main/1", self.config.sandbox_id);
        replies
            .send(reply(exec_response::Response::Started(Started { command_id: id, stdin_offset: 0 })))
            .await
            .ok()?;
        match command.as_str() {
            "cat" => {
                while let Ok(Some(message)) = input.message().await {
                    match message.request? {
                        exec_request::Request::Stdin(data) => replies.send(output(data)).await.ok()?,
                        _ => break,
                    }
                }
            }
            "hang" => {
                let inputs_ended = self.inputs_ended.clone();
                tokio::spawn(async move {
                    while let Ok(Some(_)) = input.message().await {}
                    inputs_ended.send_modify(|count| *count += 1);
                });
                self.stop.subscribe().wait_for(|stop| *stop).await.ok()?;
                return replies.send(exited(exited::Reason::SandboxStopped)).await.ok();
            }
            "flood" => loop {
                replies.send(output(vec![b'x'; 256 << 10].into())).await.ok()?;
                self.produced.fetch_add(256 << 10, Ordering::Relaxed);
            },
            _ => replies.send(output(command.into())).await.ok()?,
        }
        replies.send(exited(exited::Reason::Exited)).await.ok()
    }
}

#[tonic::async_trait]
impl AgentService for FakeAgent {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let sandbox_id = self.config.sandbox_id.clone();
        Ok(Response::new(HelloResponse { protocol_version: 1, agent_version: "fake".into(), sandbox_id }))
    }

    async fn prepare(&self, _: Request<PrepareRequest>) -> Result<Response<PrepareResponse>, Status> {
        let unknown_user = if self.config.user == "nosuch" { "no such user" } else { "" }.to_owned();
        Ok(Response::new(PrepareResponse { unknown_user, ..PrepareResponse::default() }))
    }

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        let stdout = request.into_inner().start.unwrap().command.into();
        let mut response = Response::new(RunResponse { stdout, ..RunResponse::default() });
        response.metadata_mut().insert("from-the-agent", "secret".parse().unwrap());
        Ok(response)
    }

    type ExecStream = Replies;

    async fn exec(&self, request: Request<Streaming<ExecRequest>>) -> Result<Response<Replies>, Status> {
        let mut input = request.into_inner();
        let Some(exec_request::Request::Start(start)) = input.message().await?.unwrap().request else {
            return Err(Status::invalid_argument("no start"));
        };
        let (replies, sent) = mpsc::channel(1);
        tokio::spawn(self.clone().execute(start.command, input, replies));
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn get_activity(&self, _: Request<ActivityRequest>) -> Result<Response<ActivityResponse>, Status> {
        Ok(Response::new(self.activity.borrow().describe()))
    }

    type WatchActivityStream = BoxStream<'static, Result<ActivityResponse, Status>>;

    async fn watch_activity(&self, _: Request<ActivityRequest>) -> Result<Response<Self::WatchActivityStream>, Status> {
        let changes = tokio_stream::wrappers::WatchStream::new(self.activity.subscribe());
        Ok(Response::new(Box::pin(changes.map(|activity| Ok(activity.describe())))))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        if self.deaf {
            return Err(Status::unavailable("deaf"));
        }
        self.stop.send_replace(true);
        Ok(Response::new(StopResponse {}))
    }

    async fn get_session(&self, _: Request<GetSessionRequest>) -> Result<Response<Session>, Status> {
        Err(crate::error::Error::not_found(crate::error::Kind::Session, "s").into())
    }

    async fn create_session(&self, _: Request<CreateSessionRequest>) -> Result<Response<Session>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> Result<Response<ListSessionsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn close_session(&self, _: Request<CloseSessionRequest>) -> Result<Response<CloseSessionResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    type AttachStream = Replies;

    async fn attach(&self, _: Request<AttachRequest>) -> Result<Response<Replies>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_command(&self, _: Request<GetCommandRequest>) -> Result<Response<Command>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_commands(&self, _: Request<ListCommandsRequest>) -> Result<Response<ListCommandsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn signal_command(
        &self,
        _: Request<SignalCommandRequest>,
    ) -> Result<Response<SignalCommandResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_processes(
        &self,
        _: Request<ListProcessesRequest>,
    ) -> Result<Response<ListProcessesResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn signal_process(
        &self,
        _: Request<SignalProcessRequest>,
    ) -> Result<Response<SignalProcessResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}
