//! The gRPC side of the program for files: takes messages, has the work done, answers.

use super::{
    Settings, change, copy,
    copy::Copying,
    describe::Names,
    draft::{Draft, How},
    identity::Identity,
    list,
    place::place,
    read::Reading,
    replace,
    work::Work,
};
use crate::{
    api::v1::{
        self, CopyRequest, File, ListRequest, ListResponse, MakeDirectoryRequest, MoveRequest, ReadRequest,
        ReadResponse, RemoveRequest, RemoveResponse, ReplaceRequest, ReplaceResponse, SetAttributesRequest,
        StatRequest, WriteRequest,
        file_service_server::{FileService, FileServiceServer},
        read_response, write_request,
    },
    error::{Error, Reason},
    rpc::transport,
};
use futures_util::{Stream, StreamExt, stream};
use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Bytes that one stream may have under way.
const WINDOW: u32 = 1 << 20;

/// Files that are read or written at one time: each may have a window of bytes in memory, and all together a quarter of the
/// sandbox's.
const MOST_TRANSFERS: u64 = 256;
const LEAST_TRANSFERS: u64 = 4;

/// Calls under way on one connection.
const MOST_STREAMS: u32 = 4096;

/// Serves these connections until there are no more.
pub(super) async fn serve(
    connections: mpsc::Receiver<UnixStream>,
    working_directory: PathBuf,
    settings: &Settings,
) -> io::Result<()> {
    let transfers = settings.memory_bytes.map_or(MOST_TRANSFERS, |bytes| bytes / 4 / u64::from(WINDOW));
    let transfers = transfers.clamp(LEAST_TRANSFERS, MOST_TRANSFERS) as usize;
    let transfers = Arc::new(Semaphore::new(transfers));
    let service = Service { work: Work::new(), transfers, working_directory, user: settings.user.clone() };
    let incoming = ReceiverStream::new(connections).map(|connection| {
        connection.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(connection)
    });
    // One that cannot be taken is told to its client by its end, and ends nothing else.
    let incoming = incoming.filter_map(|connection: io::Result<_>| async { connection.ok().map(Ok::<_, io::Error>) });
    tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(transport::CONNECTION_WINDOW)
        .max_frame_size(transport::MAX_FRAME_BYTES)
        .max_concurrent_streams(MOST_STREAMS)
        .add_service(FileServiceServer::new(service))
        .serve_with_incoming(incoming)
        .await
        .map_err(io::Error::other)
}

/// The service.
struct Service {
    work: Work,
    transfers: Arc<Semaphore>,
    working_directory: PathBuf,
    /// As whom calls work that name nobody.
    user: String,
}

impl Service {
    fn place(&self, path: &str, raw: &[u8]) -> PathBuf {
        place(&self.working_directory, path, raw)
    }

    /// Whom a call acts as.
    fn identity(&self, named: &str) -> Result<Identity, Error> {
        Identity::find(if named.is_empty() { &self.user } else { named })
    }

    /// A place among the transfers, or a refusal.
    fn transfer(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.transfers).try_acquire_owned().map_err(|_| {
            let message = "the sandbox reads and writes as many files at one time as its memory allows; \
                           wait for some, or give the sandbox more memory";
            Error::exhausted(Reason::TooManyStreams, message)
        })
    }
}

fn described(path: &Path, follow: bool) -> Result<File, Error> {
    Names::read().look(path, follow)
}

