//! The gRPC side of the program for files: takes messages, has the work done, answers.

use super::{
    Settings,
    arriving::Arriving,
    change,
    changes::Watches,
    copy,
    copy::Copying,
    describe::Names,
    draft::How,
    find::Finding,
    identity::Identity,
    list,
    place::{make_parents, place},
    read::Reading,
    replace,
    search::Searching,
    trees,
    work::{Wanted, Work},
    write::Step,
};
use crate::{
    api::v1::{
        self, ChangesRequest, ChangesResponse, CopyRequest, ExportRequest, ExportResponse, File, FindRequest,
        FindResponse, ImportRequest, ImportResponse, ListRequest, ListResponse, MakeDirectoryRequest, MoveRequest,
        ReadRequest, ReadResponse, RemoveRequest, RemoveResponse, ReplaceRequest, ReplaceResponse, SearchRequest,
        SearchResponse, SetAttributesRequest, StatRequest, WatchRequest, WatchResponse, WriteRequest,
        file_service_server::{FileService, FileServiceServer},
        import_request, read_response, write_request,
    },
    error::{Error, Reason},
    rpc::{
        pieces::{BYTEWISE, Bytewise, Pieces},
        services::{Named, Services},
        serving::{self, Terms},
        unread::{Unread, Unreading},
    },
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use std::{
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

/// As many of them as one archive counts for: what comes in may need a window of 8 MiB to be decompressed, what goes out needs
/// tables to be compressed with; of a
/// search a file's matches and its lines are held.
const IMPORT: u32 = 10;
const EXPORT: u32 = 4;
const SEARCH: u32 = 8;

/// Calls under way on one connection.
const MOST_STREAMS: u32 = 4096;

/// Serves these connections until there are no more.
pub(super) async fn serve(connections: mpsc::Receiver<UnixStream>, working_directory: PathBuf, settings: &Settings) {
    let transfers = settings.memory_bytes.map_or(MOST_TRANSFERS, |bytes| bytes / 4 / u64::from(WINDOW));
    let most_transfers = transfers.clamp(LEAST_TRANSFERS, MOST_TRANSFERS) as u32;
    let transfers = Arc::new(Semaphore::new(most_transfers as usize));
    let (user, watches) = (settings.user.clone(), Watches::new(settings.memory_bytes));
    let work = Work::new();
    let walks = work.that_gives_way();
    let service = Service { work, walks, transfers, most_transfers, watches, working_directory, user };
    let terms = Terms { stream_window: WINDOW, most_calls: MOST_STREAMS };
    let services = Services::new([Named::new(Unreading::new(FileServiceServer::new(service), BYTEWISE))]);
    // A connection that cannot be taken is told to its client by its end, and ends nothing else.
    let incoming = ReceiverStream::new(connections).filter_map(|connection| async move {
        connection.set_nonblocking(true).ok()?;
        tokio::net::UnixStream::from_std(connection).ok()
    });
    serving::serve(incoming, terms, |_| {
        let services = services.clone();
        move |request| services.answer(request)
    })
    .await;
}

/// The service.
struct Service {
    work: Work,
    /// Work that walks through trees.
    walks: Work,
    transfers: Arc<Semaphore>,
    most_transfers: u32,
    watches: Watches,
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
        self.transfers(1)
    }

    /// The place of as many transfers, because so much memory may be needed, or all where there are fewer.
    fn transfers(&self, as_many: u32) -> Result<OwnedSemaphorePermit, Error> {
        let as_many = as_many.min(self.most_transfers);
        Arc::clone(&self.transfers).try_acquire_many_owned(as_many).map_err(|_| {
            let message = "the sandbox reads and writes as many files at one time as its memory allows; \
                           wait for some, or give the sandbox more memory";
            Error::exhausted(Reason::TooManyStreams, message)
        })
    }
}

/// Finds a part more, perhaps an empty one; `None` at the end.
type NextPart<W, T> = fn(&mut W, &Wanted) -> Result<Option<Vec<T>>, Error>;

impl Service {
    /// What is found part by part, each when the client has taken the one before.
    fn in_parts<W: Send + 'static, T: Send + 'static>(
        &self,
        work: W,
        next: NextPart<W, T>,
        identity: Identity,
        transfer: OwnedSemaphorePermit,
    ) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>> {
        let begun = (work, self.walks.clone(), identity, transfer);
        let parts = stream::try_unfold(begun, move |(mut state, work, identity, transfer)| async move {
            let step = move |wanted: &_| Ok((next(&mut state, wanted)?, state));
            let (part, state) = work.run(&identity, step).await?;
            Ok::<_, Status>(part.map(|part| (part, (state, work, identity, transfer))))
        });
        Box::pin(parts.map_ok(|part| stream::iter(part.into_iter().map(Ok))).try_flatten())
    }
}

/// Without the server's word that this was all, a file stays as it was.
fn cut_off() -> Status {
    Status::cancelled("the client has not sent all of it")
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
        let work = if request.recursive { &self.walks } else { &self.work };
        let list = work.run(&identity, move |wanted| {
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
        let mut body = Bytewise::new(Unread::take(request.extensions()));
        let Some(WriteRequest { request: Some(write_request::Request::Open(open)) }) = body.first().await? else {
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
        let mut pieces = Arriving::new(Pieces::after_the_first(body));
        let (data, is_all) = pieces.next(false).await?.ok_or_else(cut_off)?;
        let begin = self.work.run_leaving(&identity, move |_| Step::begin(path, how, &data, is_all));
        let mut step = pieces.during(begin).await?;
        loop {
            let (draft, path) = match step {
                Step::Going(draft, path) => (draft, path),
                Step::Done(file) => return Ok(Response::new(file)),
            };
            let (data, is_all) = pieces.next(true).await?.ok_or_else(cut_off)?;
            let go_on = self.work.run_leaving(&identity, move |_| Step::go_on(draft, path, &data, is_all));
            step = pieces.during(go_on).await?;
        }
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
                make_parents(&to)?;
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
        let open = self.work.run(&identity, move |_| Ok((Reading::open(&path, 0, 0)?, path)));
        let ((reading, file), path) = open.await?;
        let _transfer = self.transfers(replace::megabytes(&file))?;
        let keep_owner = !identity.is_named();
        let replaced = self.work.run(&identity, move |_| {
            let done = replace::replace(&path, reading, &request, keep_owner)?;
            Ok(v1::ReplaceResponse { replacements: done.times, diff: done.diff, file: Some(done.file) })
        });
        Ok(Response::new(replaced.await?))
    }

    async fn import(&self, request: Request<Streaming<ImportRequest>>) -> Result<Response<ImportResponse>, Status> {
        let mut body = Bytewise::new(Unread::take(request.extensions()));
        let Some(ImportRequest { request: Some(import_request::Request::Open(open)) }) = body.first().await? else {
            return Err(Error::invalid("open", "is required: the first message of Import says where to unpack").into());
        };
        let _transfer = self.transfers(IMPORT)?;
        let path = self.place(&open.path, &open.raw_path);
        let identity = self.identity(&open.user)?;
        let mut import = self.work.run(&identity, move |_| trees::begin_import(&path, &open)).await?;
        let mut pieces = Arriving::new(Pieces::after_the_first(body));
        let mut is_all = false;
        while !is_all {
            let (data, all) = pieces.next(true).await?.ok_or_else(cut_off)?;
            is_all = all;
            // All of it is done as the user, because each piece may have many files.
            let take = move |wanted: &_| trees::take(&mut import, &data, wanted).map(|()| import);
            import = pieces.during(self.work.run(&identity, take)).await?;
        }
        let mut done = self.work.run(&identity, move |wanted| trees::finish_import(import, wanted)).await?;
        done.end_time = Some(trees::next_step_of_the_clock().await);
        Ok(Response::new(done))
    }

    type ExportStream = Pin<Box<dyn Stream<Item = Result<ExportResponse, Status>> + Send>>;

    async fn export(&self, request: Request<ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let request = request.into_inner();
        let identity = self.identity(&request.user)?;
        let transfer = self.transfers(EXPORT)?;
        let directory = self.working_directory.clone();
        let begin = move |_: &_| trees::begin_export(&directory, &request);
        let packer = self.work.run(&identity, begin).await?;
        let begun = (packer, self.work.clone(), identity, transfer);
        let pieces = stream::try_unfold(begun, |(mut packer, work, identity, transfer)| async {
            let next = move |wanted: &_| Ok((trees::next_piece(&mut packer, wanted)?, packer));
            let (piece, packer) = work.run(&identity, next).await?;
            Ok(piece.map(|data| (ExportResponse { data }, (packer, work, identity, transfer))))
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    type FindStream = Pin<Box<dyn Stream<Item = Result<FindResponse, Status>> + Send>>;

    async fn find(&self, request: Request<FindRequest>) -> Result<Response<Self::FindStream>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        let transfer = self.transfer()?;
        let finding = self.work.run(&identity, move |_| Finding::begin(&path, &request)).await?;
        Ok(Response::new(self.in_parts(finding, Finding::next, identity, transfer)))
    }

    type SearchStream = Pin<Box<dyn Stream<Item = Result<SearchResponse, Status>> + Send>>;

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<Self::SearchStream>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        // A file's matches may have 4 MiB, and its lines as much.
        let transfer = self.transfers(SEARCH)?;
        let searching = self.work.run(&identity, move |_| Searching::begin(&path, &request)).await?;
        Ok(Response::new(self.in_parts(searching, Searching::next, identity, transfer)))
    }

    /// Nothing inside knows what a sandbox was made from: the server answers this.
    async fn changes(&self, _: Request<ChangesRequest>) -> Result<Response<ChangesResponse>, Status> {
        Err(Status::unimplemented("only the server knows the image of a sandbox"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let path = self.place(&request.path, &request.raw_path);
        let identity = self.identity(&request.user)?;
        let changes = self.watches.begin(path, request.recursive, self.work.clone(), identity).await?;
        Ok(Response::new(Box::pin(changes.told().map_err(Status::from))))
    }
}
