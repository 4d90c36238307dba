//! `sandshell.v1.FileService`: checks a message, finds the sandbox, and passes the message on unchanged to the program that works
//! on its files.

use crate::{
    api::v1::{
        ChangesRequest, ChangesResponse, CopyRequest, ExportRequest, ExportResponse, File, FindRequest, FindResponse,
        ImportRequest, ImportResponse, ListRequest, ListResponse, MakeDirectoryRequest, MoveRequest, ReadRequest,
        ReadResponse, RemoveRequest, RemoveResponse, ReplaceRequest, ReplaceResponse, SearchRequest, SearchResponse,
        SetAttributesRequest, StatRequest, WatchRequest, WatchResponse, WriteRequest, file_service_server::FileService,
        import_request, write_request::Request as Piece,
    },
    error::{Error, Kind, Reason},
    rpc::{
        pieces::Bytewise,
        status,
        unread::{Unread, request_with},
    },
    sandbox::{Reached, Sandboxes, link::FileClient},
    server::{
        layers::auth::caller,
        relay::{
            answers::answer,
            passing::Passing,
            streams::Streams,
            upload::{Upload, check_data},
        },
        request::{changes, validate},
    },
    tenant::Caller,
};
use tonic::{Code, Request, Response, Status, Streaming, body::Body};
use tracing::Span;

/// The service over the programs for files of all sandboxes, and the streams that are open.
pub(in crate::server) struct Service(pub(in crate::server) Sandboxes, pub(in crate::server) Streams);

impl Service {
    /// The program that works on a sandbox's files.
    async fn files(&self, caller: &Caller, sandbox_id: &str) -> Result<(Reached, FileClient), Status> {
        Span::current().record("id", sandbox_id);
        let reached = self.0.reach(caller, Kind::Sandbox, sandbox_id).await?.for_files();
        let client = reached.files().await?;
        Ok((reached, client))
    }
}

/// A call with one message and one answer.
macro_rules! pass {
    ($self:ident, $request:ident, $check:path, $method:ident) => {{
        let (caller, request) = (caller(&$request), $request.into_inner());
        $check(&request)?;
        let (reached, mut files) = $self.files(&caller, &request.sandbox_id).await?;
        answer(&reached, files.$method(request).await).await
    }};
}

/// What may follow the first message of a file that is written.
fn check_piece(message: &WriteRequest) -> Result<(), Status> {
    match &message.request {
        Some(Piece::Data(data)) => check_data(data),
        Some(Piece::Open(_)) => Err(Error::invalid("open", "may only come first").into()),
        None => Err(Error::invalid("data", "is required in every message after the first").into()),
    }
}

/// What may follow the first message of an archive that is unpacked.
fn check_part(message: &ImportRequest) -> Result<(), Status> {
    match &message.request {
        Some(import_request::Request::Data(data)) => check_data(data),
        Some(import_request::Request::Open(_)) => Err(Error::invalid("open", "may only come first").into()),
        None => Err(Error::invalid("data", "is required in every message after the first").into()),
    }
}

/// An answer to a method that came later than the others: a sandbox that an earlier version has started does not know it.
fn known<T>(answer: Result<T, Status>) -> Result<T, Status> {
    answer.map_err(|status| {
        if status.code() != Code::Unimplemented {
            return status;
        }
        let message =
            "the sandbox was started by an earlier version of Sandshell, which cannot do this; create another";
        Error::WrongState { reason: Reason::SandboxTooOld, message: message.to_owned() }.into()
    })
}

#[tonic::async_trait]
impl FileService for Service {
    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<File>, Status> {
        pass!(self, request, validate::file::stat, stat)
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        pass!(self, request, validate::file::list, list)
    }

    type ReadStream = Passing<ReadResponse>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::file::read(&request)?;
        let stream = self.1.open(&caller)?;
        let (reached, mut files) = self.files(&caller, &request.sandbox_id).await?;
        let data = answer(&reached, files.read(request).await).await?.into_inner();
        Ok(Response::new(Passing::new(data, reached, stream)))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<File>, Status> {
        let (caller, mut client) = (caller(&request), Bytewise::new(Unread::take(request.extensions())));
        let _stream = self.1.open(&caller)?;
        let first = client.first().await.map_err(status::explain)?;
        let Some(WriteRequest { request: Some(Piece::Open(open)) }) = &first else {
            return Err(Error::invalid("open", "is required: the first message of Write says what to write").into());
        };
        validate::file::write(open)?;
        let (reached, mut files) = self.files(&caller, &open.sandbox_id).await?;
        let _watching = reached.watch();
        let (upload, violated) = Upload::new(&first.unwrap_or_default(), client, check_piece);
        tokio::select! {
            biased;
            Ok(status) = violated => Err(status),
            result = files.write(request_with(Body::new(upload))) => answer(&reached, result).await,
            () = reached.server_stops() => Err(Error::stopping().into()),
        }
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        pass!(self, request, validate::file::remove, remove)
    }

