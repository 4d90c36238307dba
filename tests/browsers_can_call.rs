//! gRPC-Web: calls as a browser can make them, over HTTP/1.1 too, from pages that the operator allows. Off by default.

use crate::kit::{
    Options, Runtime, Server,
    certificates::{Authority, Pair, write},
    cli::make_key,
    cli::refuses,
    create_sandbox, guide, shared, token, v1, within,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
};

const PAGE: &str = "https://app.example.com";
const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";
const CREATE: &str = "/sandshell.v1.SandboxService/CreateSandbox";
const DELETE: &str = "/sandshell.v1.SandboxService/DeleteSandbox";

fn web(more: &[&str]) -> Server {
    let args = [&["--grpc-web", "--cors-origin", PAGE], more].concat().iter().map(|arg| (*arg).to_owned()).collect();
    Server::start(Options { args, ..Runtime::Linux.options() })
}

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The messages, and what came of the call.
    fn messages(&self) -> (Vec<Vec<u8>>, HashMap<String, String>) {
        assert_eq!(self.status, 200, "{self:?}");
        let (mut rest, mut messages, mut trailers) = (&self.body[..], Vec::new(), self.headers.clone());
        while let [flag, a, b, c, d, more @ ..] = rest {
            let (piece, after) = more.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            match flag {
                0 => messages.push(piece.to_vec()),
                0x80 => trailers.extend(lines(std::str::from_utf8(piece).unwrap())),
                other => panic!("a piece with the flag {other}"),
            }
            rest = after;
        }
        (messages, trailers)
    }

    #[track_caller]
    fn message<M: Message + Default>(&self) -> M {
        let (messages, trailers) = self.messages();
        assert_eq!((messages.len(), trailers["grpc-status"].as_str()), (1, "0"), "{self:?}");
        M::decode(&messages[0][..]).unwrap()
    }
}

fn lines(text: &str) -> HashMap<String, String> {
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    text.split("\r\n").filter_map(pair).collect()
}

fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat()
}

fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
}

/// Sends this over HTTP/1.1, and reads to the end.
fn said(server: &Server, text: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(text).unwrap();
    answered(stream)
}

fn answered(mut stream: TcpStream) -> Answer {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {all:?}"));
    let (first, rest) = std::str::from_utf8(&all[..end]).unwrap().split_once("\r\n").unwrap();
    let headers = lines(rest);
    let mut body = all[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        body = unchunked(&body);
    }
    Answer { status: first.split(' ').nth(1).unwrap().parse().unwrap(), headers, body }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|two| two == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[line + 2..line + 2 + length]);
        body = &body[line + 2 + length + 2..];
    }
}

fn call(server: &Server, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let length = body.len().to_string();
    let headers = [&[("content-length", length.as_str())], headers].concat();
    said(server, &[head("POST", path, &headers).as_bytes(), body].concat())
}

