//! Calls by name, with messages as bytes: for what must hold of every method, whatever its types are.

use super::within;
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::Channel,
};
use tonic_reflection::pb::{v1, v1alpha};

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
