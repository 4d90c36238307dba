//! HTTP/2 frame by frame, for clients that do not do what gRPC libraries do.

use tokio::{io::AsyncWriteExt, net::TcpStream};

/// How every client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

const END_HEADERS: u8 = 4;

/// A connection that sends what it is told to and nothing else: no acknowledgement, no answer to a ping, no window.
pub struct Frames {
    stream: TcpStream,
    next: u32,
}

impl Frames {
    /// Connects, and sends preface and settings: pairs of a number and a value.
    pub async fn connect(address: &str, settings: &[(u16, u32)]) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()).await.expect("a preface");
        Self { stream, next: 1 }
    }

    /// Opens a stream to a method, with more headers than every call has. Returns its number.
    pub async fn open(&mut self, path: &str, more: &[(&str, &str)]) -> std::io::Result<u32> {
        let number = self.next;
        self.next += 2;
        let usual = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let block: Vec<u8> = usual.iter().chain(more).flat_map(|(name, value)| literal(name, value)).collect();
        self.stream.write_all(&frame(HEADERS, END_HEADERS, number, &block)).await?;
        Ok(number)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header as it is written without compression: neither is the name in a table, nor any text coded.
fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0], &text(name)[..], &text(value)].concat()
}

fn text(text: &str) -> Vec<u8> {
    assert!(text.len() < 127, "a length of one byte");
    [&[text.len() as u8], text.as_bytes()].concat()
}
