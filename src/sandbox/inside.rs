//! What the server itself does in a sandbox: programs, and files in and out. The same calls as a client's, with the same agent, which is trusted no
//! more: what it sends is bounded by whoever takes it.

use super::Reached;
use crate::{
    api::v1::{
        ExecRequest, ExecStart, Exited, ExportRequest, FindRequest, ImportOpen, ImportRequest, ImportResponse,
        ReadRequest, RemoveRequest, StatRequest, Stream as Output, exec_request, exec_response::Response,
        exec_start::Target, file, import_request, read_response,
    },
    error::Error,
    rpc::status::{Told, told},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

/// The reason of an agent for which there is nothing at a path.
const FILE_NOT_FOUND: &str = "FILE_NOT_FOUND";

/// Why something could not be done in a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// Its agent said no: the name of the cause, and its words.
    #[error("{message}")]
    Refused {
        /// As in `ErrorInfo.reason`.
        reason: String,
        /// For people.
        message: String,
    },
    /// There is more of it than was wanted.
    #[error("there is more than {0} bytes of it")]
    TooMuch(usize),
    /// The agent cannot be reached any more, or speaks nonsense.
    #[error(transparent)]
    Lost(#[from] Error),
}

/// The result of what is done in a sandbox.
type Result<T> = std::result::Result<T, InsideError>;

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its absolute path.
    pub path: Vec<u8>,
    /// Whether it is a directory.
    pub is_directory: bool,
}

impl Reached {
    /// Executes a program or shell text directly, and tells what it prints, as it comes: whether it is standard error, and bytes. Whoever drops this
    /// leaves the program to its own end.
    pub async fn execute(&self, start: ExecStart, mut tell: impl FnMut(bool, &[u8]) + Send) -> Result<Exited> {
        let start = ExecStart { target: Some(Target::SandboxId(self.entry().id().to_owned())), ..start };
        let first = ExecRequest { request: Some(exec_request::Request::Start(start)) };
        let answer = self.client().await?.exec(stream::iter([first])).await;
        let mut answers = match answer {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Err(self.failed(told(status)).await),
        };
        loop {
            match answers.message().await {
                Ok(Some(message)) => match message.response {
                    Some(Response::Output(output)) => tell(output.stream() == Output::Stderr, &output.data),
                    Some(Response::Exited(exited)) => return Ok(exited),
                    Some(Response::Started(_) | Response::Gap(_) | Response::KeepAlive(_)) | None => {}
                },
                Ok(None) => return Err(self.lost("the end of a program was not told").await.into()),
                Err(status) => return Err(self.failed(told(status)).await),
            }
        }
    }

    /// Unpacks an archive into a directory. An archive that ends with an error is given up.
    pub async fn import(
        &self,
        open: ImportOpen,
        archive: impl Stream<Item = Option<Bytes>> + Send + 'static,
    ) -> Result<ImportResponse> {
        let open = ImportOpen { sandbox_id: self.entry().id().to_owned(), ..open };
        let open = ImportRequest { request: Some(import_request::Request::Open(open)) };
        let data = |data| ImportRequest { request: Some(import_request::Request::Data(data)) };
        // A message without anything in it says that all has come.
        let end = stream::iter([Some(ImportRequest { request: None })]);
        let pieces = archive.map(move |piece| piece.map(data)).chain(end);
        // What went wrong on the way here ends the stream before that.
        let pieces = pieces.take_while(|piece| std::future::ready(piece.is_some())).filter_map(std::future::ready);
        match self.files().await?.import(stream::iter([open]).chain(pieces)).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(told(status)).await),
        }
    }

    /// Packs paths into an archive, which comes in pieces.
    pub async fn export(&self, request: ExportRequest) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let request = ExportRequest { sandbox_id: self.entry().id().to_owned(), ..request };
        let pieces = match self.files().await?.export(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Err(self.failed(told(status)).await),
        };
        let this = self.clone();
        Ok(pieces.then(move |piece| {
            let this = this.clone();
            async move {
                match piece {
                    Ok(piece) => Ok(piece.data),
                    Err(status) => Err(this.failed(told(status)).await),
                }
            }
        }))
    }

    /// Finds files, links and directories. More than `most` are an error.
    pub async fn find(&self, request: FindRequest, most: usize) -> Result<Vec<Found>> {
        let max_results = i32::try_from(most).unwrap_or(i32::MAX);
        let request = FindRequest { sandbox_id: self.entry().id().to_owned(), max_results, ..request };
        let mut answers = match self.files().await?.find(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Err(self.failed(told(status)).await),
        };
        let mut found = Vec::new();
        loop {
            match answers.message().await {
                Ok(Some(answer)) if answer.limit_reached || found.len() > most => {
                    return Err(InsideError::TooMuch(most));
                }
                Ok(Some(answer)) => {
                    let Some(file) = answer.file else { continue };
                    let is_directory = file.r#type() == file::Type::Directory;
                    let path = if file.raw_path.is_empty() { file.path.into_bytes() } else { file.raw_path.to_vec() };
                    found.push(Found { path, is_directory });
                }
                Ok(None) => return Ok(found),
                Err(status) => return Err(self.failed(told(status)).await),
            }
        }
    }

    /// Whether a path is a directory itself, and no link to one.
    pub async fn is_directory(&self, path: &str) -> Result<bool> {
        let (sandbox_id, path) = (self.entry().id().to_owned(), path.to_owned());
        let request = StatRequest { sandbox_id, path, no_follow: true, ..StatRequest::default() };
        match self.files().await?.stat(request).await {
            Ok(answer) => Ok(answer.into_inner().r#type() == file::Type::Directory),
            Err(status) => match self.failed(told(status)).await {
                InsideError::Refused { reason, .. } if reason == FILE_NOT_FOUND => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Removes a path with all that is in it. One that is not there is removed already.
    pub async fn remove(&self, path: &[u8]) -> Result<()> {
        let (path, raw_path) = named(path);
        let sandbox_id = self.entry().id().to_owned();
        let request =
            RemoveRequest { sandbox_id, path, raw_path, recursive: true, missing_ok: true, user: String::new() };
        match self.files().await?.remove(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(self.failed(told(status)).await),
        }
    }

    /// A whole file. One with more bytes than `most` is an error.
    pub async fn read_file(&self, path: &str, most: usize) -> Result<Vec<u8>> {
        let request =
            ReadRequest { sandbox_id: self.entry().id().to_owned(), path: path.to_owned(), ..ReadRequest::default() };
        let mut answers = match self.files().await?.read(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Err(self.failed(told(status)).await),
        };
        let mut bytes = Vec::new();
        loop {
            match answers.message().await {
                Ok(Some(answer)) => {
                    let Some(read_response::Response::Data(data)) = answer.response else { continue };
                    if bytes.len() + data.len() > most {
                        return Err(InsideError::TooMuch(most));
                    }
                    bytes.extend_from_slice(&data);
                }
                Ok(None) => return Ok(bytes),
                Err(status) => return Err(self.failed(told(status)).await),
            }
        }
    }

    async fn failed(&self, why: Told) -> InsideError {
        match why {
            Told::Refused(reason, message) => InsideError::Refused { reason, message },
            Told::OfTheLine(source) => self.lost(source).await.into(),
        }
    }
}

/// A path as a request names it: as text, or as bytes that are none.
fn named(path: &[u8]) -> (String, Bytes) {
    match std::str::from_utf8(path) {
        Ok(path) => (path.to_owned(), Bytes::new()),
        Err(_) => (String::new(), Bytes::copy_from_slice(path)),
    }
}
