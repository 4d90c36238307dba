//! What calls are made on, and the calls.

use super::method::Method::{self, *};
use crate::kit::{Clients, LONG, Runtime, token, v1, within_time};
use std::time::Duration;
use tonic::{Code, Status, Streaming};
use v1::{ExecStart, exec_request::Request as Piece, exec_start::Target};

/// What calls are made on.
pub(super) struct Stage {
    pub(super) clients: Clients,
    pub(super) runtime: Runtime,
    pub(super) sandbox_id: String,
    pub(super) session_id: String,
    pub(super) command_id: String,
}

impl Stage {
    pub(super) fn labels(&self, id: &str) -> v1::CreateSandboxRequest {
        v1::CreateSandboxRequest { request_id: id.to_owned(), ..self.runtime.request() }
    }

    pub(super) fn start(&self, target: Target, command: &str, id: &str) -> ExecStart {
        ExecStart { target: Some(target), command: command.into(), request_id: id.into(), ..Default::default() }
    }

    pub(super) fn in_session(&self) -> Target {
        Target::SessionId(self.session_id.clone())
    }

    pub(super) fn direct(&self) -> Target {
        Target::SandboxId(self.sandbox_id.clone())
    }

    pub(super) async fn exec(&self, start: ExecStart) -> Result<(), Status> {
        let first = v1::ExecRequest { request: Some(Piece::Start(start)) };
        drain(self.clients.sessions.clone().exec(tokio_stream::once(first)).await?.into_inner()).await
    }

    pub(super) async fn run(&self, start: ExecStart) -> Result<(), Status> {
        let request = v1::RunRequest { start: Some(start), ..Default::default() };
        self.clients.sessions.clone().run(request).await.map(drop)
    }

    pub(super) async fn create_session(&self) -> Result<v1::Session, Status> {
        let request = v1::CreateSessionRequest { sandbox_id: self.sandbox_id.clone(), ..Default::default() };
        self.clients.sessions.clone().create_session(request).await.map(tonic::Response::into_inner)
    }

    /// Makes what a call is about, where that is not there already. Not cancelled.
    pub(super) async fn prepare(&self, method: Method) -> Result<String, Status> {
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
    pub(super) async fn call(&self, method: Method, id: &str) -> Result<(), Status> {
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

    pub(super) async fn sandbox_ids(&self) -> Vec<String> {
        let request = v1::ListSandboxesRequest { page_size: 1000, ..Default::default() };
        let listed = self.clients.sandboxes.clone().list_sandboxes(request).await.expect("a list").into_inner();
        listed.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect()
    }

    pub(super) async fn session_ids(&self) -> Vec<String> {
        let request =
            v1::ListSessionsRequest { sandbox_id: self.sandbox_id.clone(), page_size: 1000, ..Default::default() };
        let listed = self.clients.sessions.clone().list_sessions(request).await.expect("a list").into_inner();
        listed.sessions.into_iter().map(|session| session.session_id).collect()
    }

    /// Ends what calls have made whose answers nobody waited for, as a client does that lists what it has.
    pub(super) async fn tidy(&self) {
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
    pub(super) async fn persist(&self, method: Method, id: &str) {
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
}

async fn drain<T>(mut stream: Streaming<T>) -> Result<(), Status> {
    while stream.message().await?.is_some() {}
    Ok(())
}
