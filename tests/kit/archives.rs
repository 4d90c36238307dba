//! Archives: made by hand, and sent into a sandbox and out of it.

use super::{
    Sandbox,
    v1::{ExportRequest, ImportOpen, ImportRequest, ImportResponse, import_request::Request},
    within,
};
use bytes::Bytes;
use tar::{EntryType, Header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Bytes of a message.
const PIECE: usize = 64 << 10;

/// An archive that is being unpacked.
pub struct Importing {
    pieces: mpsc::Sender<ImportRequest>,
    answer: tokio::task::JoinHandle<Result<ImportResponse, Status>>,
}

impl Sandbox {
    /// How an archive is unpacked into this directory.
    pub fn open_import(&self, path: &str) -> ImportOpen {
        ImportOpen { sandbox_id: self.id.clone(), path: path.to_owned(), ..ImportOpen::default() }
    }

    /// Begins to unpack an archive.
    pub async fn start_import(&self, open: ImportOpen) -> Importing {
        let (pieces, requests) = mpsc::channel(1);
        let mut files = self.clients.files.clone();
        let call = async move { files.import(ReceiverStream::new(requests)).await.map(tonic::Response::into_inner) };
        let importing = Importing { pieces, answer: tokio::spawn(call) };
        importing.say(Request::Open(open)).await;
        importing
    }

    /// Unpacks an archive.
    pub async fn import(&self, open: ImportOpen, archive: &[u8]) -> Result<ImportResponse, Status> {
        let importing = self.start_import(open).await;
        for piece in archive.chunks(PIECE) {
            if !importing.send(piece).await {
                break;
            }
        }
        importing.finish().await
    }

    /// How a directory's contents are packed.
    pub fn export_request(&self, path: &str) -> ExportRequest {
        ExportRequest { sandbox_id: self.id.clone(), paths: vec![path.to_owned()], ..ExportRequest::default() }
    }

    /// Packs an archive.
    pub async fn export(&self, request: ExportRequest) -> Result<Vec<u8>, Status> {
        within("an archive", async {
            let mut pieces = self.clients.files.clone().export(request).await?.into_inner();
            let mut archive = Vec::new();
            while let Some(piece) = pieces.message().await? {
                assert!((1..=1 << 20).contains(&piece.data.len()), "a piece of {} bytes", piece.data.len());
                archive.extend_from_slice(&piece.data);
            }
            Ok(archive)
        })
        .await
    }
}

impl Importing {
    async fn say(&self, request: Request) -> bool {
        self.pieces.send(ImportRequest { request: Some(request) }).await.is_ok()
    }

    /// Sends bytes. Says whether anybody takes them.
    pub async fn send(&self, data: &[u8]) -> bool {
        self.say(Request::Data(Bytes::copy_from_slice(data))).await
    }

    /// Ends the stream, and returns the answer.
    pub async fn finish(self) -> Result<ImportResponse, Status> {
        drop(self.pieces);
        within("the answer to an import", self.answer).await.expect("a task")
    }

    /// Gives the call up, as a client does that is killed.
    pub async fn give_up(self) {
        self.answer.abort();
        let _ = self.answer.await;
        // Whoever is killed does not say that this was all; the end of the pieces would, if it was seen before the call's.
        std::mem::forget(self.pieces);
    }
}

/// An archive that is made by hand, with whatever names.
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// Adds an entry, as it is.
    pub fn add(mut self, kind: EntryType, path: &str, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_mtime(1_234_567_890);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a file.
    pub fn file(self, path: &str, data: &str) -> Self {
        self.add(EntryType::Regular, path, "", data.as_bytes())
    }

    /// Adds a symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, path, target, b"")
    }

    /// The whole archive.
    pub fn bytes(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// Copies what is in a directory of a sandbox to one here.
pub async fn unpacked(s: &Sandbox, from: &str, to: &std::path::Path) {
    let archive = s.export(s.export_request(from)).await.expect("an archive");
    tar::Archive::new(archive.as_slice()).unpack(to).expect("its files");
}

/// The names in an archive, in order.
pub fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("an archive");
    entries.map(|entry| String::from_utf8_lossy(&entry.expect("an entry").path_bytes()).into_owned()).collect()
}
