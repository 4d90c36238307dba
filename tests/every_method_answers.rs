//! What the proto files promise is there: each method is implemented, each element explained, and reflection shows it.

use crate::kit::{Options, Server, within};
use prost::Message;
use prost_types::FileDescriptorSet;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tonic::{Code, codegen::http::uri::PathAndQuery, transport::Channel};

/// `/package.Service/Method`, and whether the answer is a stream.
fn methods() -> Vec<(String, bool)> {
    let set = FileDescriptorSet::decode(sandshell::api::FILE_DESCRIPTOR_SET).expect("descriptors");
    let mut methods = Vec::new();
    for file in set.file.iter().filter(|f| f.package().starts_with("sandshell.")) {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                methods.push((path, method.server_streaming()));
            }
        }
    }
    methods
}

/// An empty message to a method, whatever its types are.
async fn code_of(channel: &Channel, path: &str, streams: bool) -> Code {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("a connection");
    let path: PathAndQuery = path.parse().expect("a path");
    // The unit is a message without fields; unknown ones are skipped.
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    if !streams {
        return match client.unary(tonic::Request::new(()), path, codec).await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        };
    }
    match client.server_streaming(tonic::Request::new(()), path, codec).await {
        Ok(answer) => answer.into_inner().message().await.map_or_else(|status| status.code(), |_| Code::Ok),
        Err(status) => status.code(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn none_is_unimplemented() {
    let server = Server::start(Options::default());
    let channel = server.connect().await.channel;
    let all = methods();
    assert!(all.len() >= 14, "{all:?}");
    for (path, streams) in all {
        let code = within(&path, code_of(&channel, &path, streams)).await;
        assert!(![Code::Unimplemented, Code::Internal, Code::Unknown].contains(&code), "{path}: {code:?}");
    }
    // And what is private is not there.
    for path in ["/sandshell.agent.v1.AgentService/Hello", "/sandshell.agent.v1.AgentService/Stop", "/nosuch/Method"] {
        assert_eq!(code_of(&channel, path, false).await, Code::Unimplemented, "{path}");
    }
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_element_is_explained() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut missing = Vec::new();
    for file in files(&proto, "proto") {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (n, line) in lines.iter().enumerate() {
            let named = ["syntax", "package", "import", "option", "reserved", "//", "}"]
                .iter()
                .any(|word| line.starts_with(word));
            // Continuation lines of a long element do not start one.
            let starts = line.ends_with('{')
                || (line.contains(" = ") && line.ends_with(';'))
                || line.starts_with("rpc ")
                || line.ends_with("{}");
            if starts && !named && !(n > 0 && lines[n - 1].starts_with("//")) {
                missing.push(format!("{}:{}: {line}", file.display(), n + 1));
            }
        }
        assert!(lines[0].starts_with("//"), "{} does not say what it is about", file.display());
    }
    assert!(missing.is_empty(), "without a comment:\n{}", missing.join("\n"));
}

/// Field comments begin with how a field is used, in messages that clients send.
#[test]
fn request_fields_say_whether_they_are_needed() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/sandshell/v1");
    let mut missing = Vec::new();
    for file in files(&proto, "proto") {
        let text = fs::read_to_string(&file).unwrap();
        let mut message = "";
        let mut comment = String::new();
        for (n, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if let Some(rest) = line.strip_prefix("message ") {
                message = rest.split(' ').next().unwrap_or_default();
            }
            if let Some(words) = trimmed.strip_prefix("//") {
                comment.push_str(words);
            } else {
                let field = line.starts_with("  ")
                    && !line.starts_with("   ")
                    && trimmed.contains(" = ")
                    && trimmed.ends_with(';');
                let sent = message.ends_with("Request") && message != "ExecRequest";
                let said = ["Required", "Optional"].iter().any(|word| comment.trim_start().starts_with(word));
                if field && sent && !said {
                    missing.push(format!("{}:{}: {trimmed}", file.display(), n + 1));
                }
                comment.clear();
            }
        }
    }
    assert!(missing.is_empty(), "neither Required nor Optional:\n{}", missing.join("\n"));
}