    async fn r#move(&self, request: Request<MoveRequest>) -> Result<Response<File>, Status> {
        pass!(self, request, validate::file::move_, r#move)
    }

    async fn copy(&self, request: Request<CopyRequest>) -> Result<Response<File>, Status> {
        pass!(self, request, validate::file::copy, copy)
    }

    async fn make_directory(&self, request: Request<MakeDirectoryRequest>) -> Result<Response<File>, Status> {
        pass!(self, request, validate::file::make_directory, make_directory)
    }

    async fn set_attributes(&self, request: Request<SetAttributesRequest>) -> Result<Response<File>, Status> {
        pass!(self, request, validate::file::set_attributes, set_attributes)
    }

    async fn replace(&self, request: Request<ReplaceRequest>) -> Result<Response<ReplaceResponse>, Status> {
        pass!(self, request, validate::file::replace, replace)
    }

    async fn import(&self, request: Request<Streaming<ImportRequest>>) -> Result<Response<ImportResponse>, Status> {
        let (caller, mut client) = (caller(&request), Bytewise::new(Unread::take(request.extensions())));
        let _stream = self.1.open(&caller)?;
        let first = client.first().await.map_err(status::explain)?;
        let Some(ImportRequest { request: Some(import_request::Request::Open(open)) }) = &first else {
            return Err(Error::invalid("open", "is required: the first message of Import says where to unpack").into());
        };
        validate::file::import(open)?;
        let (reached, mut files) = self.files(&caller, &open.sandbox_id).await?;
        let _watching = reached.watch();
        let (upload, violated) = Upload::new(&first.unwrap_or_default(), client, check_part);
        tokio::select! {
            biased;
            Ok(status) = violated => Err(status),
            result = files.import(request_with(Body::new(upload))) => answer(&reached, known(result)).await,
            () = reached.server_stops() => Err(Error::stopping().into()),
        }
    }

    type ExportStream = Passing<ExportResponse>;

    async fn export(&self, request: Request<ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::file::export(&request)?;
        let stream = self.1.open(&caller)?;
        let (reached, mut files) = self.files(&caller, &request.sandbox_id).await?;
        let data = answer(&reached, known(files.export(request).await)).await?.into_inner();
        Ok(Response::new(Passing::new(data, reached, stream)))
    }

    type FindStream = Passing<FindResponse>;

    async fn find(&self, request: Request<FindRequest>) -> Result<Response<Self::FindStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::file::find(&request)?;
        let stream = self.1.open(&caller)?;
        let (reached, mut files) = self.files(&caller, &request.sandbox_id).await?;
        let found = answer(&reached, known(files.find(request).await)).await?.into_inner();
        Ok(Response::new(Passing::new(found, reached, stream)))
    }

    type SearchStream = Passing<SearchResponse>;

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<Self::SearchStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::file::search(&request)?;
        let stream = self.1.open(&caller)?;
        let (reached, mut files) = self.files(&caller, &request.sandbox_id).await?;
        let found = answer(&reached, known(files.search(request).await)).await?.into_inner();
        Ok(Response::new(Passing::new(found, reached, stream)))
    }

    async fn changes(&self, request: Request<ChangesRequest>) -> Result<Response<ChangesResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::file::changes(&request)?;
        Span::current().record("id", &request.sandbox_id);
        // The runtime knows it; nobody inside is asked.
        let found = self.0.changes(&caller, &request.sandbox_id, changes::wanted(&request)?).await?;
        Ok(Response::new(changes::answer(found)))
    }

    type WatchStream = Passing<WatchResponse>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::file::watch(&request)?;
        let stream = self.1.open(&caller)?;
        Span::current().record("id", &request.sandbox_id);
        let reached = self.0.reach(&caller, Kind::Sandbox, &request.sandbox_id).await?.for_files();
        let mut files = reached.file_watcher().await?;
        let changes = answer(&reached, known(files.watch(request).await)).await?.into_inner();
        Ok(Response::new(Passing::new(changes, reached, stream)))
    }
}