#[tonic::async_trait]
impl FileService for Service {
    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<File>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        Ok(Response::new(self.work.run(&identity, move |_| described(&path, !request.no_follow)).await?))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        let list = self.work.run(&identity, move |wanted| {
            list::list(&path, request.recursive, request.page_size, &request.page_token, wanted)
        });
        Ok(Response::new(list.await?))
    }

    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        let transfer = self.transfer()?;
        let open = self.work.run(&identity, move |_| Reading::open(&path, request.offset, request.length));
        let (reading, file) = open.await?;
        let first = ReadResponse { response: Some(read_response::Response::File(file)) };
        let rest = stream::try_unfold((reading, self.work.clone(), transfer), |(mut reading, work, transfer)| async {
            // Who opened the file had to be allowed to; who reads on need not be asked again.
            let read = work.run(&Identity::Own, move |_| Ok((reading.next()?, reading)));
            let (data, reading) = read.await?;
            let piece = ReadResponse { response: Some(read_response::Response::Data(data.clone())) };
            Ok((!data.is_empty()).then_some((piece, (reading, work, transfer))))
        });
        Ok(Response::new(Box::pin(stream::once(async { Ok(first) }).chain(rest))))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<File>, Status> {
        let mut pieces = request.into_inner();
        let Some(WriteRequest { request: Some(write_request::Request::Open(open)) }) = pieces.message().await? else {
            return Err(Error::invalid("open", "is required: the first message of Write says what to write").into());
        };
        let _transfer = self.transfer()?;
        let path = self.place(&open.path, &open.raw_path);
        let identity = self.identity(&open.user)?;
        let how = How {
            mode: open.mode,
            parents: open.parents,
            exclusive: open.exclusive,
            append: open.append,
            if_etag: open.if_etag,
            keep_owner: !identity.is_named(),
        };
        let mut draft = self.work.run(&identity, move |_| Draft::begin(&path, how)).await?;
        loop {
            match pieces.message().await? {
                Some(WriteRequest { request: Some(write_request::Request::Data(data)) }) => {
                    let write = self.work.run(&Identity::Own, move |_| draft.write(&data).map(|()| draft));
                    draft = write.await?;
                }
                // The server says in this way that the client has sent all. Without it the file stays as it was.
                Some(WriteRequest { request: None }) => break,
                Some(_) => return Err(Error::invalid("open", "may only come first").into()),
                None => return Err(Status::cancelled("the client has not sent all of the file")),
            }
        }
        let finish = self.work.run(&identity, move |_| described(&draft.finish()?, true));
        Ok(Response::new(finish.await?))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        let remove = move |_: &_| change::remove(&path, request.recursive, request.missing_ok);
        self.work.run(&identity, remove).await?;
        Ok(Response::new(RemoveResponse {}))
    }

    async fn r#move(&self, request: Request<MoveRequest>) -> Result<Response<File>, Status> {
        let request = request.into_inner();
        let from = self.place(&request.path, &request.raw_path);
        let to = self.place(&request.new_path, &request.raw_new_path);
        let identity = self.identity(&request.user)?;
        let moved = self.work.run(&identity, move |wanted| {
            change::rename(&from, &to, request.overwrite, request.parents, wanted)?;
            described(&to, false)
        });
        Ok(Response::new(moved.await?))
    }

    async fn copy(&self, request: Request<CopyRequest>) -> Result<Response<File>, Status> {
        let request = request.into_inner();
        let from = self.place(&request.path, &request.raw_path);
        let to = self.place(&request.new_path, &request.raw_new_path);
        let identity = self.identity(&request.user)?;
        let CopyRequest { overwrite, recursive, parents, .. } = request;
        let copied = self.work.run(&identity, move |wanted| {
            if parents {
                change::make_parents(&to)?;
            }
            copy::copy(&from, &to, Copying { overwrite, recursive, keep_owner: false, follow: true }, wanted)?;
            described(&to, false)
        });
        Ok(Response::new(copied.await?))
    }

    async fn make_directory(&self, request: Request<MakeDirectoryRequest>) -> Result<Response<File>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        let made = self.work.run(&identity, move |_| {
            change::make_directory(&path, &request)?;
            described(&path, true)
        });
        Ok(Response::new(made.await?))
    }

    async fn set_attributes(&self, request: Request<SetAttributesRequest>) -> Result<Response<File>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        let set = self.work.run(&identity, move |wanted| {
            change::set_attributes(&path, &request, wanted)?;
            described(&path, !request.no_follow)
        });
        Ok(Response::new(set.await?))
    }

    async fn replace(&self, request: Request<ReplaceRequest>) -> Result<Response<ReplaceResponse>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        let _transfer = self.transfer()?;
        let keep_owner = !identity.is_named();
        let replaced = self.work.run(&identity, move |_| {
            let done = replace::replace(&path, &request, keep_owner)?;
            let file = Some(described(&done.target, true)?);
            Ok(v1::ReplaceResponse { replacements: done.times, diff: done.diff, file })
        });
        Ok(Response::new(replaced.await?))
    }
}
