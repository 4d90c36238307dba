//! Files, in and out.

use crate::{
    Options,
    create::time_of,
    report::{Samples, Table},
    server::{Client, Server},
};
use bytes::Bytes;
use sandshell::api::v1::{
    ExportRequest, ImportOpen, ImportRequest, ReadRequest, SearchRequest, WriteOpen, WriteRequest, import_request,
    read_response, write_request::Request,
};
use std::{fs, time::Instant};

/// Bytes of a message.
const PIECE: usize = 252 << 10;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.client.clone();
    let sandbox = client.create_sandbox().await;
    let here = server.data_dir().join("bench-source");
    fs::write(&here, vec![b'x'; 1 << 20]).unwrap();
    let (source, target) = (here.to_str().unwrap().to_owned(), format!("{}-copy", here.display()));
    let [mut writes, mut replacements, mut reads, mut copies] = std::array::from_fn(|_| Samples::default());
    for at in 0..options.samples(200) {
        let start = Instant::now();
        write(&mut client, &sandbox, &format!("/tmp/f{at}"), 1 << 20).await;
        writes.push(start.elapsed());
        // The kernel begins to write out what takes the place of a file.
        let start = Instant::now();
        write(&mut client, &sandbox, "/tmp/f", 1 << 20).await;
        replacements.push(start.elapsed());
        let start = Instant::now();
        assert_eq!(read(&mut client, &sandbox, "/tmp/f").await, 1 << 20);
        reads.push(start.elapsed());
        copies.push(time_of(&["cp", &source, &target]));
    }
    table.times("write a file of 1 MiB", &writes, Some(("cp", &copies)));
    table.times("replace a file of 1 MiB", &replacements, Some(("cp", &copies)));
    table.times("read a file of 1 MiB", &reads, Some(("cp", &copies)));
    let bytes = options.samples(1000) << 20;
    let start = Instant::now();
    write(&mut client, &sandbox, "/tmp/large", bytes).await;
    rate(table, "write one large file", bytes, start);
    let start = Instant::now();
    assert_eq!(read(&mut client, &sandbox, "/tmp/large").await, bytes);
    rate(table, "read one large file", bytes, start);
    trees(&mut client, &sandbox, options, table).await;
    client.delete_sandbox(sandbox).await;
}

/// Many small files, as one archive: next to `tar` in the same sandbox, which writes to the same file system.
async fn trees(client: &mut Client, sandbox: &str, options: &Options, table: &mut Table) {
    const FILES: usize = 10_000;
    let [mut imports, mut exports, mut searches, mut unpacks, mut packs] = std::array::from_fn(|_| Samples::default());
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..FILES {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(100);
        builder.append_data(&mut header, format!("d{}/f{number}", number / 100), &[b'x'; 100][..]).unwrap();
    }
    let archive = Bytes::from(builder.into_inner().unwrap());
    for at in 0..options.samples(10) {
        let path = format!("/tmp/tree{at}");
        let start = Instant::now();
        import(client, sandbox, &path, &archive).await;
        imports.push(start.elapsed());
        let start = Instant::now();
        let paths = vec![path.clone()];
        let request = ExportRequest { sandbox_id: sandbox.to_owned(), paths, ..ExportRequest::default() };
        let mut pieces = client.files.export(request).await.unwrap().into_inner();
        let mut received = 0;
        while let Some(piece) = pieces.message().await.unwrap() {
            received += piece.data.len();
        }
        exports.push(start.elapsed());
        assert!(received > FILES * 1024);
        let start = Instant::now();
        let pattern = "needle".to_owned();
        let request =
            SearchRequest { sandbox_id: sandbox.to_owned(), path: path.clone(), pattern, ..SearchRequest::default() };
        assert!(client.files.search(request).await.unwrap().into_inner().message().await.unwrap().is_none());
        searches.push(start.elapsed());
        let archive = "/dev/shm/archive.tar";
        let start = Instant::now();
        client.execute(sandbox, &["tar", "-cf", archive, "-C", &path, "."]).await;
        packs.push(start.elapsed());
        let unpacked = format!("{path}-unpacked");
        client.execute(sandbox, &["mkdir", &unpacked]).await;
        let start = Instant::now();
        client.execute(sandbox, &["tar", "-xf", archive, "-C", &unpacked]).await;
        unpacks.push(start.elapsed());
    }
    table.times("import 10 000 files of 100 bytes", &imports, Some(("tar -x there", &unpacks)));
    table.times("export them", &exports, Some(("tar -c there", &packs)));
    table.times("search them", &searches, None);
}

async fn import(client: &mut Client, sandbox: &str, path: &str, archive: &Bytes) {
    let open = ImportOpen { sandbox_id: sandbox.to_owned(), path: path.to_owned(), ..ImportOpen::default() };
    let archive = archive.clone();
    let pieces = (0..archive.len()).step_by(PIECE);
    let pieces = pieces.map(move |at| import_request::Request::Data(archive.slice(at..archive.len().min(at + PIECE))));
    let requests = std::iter::once(import_request::Request::Open(open)).chain(pieces);
    let requests = requests.map(|request| ImportRequest { request: Some(request) }).collect::<Vec<_>>();
    client.files.import(tokio_stream::iter(requests)).await.unwrap();
}

fn rate(table: &mut Table, what: &str, bytes: usize, start: Instant) {
    let rate = bytes as f64 / 1e6 / start.elapsed().as_secs_f64();
    table.number(what, &format!("{rate:.0} MB/s"), &format!("{} MiB", bytes >> 20));
}

pub(crate) async fn write(client: &mut Client, sandbox: &str, path: &str, bytes: usize) {
    let open = WriteOpen { sandbox_id: sandbox.to_owned(), path: path.to_owned(), ..WriteOpen::default() };
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = (0..bytes).step_by(PIECE).map(move |at| Request::Data(piece.slice(..PIECE.min(bytes - at))));
    let requests = std::iter::once(Request::Open(open)).chain(pieces);
    let requests = requests.map(|request| WriteRequest { request: Some(request) }).collect::<Vec<_>>();
    let file = client.files.write(tokio_stream::iter(requests)).await.unwrap().into_inner();
    assert_eq!(file.size_bytes, bytes as i64);
}

async fn read(client: &mut Client, sandbox: &str, path: &str) -> usize {
    let request = ReadRequest { sandbox_id: sandbox.to_owned(), path: path.to_owned(), ..ReadRequest::default() };
    let mut pieces = client.files.read(request).await.unwrap().into_inner();
    let mut received = 0;
    while let Some(piece) = pieces.message().await.unwrap() {
        if let Some(read_response::Response::Data(data)) = piece.response {
            received += data.len();
        }
    }
    received
}
