//! Passes what an agent says on to a client. The agent is not trusted: what it says is bounded, and its metadata dropped.

use super::streams::OpenStream;
use crate::{
    api::v1::{ExecResponse, Exited, RunResponse, exec_response, exited},
    error::{Error, Reason},
    rpc::status::{MAX_DETAILS, bounded, is_agents_word},
    sandbox::{Reached, Watching},
    server::layers::deadline::AnswerBy,
};
use futures_util::{
    Stream, StreamExt,
    future::{BoxFuture, Fuse},
};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{sync::oneshot, time::Sleep};
use tonic::{Response, Status, Streaming};

/// The agent's answer to a call, as the client gets it.
pub(in crate::server) async fn answer<T>(
    reached: &Reached,
    result: Result<Response<T>, Status>,
) -> Result<Response<T>, Status> {
    match result {
        Ok(response) => Ok(Response::new(response.into_inner())),
        Err(status) => Err(failure(reached, status).await),
    }
}

/// As [`answer`]; a command that went down with its sandbox has still ended.
pub(in crate::server) async fn run_answer(
    reached: &Reached,
    result: Result<Response<RunResponse>, Status>,
) -> Result<Response<RunResponse>, Status> {
    match result {
        Err(status) if !is_agents_word(&status) && reached.is_stopping() => Ok(Response::new(RunResponse {
            exited: Some(stopped()),
            stdout_truncated: true,
            stderr_truncated: true,
            terminal_truncated: true,
            ..RunResponse::default()
        })),
        result => answer(reached, result).await,
    }
}

/// How long at the most a server that stops is still there.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// Keeps a call of the agent's until the server has ended. Dropped before, it would look as if its client had given it up, and
/// the agent would cancel a command that was started with `cancel_on_disconnect`.
pub(in crate::server) fn keep_to_the_end(call: impl Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(ENDS_WITHIN).await;
        drop(call);
    });
}

pub(in crate::server) async fn failure(reached: &Reached, status: Status) -> Status {
    if is_agents_word(&status) {
        return pass_on(&status);
    }
    if reached.is_stopping() {
        let message = "the sandbox is being deleted".to_owned();
        return Error::WrongState { reason: Reason::SandboxNotRunning, message }.into();
    }
    reached.lost(status).await.into()
}

fn pass_on(status: &Status) -> Status {
    let message = bounded(status.message());
    if status.details().len() > MAX_DETAILS {
        return Status::new(status.code(), message);
    }
    Status::with_details(status.code(), message, bytes::Bytes::copy_from_slice(status.details()))
}

/// How a command ended whose agent could not tell any more. 137: it was killed.
fn stopped() -> Exited {
    Exited {
        exit_code: 137,
        signal: 9,
        reason: exited::Reason::SandboxStopped.into(),
        shell_exited: true,
        ..Exited::default()
    }
}

/// A command's output on its way from the agent to one client. It is read from the agent only when the client takes it.
pub(in crate::server) struct Relay {
    /// Absent once the server has stopped.
    agent: Option<Streaming<ExecResponse>>,
    reached: Reached,
    state: State,
    /// Whether `exited` was passed on.
    exited: bool,
    /// Ends the call with what is wrong with the client's input.
    violation: Fuse<oneshot::Receiver<Status>>,
    /// Ends the way of the input when it is dropped.
    input: Option<oneshot::Sender<()>>,
    /// Ends the call when the server stops and the sandbox goes on.
    server_stops: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The command, as soon as it is known.
    command_id: String,
    /// Whether the command ends with the call.
    cancelled: bool,
    /// The caller's own time.
    deadline: Option<Pin<Box<Sleep>>>,
    _watching: Watching,
    _stream: OpenStream,
}

enum State {
    Open,
    Failing(BoxFuture<'static, Status>),
    Closed,
}

impl Relay {
    pub(in crate::server) fn new(agent: Streaming<ExecResponse>, reached: Reached, stream: OpenStream) -> Self {
        let (_watching, server_stops) = (reached.watch(), Box::pin(reached.server_stops()));
        Self {
            agent: Some(agent),
            reached,
            state: State::Open,
            exited: false,
            violation: Fuse::terminated(),
            input: None,
            server_stops,
            command_id: String::new(),
            cancelled: false,
            deadline: None,
            _watching,
            _stream: stream,
        }
    }

    /// A relay of a call that has input; see [`super::stdin`].
    pub(in crate::server) fn with_input(
        self,
        violation: Fuse<oneshot::Receiver<Status>>,
        input: oneshot::Sender<()>,
    ) -> Self {
        Self { violation, input: Some(input), ..self }
    }

    /// A relay whose caller has so much time. `cancelled` tells whether the command ends with the call.
    pub(in crate::server) fn until(self, by: Option<AnswerBy>, command_id: String, cancelled: bool) -> Self {
        let deadline = by.map(|AnswerBy(at)| Box::pin(tokio::time::sleep_until(at)));
        Self { deadline, command_id, cancelled, ..self }
    }

    /// An error that names the command.
    fn about(&self, error: Error) -> Status {
        if self.command_id.is_empty() { error.into() } else { error.about(self.command_id.clone()).into() }
    }

    /// What follows when the agent's stream ended, by an error or without one.
    fn end(&mut self, status: Option<Status>) -> Option<Result<ExecResponse, Status>> {
        self.state = State::Closed;
        match status {
            Some(status) if is_agents_word(&status) => Some(Err(pass_on(&status))),
            _ if self.reached.is_stopping() => {
                let exited = exec_response::Response::Exited(stopped());
                (!self.exited).then_some(Ok(ExecResponse { response: Some(exited) }))
            }
            Some(status) => {
                let reached = self.reached.clone();
                self.state = State::Failing(Box::pin(async move { failure(&reached, status).await }));
                None
            }
            None => None,
        }
    }
}

impl Stream for Relay {
    type Item = Result<ExecResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Closed => return Poll::Ready(None),
                State::Failing(failure) => {
                    let status = ready!(failure.as_mut().poll(cx));
                    this.state = State::Closed;
                    return Poll::Ready(Some(Err(status)));
                }
                State::Open => {}
            }
            if let Poll::Ready(Ok(status)) = Pin::new(&mut this.violation).poll(cx) {
                this.state = State::Closed;
                return Poll::Ready(Some(Err(status)));
            }
            if this.server_stops.as_mut().poll(cx).is_ready() {
                this.state = State::Closed;
                this.input = None;
                let agent = this.agent.take();
                if this.cancelled {
                    keep_to_the_end(agent);
                }
                return Poll::Ready(Some(Err(this.about(Error::stopping()))));
            }
            if this.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
                this.state = State::Closed;
                this.input = None;
                return Poll::Ready(Some(Err(Error::still_running(this.command_id.clone(), this.cancelled).into())));
            }
            let Some(agent) = &mut this.agent else { return Poll::Ready(None) };
            let last = match ready!(agent.poll_next_unpin(cx)) {
                Some(Ok(message)) => {
                    this.exited |= matches!(message.response, Some(exec_response::Response::Exited(_)));
                    if let Some(exec_response::Response::Started(started)) = &message.response {
                        this.command_id.clone_from(&started.command_id);
                    }
                    return Poll::Ready(Some(Ok(message)));
                }
                Some(Err(status)) => this.end(Some(status)),
                None => this.end(None),
            };
            this.input = None;
            if last.is_some() {
                return Poll::Ready(last);
            }
        }
    }
}
