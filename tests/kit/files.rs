//! Files of a sandbox, as a client reads and writes them.

use super::{
    Sandbox,
    v1::{
        File, ListRequest, ReadRequest, ReplaceRequest, ReplaceResponse, StatRequest, WriteOpen, WriteRequest,
        read_response::Response as Piece, write_request::Request,
    },
    within,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// A file that is being written: what is sent, and the answer to come.
pub struct Writing {
    pieces: mpsc::Sender<WriteRequest>,
    answer: tokio::task::JoinHandle<Result<File, Status>>,
}

impl Sandbox {
    /// How this file is opened for writing.
    pub fn open_file(&self, path: &str) -> WriteOpen {
        WriteOpen { sandbox_id: self.id.clone(), path: path.to_owned(), ..WriteOpen::default() }
    }

    /// Writes a file, in a directory that may have to be made.
    pub async fn write(&self, path: &str, data: impl AsRef<[u8]>) -> File {
        let open = WriteOpen { parents: true, ..self.open_file(path) };
        let written = self.try_write(open, data.as_ref()).await;
        written.unwrap_or_else(|status| panic!("{path} is written: {status:?}"))
    }

    /// Writes a file as asked.
    pub async fn try_write(&self, open: WriteOpen, data: &[u8]) -> Result<File, Status> {
        let writing = self.start_write(open).await;
        for piece in data.chunks(1 << 20) {
            writing.send(piece).await;
        }
        writing.finish().await
    }

    /// Begins to write a file.
    pub async fn start_write(&self, open: WriteOpen) -> Writing {
        let (pieces, requests) = mpsc::channel(1);
        let mut files = self.clients.files.clone();
        let call = async move { files.write(ReceiverStream::new(requests)).await.map(tonic::Response::into_inner) };
        let writing = Writing { pieces, answer: tokio::spawn(call) };
        writing.say(Request::Open(open)).await;
        writing
    }

    /// Reads a file.
    pub async fn read(&self, path: &str) -> Vec<u8> {
        let request = ReadRequest { sandbox_id: self.id.clone(), path: path.to_owned(), ..ReadRequest::default() };
        self.try_read(request).await.unwrap_or_else(|status| panic!("{path} is read: {status:?}")).1
    }

    /// Reads a file as asked.
    pub async fn try_read(&self, request: ReadRequest) -> Result<(File, Vec<u8>), Status> {
        within("a file", async {
            let mut pieces = self.clients.files.clone().read(request).await?.into_inner();
            let (mut file, mut data) = (None, Vec::new());
            while let Some(piece) = pieces.message().await? {
                match piece.response {
                    Some(Piece::File(described)) => assert!(file.replace(described).is_none(), "it comes once"),
                    Some(Piece::Data(bytes)) => {
                        assert!(file.is_some(), "what is read comes first");
                        data.extend_from_slice(&bytes);
                    }
                    None => panic!("an empty message"),
                }
            }
            Ok((file.expect("what is read"), data))
        })
        .await
    }

    /// What a path names; links are not followed.
    pub async fn stat(&self, path: &str) -> Result<File, Status> {
        let (sandbox_id, path) = (self.id.clone(), path.to_owned());
        let request = StatRequest { sandbox_id, path, no_follow: true, ..StatRequest::default() };
        within("a description", self.clients.files.clone().stat(request)).await.map(tonic::Response::into_inner)
    }

    /// All entries of a directory, page by page.
    pub async fn list(&self, path: &str, recursive: bool, page_size: i32) -> Vec<File> {
        let (sandbox_id, path) = (self.id.clone(), path.to_owned());
        let mut request = ListRequest { sandbox_id, path, recursive, page_size, ..ListRequest::default() };
        let mut all = Vec::new();
        loop {
            let page =
                within("a page", self.clients.files.clone().list(request.clone())).await.expect("a page").into_inner();
            assert!(page_size == 0 || page.files.len() <= page_size as usize, "no page is larger than asked for");
            all.extend(page.files);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Replaces text.
    pub async fn replace(&self, path: &str, old: &str, new: &str, all: bool) -> Result<ReplaceResponse, Status> {
        let request = ReplaceRequest {
            sandbox_id: self.id.clone(),
            path: path.into(),
            old: old.into(),
            new: new.into(),
            all,
            ..ReplaceRequest::default()
        };
        within("a replacement", self.clients.files.clone().replace(request)).await.map(tonic::Response::into_inner)
    }
}

impl Writing {
    async fn say(&self, request: Request) {
        // One that was refused takes nothing more, and its answer says why.
        let _ = self.pieces.send(WriteRequest { request: Some(request) }).await;
    }

    /// Sends bytes.
    pub async fn send(&self, data: &[u8]) {
        self.say(Request::Data(bytes::Bytes::copy_from_slice(data))).await;
    }

    /// Says again what to write, which is wrong.
    pub async fn open_again(&self, open: WriteOpen) {
        self.say(Request::Open(open)).await;
    }

    /// Ends the stream, and returns the answer.
    pub async fn finish(self) -> Result<File, Status> {
        drop(self.pieces);
        within("the answer to a write", self.answer).await.expect("a task")
    }

    /// Gives the call up, as a client does that is killed.
    pub async fn give_up(self) {
        self.answer.abort();
        let _ = self.answer.await;
        // Whoever is killed does not say that this was all; the end of the pieces would, if it was seen before the call's.
        std::mem::forget(self.pieces);
    }
}
