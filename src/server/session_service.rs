//! `sandshell.v1.SessionService`: checks a message, finds the sandbox that its id names, and passes it on unchanged.

use super::{
    auth::caller,
    relay::{Relay, answer, run_answer},
    stdin::Stdin,
    streams::Streams,
    validate,
};
use crate::{
    api::v1::{
        AttachRequest, CloseSessionRequest, CloseSessionResponse, Command, CreateSessionRequest, ExecRequest,
        GetCommandRequest, GetSessionRequest, ListCommandsRequest, ListCommandsResponse, ListSessionsRequest,
        ListSessionsResponse, RunRequest, RunResponse, Session, SignalCommandRequest, SignalCommandResponse,
        exec_start::Target, session_service_server::SessionService,
    },
    error::{Error, Kind},
    sandbox::{Reached, Sandboxes, SessionPlace, link::AgentClient},
    tenant::Caller,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

/// The service over the agents of all sandboxes, and the streams that are open.
pub(super) struct Service(pub(super) Sandboxes, pub(super) Streams);

impl Service {
    /// The agent that owns what this id names.
    async fn agent(&self, caller: &Caller, kind: Kind, id: &str) -> Result<(Reached, AgentClient), Status> {
        Span::current().record("id", id);
        let reached = self.0.reach(caller, kind, id).await?;
        let client = reached.client().await?;
        Ok((reached, client))
    }

    /// The agent that a command is for.
    async fn target(&self, caller: &Caller, target: Option<&Target>) -> Result<(Reached, AgentClient), Status> {
        match target {
            Some(Target::SandboxId(id)) => self.agent(caller, Kind::Sandbox, id).await,
            Some(Target::SessionId(id)) => self.agent(caller, Kind::Session, id).await,
            None => self.agent(caller, Kind::Session, "").await,
        }
    }

    /// The place that a direct execution takes among the tenant's sessions, as long as the call lasts.
    async fn place(
        &self,
        caller: &Caller,
        target: Option<&Target>,
        reached: &Reached,
    ) -> Result<Option<SessionPlace>, Status> {
        match target {
            Some(Target::SandboxId(_)) => Ok(Some(self.0.session_place(caller, reached).await?)),
            Some(Target::SessionId(_)) | None => Ok(None),
        }
    }
}

#[tonic::async_trait]
impl SessionService for Service {
    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Result<Response<Session>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::create_session(&request)?;
        let (reached, mut agent) = self.agent(&caller, Kind::Sandbox, &request.sandbox_id).await?;
        let _place = self.0.session_place(&caller, &reached).await?;
        answer(&reached, agent.create_session(request).await).await
    }

    async fn get_session(&self, request: Request<GetSessionRequest>) -> Result<Response<Session>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::get_session(&request)?;
        let (reached, mut agent) = self.agent(&caller, Kind::Session, &request.session_id).await?;
        answer(&reached, agent.get_session(request).await).await
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::list_sessions(&request)?;
        let (reached, mut agent) = self.agent(&caller, Kind::Sandbox, &request.sandbox_id).await?;
        answer(&reached, agent.list_sessions(request).await).await
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::close_session(&request)?;
        let (reached, mut agent) = self.agent(&caller, Kind::Session, &request.session_id).await?;
        answer(&reached, agent.close_session(request).await).await
    }

    type ExecStream = Relay;

    async fn exec(&self, request: Request<Streaming<ExecRequest>>) -> Result<Response<Relay>, Status> {
        let (caller, mut client) = (caller(&request), request.into_inner());
        let stream = self.1.open(&caller)?;
        let start = Stdin::start(&mut client).await?;
        validate::start(&start)?;
        let (reached, mut agent) = self.target(&caller, start.target.as_ref()).await?;
        let _place = self.place(&caller, start.target.as_ref(), &reached).await?;
        let (stdin, (mut violation, input)) = Stdin::new(start, client);
        let call = tokio::select! {
            biased;
            call = agent.exec(stdin) => call,
            Ok(status) = &mut violation => return Err(status),
        };
        let output = answer(&reached, call).await?.into_inner();
        Ok(Response::new(Relay::new(output, reached, stream).with_input(violation, input)))
    }

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::run(&request)?;
        let target = request.start.as_ref().and_then(|start| start.target.as_ref());
        let (reached, mut agent) = self.target(&caller, target).await?;
        let _place = self.place(&caller, target, &reached).await?;
        tokio::select! {
            biased;
            answer = agent.run(request) => run_answer(&reached, answer).await,
            // The command goes on; with the same request_id the next server gives its answer.
            () = reached.server_stops() => Err(Error::stopping().into()),
        }
    }

    type AttachStream = Relay;

    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<Relay>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::attach(&request)?;
        let stream = self.1.open(&caller)?;
        let (reached, _) = self.agent(&caller, Kind::Command, &request.command_id).await?;
        let mut agent = reached.watcher().await?;
        let output = answer(&reached, agent.attach(request).await).await?.into_inner();
        Ok(Response::new(Relay::new(output, reached, stream)))
    }

    async fn get_command(&self, request: Request<GetCommandRequest>) -> Result<Response<Command>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::get_command(&request)?;
        let (reached, mut agent) = self.agent(&caller, Kind::Command, &request.command_id).await?;
        answer(&reached, agent.get_command(request).await).await
    }

    async fn list_commands(
        &self,
        request: Request<ListCommandsRequest>,
    ) -> Result<Response<ListCommandsResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::list_commands(&request)?;
        let (reached, mut agent) = self.agent(&caller, Kind::Session, &request.session_id).await?;
        answer(&reached, agent.list_commands(request).await).await
    }

    async fn signal_command(
        &self,
        request: Request<SignalCommandRequest>,
    ) -> Result<Response<SignalCommandResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::signal_command(&request)?;
        let (reached, mut agent) = self.agent(&caller, Kind::Command, &request.command_id).await?;
        answer(&reached, agent.signal_command(request).await).await
    }
}
