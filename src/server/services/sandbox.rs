//! `sandshell.v1.SandboxService`.

use crate::{
    api::v1::{
        CreateSandboxRequest, DeleteSandboxRequest, DeleteSandboxResponse, GetSandboxRequest, GetSandboxStatsRequest,
        ListSandboxesRequest, ListSandboxesResponse, Sandbox, SandboxStats, UpdateSandboxRequest, WatchSandboxRequest,
        WatchSandboxResponse, sandbox_service_server::SandboxService,
    },
    error::Error,
    rpc::paging,
    sandbox::{self, Sandboxes},
    server::{
        layers::auth::caller,
        request::{convert, validate},
    },
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tonic::{Request, Response, Status};
use tracing::Span;

/// The service over all sandboxes.
pub(in crate::server) struct Service(pub(in crate::server) Sandboxes);

#[tonic::async_trait]
impl SandboxService for Service {
    async fn create_sandbox(&self, request: Request<CreateSandboxRequest>) -> Result<Response<Sandbox>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::create_sandbox(&request)?;
        let sandbox = self.0.create(&caller, convert::new_sandbox(request)).await?;
        Ok(Response::new(convert::sandbox(sandbox)))
    }

    type CreateAndWatchSandboxStream = BoxStream<'static, Result<WatchSandboxResponse, Status>>;

    async fn create_and_watch_sandbox(
        &self,
        request: Request<CreateSandboxRequest>,
    ) -> Result<Response<Self::CreateAndWatchSandboxStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::create_sandbox(&request)?;
        let mut steps = self.0.create_and_watch(&caller, convert::new_sandbox(request));
        // What is refused at once is a refusal of the call.
        let first = steps.next().await.transpose()?;
        let steps = stream::iter(first.map(Ok)).chain(steps);
        Ok(Response::new(steps.map(watched).boxed()))
    }

    async fn get_sandbox(&self, request: Request<GetSandboxRequest>) -> Result<Response<Sandbox>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::get_sandbox(&request)?;
        Span::current().record("id", &request.sandbox_id);
        let sandbox = self.0.get(&caller, &request.sandbox_id).await?;
        Ok(Response::new(convert::sandbox(sandbox)))
    }

    async fn list_sandboxes(
        &self,
        request: Request<ListSandboxesRequest>,
    ) -> Result<Response<ListSandboxesResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::list_sandboxes(&request)?;
        let size = validate::page_size(request.page_size);
        let labels = request.labels.into_iter().collect();
        let listing = self.0.list(&caller, &labels, size, &request.page_token).await?;
        let (total, more) = (listing.total, listing.next_page_token.unwrap_or_default());
        let mut sandboxes: Vec<_> = listing.sandboxes.into_iter().map(convert::sandbox).collect();
        let fitting = paging::fitting(&sandboxes);
        let cut = fitting < sandboxes.len();
        sandboxes.truncate(fitting);
        let last = sandboxes.last().filter(|_| cut).map(|last| sandbox::token_of(&last.sandbox_id));
        Ok(Response::new(ListSandboxesResponse {
            sandboxes,
            next_page_token: last.unwrap_or(more),
            total_size: i32::try_from(total).unwrap_or(i32::MAX),
        }))
    }

    async fn update_sandbox(&self, request: Request<UpdateSandboxRequest>) -> Result<Response<Sandbox>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::update_sandbox(&request)?;
        let (sandbox_id, update) = convert::update(request);
        Span::current().record("id", &sandbox_id);
        let sandbox = self.0.update(&caller, &sandbox_id, update).await?;
        Ok(Response::new(convert::sandbox(sandbox)))
    }

    async fn delete_sandbox(
        &self,
        request: Request<DeleteSandboxRequest>,
    ) -> Result<Response<DeleteSandboxResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::delete_sandbox(&request)?;
        Span::current().record("id", &request.sandbox_id);
        self.0.delete(&caller, &request.sandbox_id).await?;
        Ok(Response::new(DeleteSandboxResponse {}))
    }

    async fn get_sandbox_stats(
        &self,
        request: Request<GetSandboxStatsRequest>,
    ) -> Result<Response<SandboxStats>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::sandbox_id(&request.sandbox_id)?;
        Span::current().record("id", &request.sandbox_id);
        let stats = self.0.stats(&caller, &request.sandbox_id).await?;
        Ok(Response::new(convert::stats(request.sandbox_id, stats)))
    }

    type WatchSandboxStream = BoxStream<'static, Result<WatchSandboxResponse, Status>>;

    async fn watch_sandbox(
        &self,
        request: Request<WatchSandboxRequest>,
    ) -> Result<Response<Self::WatchSandboxStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::sandbox_id(&request.sandbox_id)?;
        Span::current().record("id", &request.sandbox_id);
        let changes = self.0.watch(&caller, &request.sandbox_id).await?;
        Ok(Response::new(changes.map(watched).boxed()))
    }
}

fn watched(sandbox: Result<sandbox::Sandbox, Error>) -> Result<WatchSandboxResponse, Status> {
    Ok(WatchSandboxResponse { sandbox: Some(convert::sandbox(sandbox?)) })
}
