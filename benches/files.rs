//! Files, in and out.

use crate::{
    Options,
    create::time_of,
    report::{Samples, Table},
    server::{Client, Server},
};
use bytes::Bytes;
use sandshell::api::v1::{ReadRequest, WriteOpen, WriteRequest, read_response, write_request::Request};
use std::{fs, time::Instant};

/// Bytes of a message.
const PIECE: usize = 252 << 10;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.client.clone();
    let sandbox = client.create_sandbox().await;
    let here = server.data_dir().join("bench-source");
    fs::write(&here, vec![b'x'; 1 << 20]).unwrap();
    let (source, target) = (here.to_str().unwrap().to_owned(), format!("{}-copy", here.display()));
    let [mut writes, mut reads, mut copies] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(200) {
        let start = Instant::now();
        write(&mut client, &sandbox, "/tmp/f", 1 << 20).await;
        writes.push(start.elapsed());
        let start = Instant::now();
        assert_eq!(read(&mut client, &sandbox, "/tmp/f").await, 1 << 20);
        reads.push(start.elapsed());
        copies.push(time_of(&["cp", &source, &target]));
    }
    table.times("write a file of 1 MiB", &writes, Some(("cp", &copies)));
    table.times("read a file of 1 MiB", &reads, Some(("cp", &copies)));
    let bytes = options.samples(1000) << 20;
    let start = Instant::now();
    write(&mut client, &sandbox, "/tmp/large", bytes).await;
    rate(table, "write one large file", bytes, start);
    let start = Instant::now();
    assert_eq!(read(&mut client, &sandbox, "/tmp/large").await, bytes);
    rate(table, "read one large file", bytes, start);
    client.delete_sandbox(sandbox).await;
}

fn rate(table: &mut Table, what: &str, bytes: usize, start: Instant) {
    let rate = bytes as f64 / 1e6 / start.elapsed().as_secs_f64();
    table.number(what, &format!("{rate:.0} MB/s"), &format!("{} MiB", bytes >> 20));
}

async fn write(client: &mut Client, sandbox: &str, path: &str, bytes: usize) {
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
