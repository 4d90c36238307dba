//! Calls by name, with messages as bytes: for what must hold of every method, whatever its types are.

use super::within;
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use prost_types::FileDescriptorProto;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::Channel,
};
use tonic_reflection::pb::{v1, v1alpha};
use tower::ServiceExt;

/// Calls `/package.Service/Method` with one message and these `authorization` values, and takes the first answer. Unary
/// or streaming makes no difference on the wire.
pub async fn call(channel: &Channel, path: &str, message: &[u8], authorization: &[&str]) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("a connection");
    let mut request = Request::new(tokio_stream::once(message.to_vec()));
    for value in authorization {
        let value = AsciiMetadataValue::try_from(value.as_bytes()).expect("a header value");
        request.metadata_mut().append("authorization", value);
    }
    let named: PathAndQuery = path.parse().expect("a path");
    within(path, async {
        let mut answers = client.streaming(request, named, Raw).await?.into_inner();
        Ok(answers.message().await?.unwrap_or_default())
    })
    .await
}

/// A request with a key.
pub fn keyed<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    put_key(request.metadata_mut(), key);
    request
}

fn put_key(metadata: &mut MetadataMap, key: &str) {
    metadata.insert("authorization", format!("Bearer {key}").parse().expect("a key"));
}

/// Every method of every service that a server says it has, as a path.
pub async fn methods(channel: &Channel) -> Vec<String> {
    // Each version of reflection knows all services but the other version.
    let mut found = listed_by_v1(channel).await;
    found.extend(listed_by_v1alpha(channel).await);
    found.sort();
    found.dedup();
    found
}

macro_rules! listed_by {
    ($function:ident, $version:ident) => {
        async fn $function(channel: &Channel) -> Vec<String> {
            use $version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest as Ask,
                server_reflection_response::MessageResponse as Answer,
            };
            let mut client = ServerReflectionClient::new(channel.clone());
            let mut ask = async |question| {
                let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
                let answers = client.server_reflection_info(tokio_stream::once(request)).await.expect("reflection");
                let answer = answers.into_inner().message().await.expect("reflection").expect("an answer");
                answer.message_response.expect("an answer")
            };
            let mut paths = Vec::new();
            let Answer::ListServicesResponse(list) = ask(Ask::ListServices(String::new())).await else {
                panic!("no list")
            };
            for service in list.service {
                let asked = ask(Ask::FileContainingSymbol(service.name.clone())).await;
                let Answer::FileDescriptorResponse(files) = asked else { panic!("{} is unknown", service.name) };
                paths.extend(files.file_descriptor_proto.iter().flat_map(|file| methods_in(file, &service.name)));
            }
            paths
        }
    };
}
listed_by!(listed_by_v1, v1);
listed_by!(listed_by_v1alpha, v1alpha);

fn methods_in(file: &[u8], service: &str) -> Vec<String> {
    let file = FileDescriptorProto::decode(file).expect("a descriptor");
    let named = |name: &str| format!("{}.{name}", file.package()) == service;
    let methods = file.service.iter().filter(|found| named(found.name())).flat_map(|found| &found.method);
    methods.map(|method| format!("/{service}/{}", method.name())).collect()
}

/// Bytes in, bytes out.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// The body of a request, sent as it comes in; unfinished for as long as the sender lives.
struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(hyper::body::Frame::data(piece))))
    }
}

/// A call whose body goes out as it is: nothing is added to it, and it ends when the sender is dropped.
pub struct Unfinished {
    /// Takes more of the body.
    pub body: mpsc::UnboundedSender<Bytes>,
    answer: JoinHandle<Status>,
}

impl Unfinished {
    /// Calls a method.
    pub async fn call(channel: &Channel, path: &str) -> Self {
        let (body, pieces) = mpsc::unbounded_channel();
        let request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(Pieces(pieces)))
            .expect("a request");
        let call = channel.clone().oneshot(request);
        let answer = tokio::spawn(async move {
            match call.await {
                Ok(response) => Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok("")),
                Err(error) => Status::from_error(Box::new(error)),
            }
        });
        Self { body, answer }
    }

    /// Announces a message of this length, and sends so much of it.
    pub fn begin(&self, length: u32, sent: usize) {
        let begun = [&[0], &length.to_be_bytes()[..], &vec![0; sent]].concat();
        self.body.send(begun.into()).expect("the call is under way");
    }

    /// Whether it was answered.
    pub fn is_answered(&self) -> bool {
        self.answer.is_finished()
    }

    /// Ends the body. How it was answered.
    pub async fn end(self) -> Status {
        drop(self.body);
        within("an answer", self.answer).await.expect("no panic")
    }

    /// How it was answered. The body is not ended.
    pub async fn answer(self) -> Status {
        let answered = within("an answer to an unfinished call", self.answer).await;
        drop(self.body);
        answered.expect("no panic")
    }
}
