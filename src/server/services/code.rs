//! `sandshell.v1.CodeService`: checks a message, finds the sandbox, and passes the message on unchanged to its agent.

use crate::{
    api::v1::{
        DeleteContextRequest, DeleteContextResponse, ListContextsRequest, ListContextsResponse, ListLanguagesRequest,
        ListLanguagesResponse, RunCodeRequest, RunCodeResponse, code_service_server::CodeService,
    },
    error::Kind,
    sandbox::{Reached, Sandboxes, link::CodeClient},
    server::{
        layers::{auth::caller, deadline::with_default_timeout},
        relay::{answers::answer, passing::Passing, session_place::Place, streams::Streams},
        request::validate,
    },
    tenant::Caller,
};
use std::time::Duration;
use tonic::{Request, Response, Status};
use tracing::Span;

/// The service over the agents of all sandboxes, the streams that are open, and the longest run time of code whose client says nothing
/// of one.
pub(in crate::server) struct Service(
    pub(in crate::server) Sandboxes,
    pub(in crate::server) Streams,
    pub(in crate::server) Option<Duration>,
);

impl Service {
    /// What runs code in a sandbox.
    async fn code(&self, caller: &Caller, sandbox_id: &str) -> Result<(Reached, CodeClient), Status> {
        Span::current().record("id", sandbox_id);
        let reached = self.0.reach(caller, Kind::Sandbox, sandbox_id).await?;
        let client = reached.code().await?;
        Ok((reached, client))
    }
}

#[tonic::async_trait]
impl CodeService for Service {
    type RunCodeStream = Passing<RunCodeResponse>;

    async fn run_code(&self, request: Request<RunCodeRequest>) -> Result<Response<Self::RunCodeStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::code::run_code(&request)?;
        let stream = self.1.open(&caller)?;
        let (reached, mut code) = self.code(&caller, &request.sandbox_id).await?;
        // A context that is there needs no place, and only the agent knows whether it is.
        let place = Place::one_more(&self.0, &caller, &reached, !request.context_id.is_empty()).await?;
        let told = code.run_code(with_default_timeout(self.2, place.ask(request))).await;
        let told = place.judge(answer(&reached, told).await)?.into_inner();
        Ok(Response::new(Passing::new(told, reached, stream)))
    }

    async fn list_languages(
        &self,
        request: Request<ListLanguagesRequest>,
    ) -> Result<Response<ListLanguagesResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::sandbox_id(&request.sandbox_id)?;
        let (reached, mut code) = self.code(&caller, &request.sandbox_id).await?;
        answer(&reached, code.list_languages(request).await).await
    }

    async fn list_contexts(
        &self,
        request: Request<ListContextsRequest>,
    ) -> Result<Response<ListContextsResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::sandbox_id(&request.sandbox_id)?;
        let (reached, mut code) = self.code(&caller, &request.sandbox_id).await?;
        answer(&reached, code.list_contexts(request).await).await
    }

    async fn delete_context(
        &self,
        request: Request<DeleteContextRequest>,
    ) -> Result<Response<DeleteContextResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::code::delete_context(&request)?;
        let (reached, mut code) = self.code(&caller, &request.sandbox_id).await?;
        answer(&reached, code.delete_context(request).await).await
    }
}
