//! The gRPC side of code.

use super::Contexts;
use crate::{
    agent::asked,
    api::v1::{
        DeleteContextRequest, DeleteContextResponse, ListContextsRequest, ListContextsResponse, ListLanguagesRequest,
        ListLanguagesResponse, RunCodeRequest, RunCodeResponse, code_service_server::CodeService,
    },
};
use futures_util::{Stream, StreamExt};
use std::{pin::Pin, sync::Arc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The service over the contexts of the sandbox.
pub(in crate::agent) struct Service(pub(in crate::agent) Arc<Contexts>);

#[tonic::async_trait]
impl CodeService for Service {
    type RunCodeStream = Pin<Box<dyn Stream<Item = Result<RunCodeResponse, Status>> + Send>>;

    async fn run_code(&self, request: Request<RunCodeRequest>) -> Result<Response<Self::RunCodeStream>, Status> {
        let only_known = asked::only_known(request.metadata().as_ref());
        let default_timeout = asked::default_timeout(request.metadata().as_ref());
        let mut request = request.into_inner();
        request.timeout = request.timeout.or_else(|| default_timeout.and_then(|timeout| timeout.try_into().ok()));
        let told = self.0.run(request, only_known)?;
        let answers = ReceiverStream::new(told).map(|told| told.map_err(Status::from));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_languages(
        &self,
        request: Request<ListLanguagesRequest>,
    ) -> Result<Response<ListLanguagesResponse>, Status> {
        let languages = self.0.languages(&request.get_ref().sandbox_id)?;
        Ok(Response::new(ListLanguagesResponse { languages }))
    }

    async fn list_contexts(
        &self,
        request: Request<ListContextsRequest>,
    ) -> Result<Response<ListContextsResponse>, Status> {
        Ok(Response::new(ListContextsResponse { contexts: self.0.list(&request.get_ref().sandbox_id)? }))
    }

    async fn delete_context(
        &self,
        request: Request<DeleteContextRequest>,
    ) -> Result<Response<DeleteContextResponse>, Status> {
        let DeleteContextRequest { sandbox_id, context_id } = request.into_inner();
        self.0.delete(&sandbox_id, &context_id).await?;
        Ok(Response::new(DeleteContextResponse {}))
    }
}