#[test]
fn calls_are_answered_in_both_encodings() {
    let server = web(&[]);
    let request = v1::CreateSandboxRequest { labels: [("by".into(), token())].into(), ..Default::default() };
    let made = call(
        &server,
        CREATE,
        &[("content-type", BINARY), ("origin", PAGE), ("x-request-id", "mine")],
        &framed(&request),
    );
    assert_eq!(made.header("content-type"), BINARY);
    assert_eq!((made.header("access-control-allow-origin"), made.header("vary")), (PAGE, "origin"));
    assert!(made.header("access-control-expose-headers").contains("grpc-status"), "{made:?}");
    assert_eq!(made.header("x-request-id"), "mine");
    let sandbox: v1::Sandbox = made.message();
    assert_eq!(sandbox.labels, request.labels);

    // A stream, and a program that names no page.
    let start = v1::ExecStart {
        target: Some(v1::exec_start::Target::SandboxId(sandbox.sandbox_id.clone())),
        command: "for i in 1 2 3; do echo $i; sleep 0.1; done; exit 4".into(),
        ..Default::default()
    };
    let start = v1::ExecRequest { request: Some(v1::exec_request::Request::Start(start)) };
    let ran = call(&server, "/sandshell.v1.SessionService/Exec", &[("content-type", BINARY)], &framed(&start));
    let (messages, trailers) = ran.messages();
    assert_eq!(trailers["grpc-status"], "0");
    let (mut output, mut exit_code) = (Vec::new(), None);
    for message in messages {
        match v1::ExecResponse::decode(&message[..]).unwrap().response {
            Some(v1::exec_response::Response::Output(piece)) => output.extend(piece.data),
            Some(v1::exec_response::Response::Exited(exited)) => exit_code = Some(exited.exit_code),
            _ => {}
        }
    }
    assert_eq!((String::from_utf8(output).unwrap().as_str(), exit_code), ("1\n2\n3\n", Some(4)));

    // As text.
    let delete = v1::DeleteSandboxRequest { sandbox_id: sandbox.sandbox_id };
    let text = STANDARD.encode(framed(&delete));
    let gone = call(&server, DELETE, &[("content-type", TEXT)], text.as_bytes());
    assert_eq!(gone.header("content-type"), "application/grpc-web-text+proto");
    let gone = Answer { body: decoded(&gone.body), ..gone };
    gone.message::<v1::DeleteSandboxResponse>();
    // An error has its reason and its request id where the page can read them.
    let unknown = v1::GetSandboxRequest { sandbox_id: "sbx-nosuch".into() };
    let path = "/sandshell.v1.SandboxService/GetSandbox";
    let refused = call(&server, path, &[("content-type", BINARY)], &framed(&unknown));
    let (_, trailers) = refused.messages();
    assert_eq!(trailers["grpc-status"], "5");
    assert!(trailers.contains_key("grpc-status-details-bin") && trailers.contains_key("x-request-id"), "{trailers:?}");
    server.stop();
}

/// Pieces that were encoded each by itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|quartet| STANDARD.decode(quartet).expect("base64")).collect()
}

#[test]
fn pages_that_are_not_allowed_are_refused() {
    let server = web(&[]);
    let asks = [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];
    let allowed = said(&server, head("OPTIONS", CREATE, &[&asks[..], &[("origin", PAGE)]].concat()).as_bytes());
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, PAGE));
    assert!(allowed.header("access-control-allow-headers").contains("authorization"), "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-methods"), "POST");
    for page in ["https://evil.example.com", "null", "http://app.example.com"] {
        let refused = said(&server, head("OPTIONS", CREATE, &[&asks[..], &[("origin", page)]].concat()).as_bytes());
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, ""));
        assert!(refused.words().contains(&format!("--cors-origin {page}")), "{refused:?}");
        // Not even when it does not ask.
        let request = framed(&v1::CreateSandboxRequest::default());
        let refused = call(&server, CREATE, &[("content-type", BINARY), ("origin", page)], &request);
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    let list = call(&server, "/sandshell.v1.SandboxService/ListSandboxes", &[("content-type", BINARY)], &[0; 5]);
    assert_eq!(list.message::<v1::ListSandboxesResponse>().total_size, 0, "nothing was made");
    let everybody =
        Options { args: vec!["--grpc-web".into(), "--cors-origin".into(), "*".into()], ..Runtime::Linux.options() };
    let everybody = Server::start(everybody);
    let page = "https://any.example.com";
    let allowed = said(&everybody, head("OPTIONS", CREATE, &[&asks[..], &[("origin", page)]].concat()).as_bytes());
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, page));
}

#[test]
fn it_is_off_by_default_and_says_so() {
    let refused = call(shared(), CREATE, &[("content-type", BINARY)], &framed(&v1::CreateSandboxRequest::default()));
    assert_eq!(refused.status, 505);
    assert!(refused.words().contains("--grpc-web"), "{refused:?}");
    refuses(&["serve", "--cors-origin", PAGE], &["--cors-origin", "also needs --grpc-web"]);
    refuses(&["serve", "--grpc-web", "--cors-origin", "app.example.com"], &["--cors-origin", "https://"]);
    let server = web(&[]);
    let page = said(&server, head("GET", "/", &[]).as_bytes());
    assert_eq!(page.status, 415);
    assert!(page.words().contains("application/grpc-web+proto"), "{page:?}");
}

