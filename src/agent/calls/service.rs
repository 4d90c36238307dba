//! The agent's side of the private service: takes messages, calls the sessions, answers.

use super::{answer::Held, arrival::Arriving};
use crate::{
    agent::{
        asked,
        code::{self, Contexts},
        command::{Command, Control, Follower, InputPiece, Missing, no_room},
        host::prepare,
        line::{Connection, Line},
        output::Collected,
        session::{programs, sessions::Sessions, starts::Started},
    },
    api::{
        agent::v1::{
            ActivityRequest, ActivityResponse, HelloRequest, HelloResponse, PrepareRequest, PrepareResponse,
            StopRequest, StopResponse,
            agent_service_server::{AgentService, AgentServiceServer},
        },
        v1::{
            self, ExecRequest, ExecResponse, code_service_server::CodeServiceServer, exec_request::Request as Piece,
            exec_response::Response as Said,
        },
    },
    error::{Error, Reason},
    rpc::{
        paging,
        services::{Named, Services},
        serving::{self, Terms},
        transport,
    },
};
use futures_util::StreamExt;
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, body::Body};

type Answers = Pin<Box<dyn futures_util::Stream<Item = Result<ExecResponse, Status>> + Send>>;

/// Unread bytes that one stream to the agent may have under way, by the memory that there is.
const LEAST_WINDOW: u32 = 64 << 10;
const MOST_WINDOW: u32 = 1 << 20;

/// Bytes of each stream that `Run` returns unless the client says otherwise.
const RUN_OUTPUT: usize = 1 << 20;

/// Calls under way on one connection; the server has one for all of its clients.
const MOST_STREAMS: u32 = 8192;

/// The agent's service.
pub(in crate::agent) struct Service {
    /// What it serves.
    pub(in crate::agent) sessions: Arc<Sessions>,
}

impl Service {
    /// Serves on these connections, and goes on until they end.
    pub(in crate::agent) async fn serve(self, incoming: impl futures_util::Stream<Item = Connection>) {
        let budget = Arc::clone(self.sessions.budget());
        let contexts = Contexts::new(Arc::clone(&self.sessions));
        let code =
            CodeServiceServer::new(code::Service(contexts)).max_decoding_message_size(transport::MAX_MESSAGE_BYTES);
        let service = AgentServiceServer::new(self)
            .max_decoding_message_size(transport::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(usize::MAX);
        // What arrives is in memory before anybody asks for it, as much as a window of each stream.
        let window = u32::try_from(budget.total() / 1024).unwrap_or(MOST_WINDOW).clamp(LEAST_WINDOW, MOST_WINDOW);
        let terms = Terms { stream_window: window, most_calls: MOST_STREAMS };
        let services = Services::new([Named::new(service), Named::new(code)]);
        serving::serve(incoming, terms, |connection| {
            let (services, budget, line) = (services.clone(), Arc::clone(&budget), connection.line());
            move |mut request: http::Request<Body>| {
                request.extensions_mut().insert(line.clone());
                let refusing = Arc::clone(&budget);
                let refuse = move |length| Status::from(no_room(length, &refusing));
                let answer = services.answer(request.map(|body| Body::new(Arriving::new(body, &budget, refuse))));
                async move {
                    let mut response = answer.await?;
                    Ok(match response.extensions_mut().remove::<Held>() {
                        Some(held) => response.map(|body| Body::new(held.by(body))),
                        None => response,
                    })
                }
            }
        })
        .await;
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    type ExecStream = Answers;
    type AttachStream = Answers;

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(HelloResponse {
            protocol_version: request.into_inner().protocol_version.min(transport::PROTOCOL_VERSION),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            sandbox_id: self.sessions.sandbox_id().into(),
        }))
    }

    async fn prepare(&self, _: Request<PrepareRequest>) -> Result<Response<PrepareResponse>, Status> {
        Ok(Response::new(prepare::prepare(&self.sessions.config)))
    }

    async fn create_session(
        &self,
        request: Request<v1::CreateSessionRequest>,
    ) -> Result<Response<v1::Session>, Status> {
        let only_known = asked::only_known(request.metadata().as_ref());
        let session = self.sessions.create(request.into_inner(), only_known).await?;
        Ok(Response::new(session.describe()))
    }

    async fn get_session(&self, request: Request<v1::GetSessionRequest>) -> Result<Response<v1::Session>, Status> {
        Ok(Response::new(self.sessions.get(&request.get_ref().session_id)?.describe()))
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let request = request.into_inner();
        let all = self.sessions.list(&request.sandbox_id)?;
        let page =
            paging::page(all, request.page_size, &request.page_token)?.map(|session| session.describe()).fitting();
        Ok(Response::new(v1::ListSessionsResponse {
            sessions: page.items,
            next_page_token: page.next_token,
            total_size: page.total,
        }))
    }

