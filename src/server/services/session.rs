//! `sandshell.v1.SessionService`: checks a message, finds the sandbox that its id names, and passes it on unchanged.

use crate::{
    api::v1::{
        AttachRequest, CloseSessionRequest, CloseSessionResponse, Command, CreateSessionRequest, ExecRequest,
        ExecStart, GetCommandRequest, GetSessionRequest, ListCommandsRequest, ListCommandsResponse,
        ListProcessesRequest, ListProcessesResponse, ListSessionsRequest, ListSessionsResponse, RunRequest,
        RunResponse, Session, SignalCommandRequest, SignalCommandResponse, SignalProcessRequest, SignalProcessResponse,
        exec_start::Target, session_service_server::SessionService,
    },
    error::{Error, Kind},
    rpc::transport::ANSWER_WITHIN,
    sandbox::{Reached, Sandboxes, link::AgentClient},
    server::{
        layers::{
            auth::caller,
            deadline::{AnswerBy, with_default_timeout},
        },
        relay::{
            answers::{Relay, answer, keep_to_the_end, run_answer},
            session_place::Place,
            stdin::Stdin,
            streams::Streams,
        },
        request::validate,
    },
    tenant::Caller,
};
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

/// The service over the agents of all sandboxes, the streams that are open, and the longest run time of commands whose client
/// says nothing of one.
pub(in crate::server) struct Service(
    pub(in crate::server) Sandboxes,
    pub(in crate::server) Streams,
    pub(in crate::server) Option<Duration>,
);

impl Service {
    /// The agent that owns what this id names.
    async fn agent(&self, caller: &Caller, kind: Kind, id: &str) -> Result<(Reached, AgentClient), Status> {
        Span::current().record("id", id);
        let reached = self.0.reach(caller, kind, id).await?;
        let client = reached.client().await?;
        Ok((reached, client))
    }

    /// The agent that a command is for.
    async fn target(&self, caller: &Caller, start: &ExecStart) -> Result<(Reached, AgentClient), Status> {
        let (reached, client) = match &start.target {
            Some(Target::SandboxId(id)) => self.agent(caller, Kind::Sandbox, id).await,
            Some(Target::SessionId(id)) => self.agent(caller, Kind::Session, id).await,
            None => self.agent(caller, Kind::Session, "").await,
        }?;
        if !start.argv.is_empty() {
            reached.executes_programs()?;
        }
        if start.resume_from.is_some() {
            reached.resumes_starts()?;
        }
        Ok((reached, client))
    }

    /// A start, with the time-out that the operator wants for those who ask for none.
    fn with_default_timeout<T>(&self, request: Request<T>) -> Request<T> {
        with_default_timeout(self.2, request)
    }

    /// The place that a start takes among the tenant's sessions, as long as the call lasts: a direct execution has one.
    async fn place(&self, caller: &Caller, start: &ExecStart, reached: &Reached) -> Result<Place, Status> {
        match start.target {
            Some(Target::SandboxId(_)) => Place::one_more(&self.0, caller, reached, !start.request_id.is_empty()).await,
            Some(Target::SessionId(_)) | None => Ok(Place::NotNeeded),
        }
    }
}

#[tonic::async_trait]
impl SessionService for Service {
    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Result<Response<Session>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::create_session(&request)?;
        let (reached, mut agent) = self.agent(&caller, Kind::Sandbox, &request.sandbox_id).await?;
        let place = Place::one_more(&self.0, &caller, &reached, !request.request_id.is_empty()).await?;
        let created = agent.create_session(place.ask(request)).await;
        place.judge(answer(&reached, created).await)
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
        let by = AnswerBy::of(&request);
        let (caller, mut client) = (caller(&request), request.into_inner());
        let stream = self.1.open_wide(&caller)?;
        let start = Stdin::start(&mut client).await?;
        validate::start(&start)?;
        let (reached, mut agent) = self.target(&caller, &start).await?;
        if !stream.is_wide() {
            agent = reached.watcher().await?;
        }
        let place = self.place(&caller, &start, &reached).await?;
        let cancelled = start.cancel_on_disconnect;
        let (stdin, (mut violation, input)) = Stdin::new(start, client, reached.knows_places_of_input());
        let call = tokio::select! {
            biased;
            call = agent.exec(self.with_default_timeout(place.ask(stdin))) => call,
            Ok(status) = &mut violation => return Err(status),
        };
        let output = place.judge(answer(&reached, call).await)?.into_inner();
        let relay = Relay::new(output, reached, stream).with_input(violation, input);
        Ok(Response::new(relay.until(by, String::new(), cancelled)))
    }

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        let by = AnswerBy::of(&request);
        let (caller, request) = (caller(&request), request.into_inner());
        validate::run(&request)?;
        let start = request.start.as_ref().ok_or_else(|| Error::invalid("start", "is required"))?;
        let (reached, mut agent) = self.target(&caller, start).await?;
        let place = self.place(&caller, start, &reached).await?;
        let cancelled = start.cancel_on_disconnect;
        let mut request = self.with_default_timeout(place.ask(request));
        if let Some(by) = by {
            let millis = u64::try_from(by.within().as_millis()).unwrap_or(u64::MAX);
            request.metadata_mut().insert(ANSWER_WITHIN, millis.into());
        }
        let mut call = Box::pin(async move { agent.run(request).await });
        tokio::select! {
            biased;
            answer = &mut call => place.judge(run_answer(&reached, answer).await),
            // The command goes on; with the same request_id the next server gives its answer.
            () = reached.server_stops() => {
                if cancelled {
                    keep_to_the_end(call);
                }
                Err(Error::stopping().into())
            }
        }
    }

    type AttachStream = Relay;

    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<Relay>, Status> {
        let by = AnswerBy::of(&request);
        let (caller, request) = (caller(&request), request.into_inner());
        validate::attach(&request)?;
        let stream = self.1.open(&caller)?;
        let (reached, _) = self.agent(&caller, Kind::Command, &request.command_id).await?;
        let mut agent = reached.watcher().await?;
        let command_id = request.command_id.clone();
        let output = answer(&reached, agent.attach(request).await).await?.into_inner();
        Ok(Response::new(Relay::new(output, reached, stream).until(by, command_id, false)))
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

    async fn list_processes(
        &self,
        request: Request<ListProcessesRequest>,
    ) -> Result<Response<ListProcessesResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::list_processes(&request)?;
        let (kind, id) = whose_processes(&request.session_id, &request.command_id);
        let (reached, mut agent) = self.agent(&caller, kind, id).await?;
        answer(&reached, agent.list_processes(request).await).await
    }

    async fn signal_process(
        &self,
        request: Request<SignalProcessRequest>,
    ) -> Result<Response<SignalProcessResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::signal_process(&request)?;
        let (kind, id) = whose_processes(&request.session_id, &request.command_id);
        let (reached, mut agent) = self.agent(&caller, kind, id).await?;
        answer(&reached, agent.signal_process(request).await).await
    }
}

/// What a checked request about processes names.
fn whose_processes<'a>(session_id: &'a str, command_id: &'a str) -> (Kind, &'a str) {
    if command_id.is_empty() { (Kind::Session, session_id) } else { (Kind::Command, command_id) }
}
