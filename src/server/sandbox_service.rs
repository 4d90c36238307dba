//! `sandshell.v1.SandboxService`.

use super::{convert, validate};
use crate::{
    api::v1::{
        CreateSandboxRequest, DeleteSandboxRequest, DeleteSandboxResponse, GetSandboxRequest, ListSandboxesRequest,
        ListSandboxesResponse, Sandbox, sandbox_service_server::SandboxService,
    },
    sandbox::Sandboxes,
};
use tonic::{Request, Response, Status};
use tracing::Span;

/// The service over all sandboxes.
pub(super) struct Service(pub(super) Sandboxes);

#[tonic::async_trait]
impl SandboxService for Service {
    async fn create_sandbox(&self, request: Request<CreateSandboxRequest>) -> Result<Response<Sandbox>, Status> {
        let request = request.into_inner();
        validate::create_sandbox(&request)?;
        let sandbox = self.0.create(convert::new_sandbox(request)).await?;
        Ok(Response::new(convert::sandbox(sandbox)))
    }

    async fn get_sandbox(&self, request: Request<GetSandboxRequest>) -> Result<Response<Sandbox>, Status> {
        let request = request.into_inner();
        validate::get_sandbox(&request)?;
        Span::current().record("id", &request.sandbox_id);
        let sandbox = self.0.get(&request.sandbox_id).await?;
        Ok(Response::new(convert::sandbox(sandbox)))
    }

    async fn list_sandboxes(
        &self,
        request: Request<ListSandboxesRequest>,
    ) -> Result<Response<ListSandboxesResponse>, Status> {
        let request = request.into_inner();
        validate::list_sandboxes(&request)?;
        let size = validate::page_size(request.page_size);
        let listing = self.0.list(&request.labels, size, &request.page_token)?;
        Ok(Response::new(ListSandboxesResponse {
            sandboxes: listing.sandboxes.into_iter().map(convert::sandbox).collect(),
            next_page_token: listing.next_page_token.unwrap_or_default(),
            total_size: i32::try_from(listing.total).unwrap_or(i32::MAX),
        }))
    }

    async fn delete_sandbox(
        &self,
        request: Request<DeleteSandboxRequest>,
    ) -> Result<Response<DeleteSandboxResponse>, Status> {
        let request = request.into_inner();
        validate::delete_sandbox(&request)?;
        Span::current().record("id", &request.sandbox_id);
        self.0.delete(&request.sandbox_id).await?;
        Ok(Response::new(DeleteSandboxResponse {}))
    }
}