#[test]
fn keys_and_limits_hold() {
    let server = web(&[]);
    let key = format!("Bearer {}", make_key(server.data_dir(), "default"));
    let list = "/sandshell.v1.SandboxService/ListSandboxes";
    let stranger = call(&server, list, &[("content-type", BINARY), ("origin", PAGE)], &[0; 5]);
    assert_eq!(stranger.messages().1["grpc-status"], "16");
    assert_eq!(stranger.header("access-control-allow-origin"), PAGE, "the page may read why");
    let known = call(&server, list, &[("content-type", BINARY), ("authorization", &key)], &[0; 5]);
    known.message::<v1::ListSandboxesResponse>();
    // More than the method takes, known from the length that the message says.
    let large = [&[0][..], &(3_u32 << 20).to_be_bytes(), &[0; 1000]].concat();
    let refused = call(&server, list, &[("content-type", BINARY), ("authorization", &key)], &large);
    let (_, trailers) = refused.messages();
    assert_eq!(trailers["grpc-status"], "8", "{refused:?}");
    assert!(trailers["grpc-message"].contains("larger"), "{trailers:?}");
    // Not the headers, either.
    let long = "x".repeat(100 << 10);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let _ = stream.write_all(head("POST", list, &[("content-type", BINARY), ("x-long", &long)]).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_that_was_cut_off_is_not_taken_for_a_whole_one() {
    let server = web(&[]);
    let sandbox = create_sandbox(&server, Runtime::Linux.request()).await;
    let open = v1::write_request::Request::Open(sandbox.open_file("/workspace/file"));
    let data = v1::write_request::Request::Data(b"a part".to_vec().into());
    let body = [open, data].map(|request| framed(&v1::WriteRequest { request: Some(request) })).concat();
    let path = "/sandshell.v1.FileService/Write";
    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
    let chunked = head("POST", path, &[("content-type", BINARY), ("transfer-encoding", "chunked")]);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&[chunked.as_bytes(), &chunk].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let said = String::from_utf8_lossy(&answer);
    assert!(said.contains("grpc-status:14") || said.contains("grpc-status: 14"), "{said}");
    let gone = sandbox.stat("/workspace/file").await.expect_err("nothing was written");
    assert_eq!(gone.code(), tonic::Code::NotFound);
    // With its end it is whole.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&[chunked.as_bytes(), &chunk, b"0\r\n\r\n"].concat()).unwrap();
    assert_eq!(answered(stream).message::<v1::File>().size_bytes, 6);
    within("the file", sandbox.stat("/workspace/file")).await.expect("it is there");
}

#[test]
fn over_tls_it_may_be_either_version_of_http() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let Pair { certificate, key } = authority.sign(&["127.0.0.1"]);
    let [certificate, key, ca] = [("server.pem", certificate), ("server.key", key), ("ca.pem", authority.pem)]
        .map(|(name, text)| write(directory.path(), name, &text));
    let server = web(&["--tls-cert", &certificate, "--tls-key", &key]);
    let body = directory.path().join("body");
    std::fs::write(&body, [0; 5]).unwrap();
    for version in ["--http1.1", "--http2"] {
        let url = format!("https://{}/sandshell.v1.SandboxService/ListSandboxes", server.address());
        let mut curl = Command::new("curl");
        curl.args(["-sS", version, "--cacert", &ca, "-H"]).arg(format!("content-type: {BINARY}"));
        let out = curl.args(["--data-binary", &format!("@{}", body.display()), &url]).output().expect("curl");
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.contains("grpc-status:0"), "{version}: {out:?}");
    }
}

/// The program of `docs/grpc.md`, as it stands there.
#[test]
fn the_guide_to_browsers_is_true() {
    let server = web(&[]);
    let program = guide::blocks(include_str!("../docs/grpc.md"), "js").concat();
    assert!(program.contains("fetch("), "the program is there");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("guide.mjs");
    std::fs::write(&file, program).unwrap();
    let node = Command::new("node").arg(&file).env("SANDSHELL_SERVER", server.url()).output();
    let out = node.expect("node: apt-get install nodejs");
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(out.status.success() && said[0] == "hello from /tmp\n1\n2\n3\nexit code 0\n", "{said:?}");
}