    async fn close_session(
        &self,
        request: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionResponse>, Status> {
        let sessions = Arc::clone(&self.sessions);
        // A close that has begun is finished, even when the caller does not wait for it.
        let closed = tokio::spawn(async move { sessions.close(&request.get_ref().session_id).await }).await;
        closed.map_err(|error| Error::internal("close a session", error))??;
        Ok(Response::new(v1::CloseSessionResponse {}))
    }

    async fn exec(&self, request: Request<Streaming<ExecRequest>>) -> Result<Response<Answers>, Status> {
        let only_known = asked::only_known(request.metadata().as_ref());
        let default_timeout = asked::default_timeout(request.metadata().as_ref());
        let line = line(&request);
        let mut pieces = request.into_inner();
        let Some(ExecRequest { request: Some(Piece::Start(start)) }) = pieces.message().await? else {
            return Err(Error::invalid("start", "the first message must be start").into());
        };
        let Started { command, follower, mut starter } =
            self.sessions.start(start, None, only_known, default_timeout, line).await?;
        let answers = follower.into_stream().map(move |message| {
            if matches!(message.response, Some(Said::Exited(_))) {
                starter.answered();
            }
            Ok(message)
        });
        let (missing, stop) = (Arc::new(OnceLock::new()), CancellationToken::new());
        let answers = answers.take_until({
            let (refused, stopped) = (command.input_refused(), stop.clone().cancelled_owned());
            async move {
                tokio::select! {
                    () = refused => {}
                    () = stopped => {}
                }
            }
        });
        let (heard, listener) = (Arc::clone(&missing), Arc::clone(&command));
        tokio::spawn(async move {
            if let Err(error) = listen(pieces, listener).await {
                drop(heard.set(Status::from(Error::invalid("input_at.offset", error.to_string()))));
                stop.cancel();
            }
        });
        let refused = async move {
            let missing = missing.get().cloned();
            missing.or_else(|| command.input_is_refused().then(|| unwanted_input().into())).map(Err)
        };
        Ok(Response::new(Box::pin(answers.chain(futures_util::stream::once(refused).filter_map(std::future::ready)))))
    }

    async fn run(&self, request: Request<v1::RunRequest>) -> Result<Response<v1::RunResponse>, Status> {
        let began = Instant::now();
        let (only_known, within) =
            (asked::only_known(request.metadata().as_ref()), asked::answer_within(request.metadata().as_ref()));
        let default_timeout = asked::default_timeout(request.metadata().as_ref());
        let line = line(&request);
        let v1::RunRequest { start, stdin, max_output_bytes, wait } = request.into_inner();
        let start = start.ok_or_else(|| Error::invalid("start", "is required"))?;
        let cancelled = start.cancel_on_disconnect;
        let wait = wait.and_then(|wait| Duration::try_from(wait).ok());
        let budget = self.sessions.budget();
        let Started { command, mut follower, mut starter } =
            self.sessions.start(start, Some(stdin), only_known, default_timeout, line).await?;
        let bound = usize::try_from(max_output_bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(RUN_OUTPUT);
        let collected = || Collected::new(bound, budget);
        let (mut stdout, mut stderr, mut terminal) = (collected(), collected(), collected());
        let command_id = command.id.clone();
        let collecting = follower.collect(|output| match output.stream() {
            v1::Stream::Stdout => stdout.take(&output.data),
            v1::Stream::Stderr => stderr.take(&output.data),
            v1::Stream::Terminal => terminal.take(&output.data),
            v1::Stream::Unspecified => {}
        });
        // No wait is longer than the time that the caller has.
        let limit = [wait, within].into_iter().flatten().min();
        let exited = match limit.and_then(|limit| began.checked_add(limit)) {
            None => collecting.await,
            Some(limit) => match tokio::time::timeout_at(limit, collecting).await {
                Ok(exited) => exited,
                Err(_) if wait == Some(limit - began) => None,
                Err(_) => return Err(Error::still_running(command_id, cancelled).into()),
            },
        };
        starter.answered();
        let [stdout_offset, stderr_offset, terminal_offset] = follower.reached().map(|offset| offset as i64);
        let (stdout, stdout_truncated, stdout_truncated_at, for_stdout) = stdout.finish();
        let (stderr, stderr_truncated, stderr_truncated_at, for_stderr) = stderr.finish();
        let (terminal, terminal_truncated, terminal_truncated_at, for_terminal) = terminal.finish();
        let mut response = Response::new(v1::RunResponse {
            command_id,
            stdout,
            stderr,
            exited,
            stdout_truncated,
            stderr_truncated,
            stdout_truncated_at,
            stderr_truncated_at,
            terminal,
            terminal_truncated,
            terminal_truncated_at,
            stdout_offset,
            stderr_offset,
            terminal_offset,
        });
        response.extensions_mut().insert(Held::new([for_stdout, for_stderr, for_terminal]));
        Ok(response)
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Result<Response<Answers>, Status> {
        let request = request.into_inner();
        let command = self.sessions.command(&request.command_id)?;
        let from = [request.stdout_offset, request.stderr_offset, request.terminal_offset].map(|at| at.max(0) as u64);
        let follower = Follower::watcher(command, from, request.follow_background).ok_or_else(too_many_watchers)?;
        Ok(Response::new(Box::pin(follower.into_stream().map(Ok))))
    }

    async fn get_command(&self, request: Request<v1::GetCommandRequest>) -> Result<Response<v1::Command>, Status> {
        Ok(Response::new(self.sessions.command(&request.get_ref().command_id)?.describe()))
    }

    async fn list_commands(
        &self,
        request: Request<v1::ListCommandsRequest>,
    ) -> Result<Response<v1::ListCommandsResponse>, Status> {
        let request = request.into_inner();
        let commands = self.sessions.get(&request.session_id)?.commands();
        let numbered = commands.into_iter().map(|command| (command.number(), command)).collect();
        let page = paging::page(numbered, request.page_size, &request.page_token)?;
        let page = page.map(|command| command.describe()).fitting();
        Ok(Response::new(v1::ListCommandsResponse {
            commands: page.items,
            next_page_token: page.next_token,
            total_size: page.total,
        }))
    }

    async fn signal_command(
        &self,
        request: Request<v1::SignalCommandRequest>,
    ) -> Result<Response<v1::SignalCommandResponse>, Status> {
        let v1::SignalCommandRequest { command_id, signal } = request.into_inner();
        let command = self.sessions.command(&command_id)?;
        if self.sessions.cancel_waiting(&command) {
            return Ok(Response::new(v1::SignalCommandResponse {}));
        }
        let control = if signal == 0 { Control::Cancel } else { Control::Signal(signal) };
        if !command.say(control).await {
            let message = format!("command \"{command_id}\" is over");
            return Err(Error::WrongState { reason: Reason::CommandExited, message }.into());
        }
        Ok(Response::new(v1::SignalCommandResponse {}))
    }

    async fn list_processes(
        &self,
        request: Request<v1::ListProcessesRequest>,
    ) -> Result<Response<v1::ListProcessesResponse>, Status> {
        let request = request.into_inner();
        let (session, only) = self.sessions.of_processes(&request.session_id, &request.command_id)?;
        let page = (request.page_size, request.page_token.as_str());
        let page = programs::list(&session, only.as_deref(), self.sessions.budget(), page).await?;
        Ok(Response::new(v1::ListProcessesResponse {
            processes: page.items,
            next_page_token: page.next_token,
            total_size: page.total,
        }))
    }

    async fn signal_process(
        &self,
        request: Request<v1::SignalProcessRequest>,
    ) -> Result<Response<v1::SignalProcessResponse>, Status> {
        let request = request.into_inner();
        let (session, _) = self.sessions.of_processes(&request.session_id, &request.command_id)?;
        let signalled = programs::signal(&session, &request).await?;
        Ok(Response::new(v1::SignalProcessResponse { signalled: signalled as i32 }))
    }

    async fn get_activity(&self, _: Request<ActivityRequest>) -> Result<Response<ActivityResponse>, Status> {
        Ok(Response::new(self.sessions.activity().now()))
    }

    type WatchActivityStream = Pin<Box<dyn futures_util::Stream<Item = Result<ActivityResponse, Status>> + Send>>;

    async fn watch_activity(&self, _: Request<ActivityRequest>) -> Result<Response<Self::WatchActivityStream>, Status> {
        Ok(Response::new(Box::pin(self.sessions.activity().watch().map(Ok))))
    }

    async fn stop(&self, _request: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        self.sessions.stop().await;
        Ok(Response::new(StopResponse {}))
    }
}

/// The connection that a call came by.
fn line<T>(request: &Request<T>) -> Line {
    request.extensions().get::<Line>().cloned().unwrap_or_default()
}

fn too_many_watchers() -> Error {
    let message = "the sandbox's agent has no room for another watcher; end one, or give the sandbox more memory";
    Error::exhausted(Reason::SandboxOutOfResources, message)
}

fn unwanted_input() -> Error {
    let message = "no program reads it: the command was started without stdin, so that its standard input is empty, and \
                   nothing asks on its terminal; start it with stdin, or with pty";
    Error::invalid("stdin", message)
}

/// Passes on what the client says after the start. How its stream ends means nothing: the command goes on.
async fn listen(mut pieces: Streaming<ExecRequest>, command: Arc<Command>) -> Result<(), Missing> {
    while let Ok(Some(ExecRequest { request: Some(piece) })) = pieces.message().await {
        match piece {
            Piece::Stdin(data) => command.give_input(InputPiece::Data(data), None).await?,
            Piece::CloseStdin(_) => command.give_input(InputPiece::End, None).await?,
            Piece::InputAt(input) => {
                // Refused at the edge when it is negative.
                let at = u64::try_from(input.offset).unwrap_or_default();
                let behind = at + input.data.len() as u64;
                if !input.data.is_empty() {
                    command.give_input(InputPiece::Data(input.data), Some(at)).await?;
                }
                if input.end {
                    command.give_input(InputPiece::End, Some(behind)).await?;
                }
            }
            Piece::Signal(signal) => {
                command.say(Control::Signal(signal)).await;
            }
            Piece::Resize(size) => {
                command.say(Control::Resize(size)).await;
            }
            // Refused at the edge.
            Piece::Start(_) => {}
        }
    }
    Ok(())
}
