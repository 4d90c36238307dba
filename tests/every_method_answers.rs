//! What the proto files promise is there: each method is implemented, and does what it is for.

use crate::kit::{
    Clients, Options, Runtime, Server,
    samples::{CALCULATOR, write_sample},
    v1, within,
};
use prost::Message;
use prost_types::FileDescriptorSet;
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
    for (path, streams) in all {
        let code = within(&path, code_of(&channel, &path, streams)).await;
        assert!(![Code::Unimplemented, Code::Internal, Code::Unknown].contains(&code), "{path}: {code:?}");
    }
    // And what is private is not there.
    for path in ["/sandshell.agent.v1.AgentService/Hello", "/sandshell.agent.v1.AgentService/Stop", "/nosuch/Method"] {
        assert_eq!(code_of(&channel, path, false).await, Code::Unimplemented, "{path}");
    }
}

crate::in_every_runtime!(each_does_what_it_is_for);

/// Each method once with what it asks for, in the order of a client's work. An answer counts only when what it says could
/// not be known without having done the work. A method that is not in here is missing.
async fn each_does_what_it_is_for(on: Runtime) {
    let catalogue = tempfile::tempdir().unwrap();
    write_sample(&catalogue.path().join("set/halves"), CALCULATOR);
    let mut options = on.options();
    options.args.extend(["--catalog".to_owned(), catalogue.path().display().to_string()]);
    let server = Server::start(options);
    let Clients { sandboxes: mut boxes, mut sessions, mut files, channel } = server.connect().await;
    let mut code = v1::code_service_client::CodeServiceClient::new(channel.clone());
    let mut volumes = v1::volume_service_client::VolumeServiceClient::new(channel.clone());
    let mut samples = v1::sample_service_client::SampleServiceClient::new(channel);
    let mut done = Vec::new();
    macro_rules! call {
        ($client:ident.$method:ident, $path:literal, $request:expr) => {{
            done.push(concat!("/sandshell.v1.", $path));
            within($path, $client.$method($request)).await.unwrap_or_else(|e| panic!("{}: {e:?}", $path)).into_inner()
        }};
    }

    let listed = call!(samples.list_datasets, "SampleService/ListDatasets", v1::ListDatasetsRequest::default());
    assert_eq!(
        listed.datasets.iter().map(|set| (set.name.as_str(), set.sample_count)).collect::<Vec<_>>(),
        [("set", 1)]
    );
    let listed = call!(samples.list_samples, "SampleService/ListSamples", v1::ListSamplesRequest::default());
    assert_eq!((listed.samples[0].sample_id.as_str(), listed.total_size), ("halves", 1));
    let request = v1::GetSampleRequest { dataset: "set".into(), sample_id: "halves".into() };
    assert!(call!(samples.get_sample, "SampleService/GetSample", request).description.contains("one and a half"));

    let request = v1::CreateVolumeRequest { name: "data".into(), ..Default::default() };
    let volume = call!(volumes.create_volume, "VolumeService/CreateVolume", request);
    let request = v1::GetVolumeRequest { volume: volume.volume_id.clone() };
    assert_eq!(call!(volumes.get_volume, "VolumeService/GetVolume", request).name, "data");
    let listed = call!(volumes.list_volumes, "VolumeService/ListVolumes", v1::ListVolumesRequest::default());
    assert_eq!((listed.volumes[0].volume_id.as_str(), listed.total_size), (volume.volume_id.as_str(), 1));
    let request = v1::DeleteVolumeRequest { volume: "data".into() };
    call!(volumes.delete_volume, "VolumeService/DeleteVolume", request.clone());
    let gone = volumes.delete_volume(request).await.expect_err("it is deleted");
    assert_eq!(gone.code(), Code::NotFound);

    let made = call!(boxes.create_sandbox, "SandboxService/CreateSandbox", on.request());
    let sandbox_id = made.sandbox_id.clone();
    let mut making = call!(boxes.create_and_watch_sandbox, "SandboxService/CreateAndWatchSandbox", on.request());
    let mut watched = v1::Sandbox::default();
    while watched.state() != v1::sandbox::State::Running {
        let seen = within("a state", making.message()).await.expect("a stream").expect("more until it runs");
        watched = seen.sandbox.expect("a sandbox");
    }
    assert_ne!(watched.sandbox_id, sandbox_id);

    let request = v1::GetSandboxRequest { sandbox_id: sandbox_id.clone() };
    let got = call!(boxes.get_sandbox, "SandboxService/GetSandbox", request);
    assert_eq!((got.sandbox_id, got.create_time, got.image), (made.sandbox_id, made.create_time, made.image));
    let listed = call!(boxes.list_sandboxes, "SandboxService/ListSandboxes", v1::ListSandboxesRequest::default());
    let listed: Vec<_> = listed.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect();
    assert_eq!(listed, [&sandbox_id, &watched.sandbox_id].map(String::clone));
    let labels = std::collections::HashMap::from([("kind".to_owned(), "updated".to_owned())]);
    let request = v1::UpdateSandboxRequest {
        sandbox: Some(v1::Sandbox { sandbox_id: sandbox_id.clone(), labels: labels.clone(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["labels".into()] }),
    };
    assert_eq!(call!(boxes.update_sandbox, "SandboxService/UpdateSandbox", request).labels, labels);

    let (id, path) = (|| sandbox_id.clone(), |name: &str| format!("/tmp/{name}"));
    let request = v1::MakeDirectoryRequest { sandbox_id: id(), path: path("d"), ..Default::default() };
    call!(files.make_directory, "FileService/MakeDirectory", request);
    let open = v1::WriteOpen { sandbox_id: id(), path: path("d/f"), ..Default::default() };
    let pieces = [v1::write_request::Request::Open(open), v1::write_request::Request::Data("six".into())];
    let pieces = pieces.map(|piece| v1::WriteRequest { request: Some(piece) });
    let written = call!(files.write, "FileService/Write", tokio_stream::iter(pieces));
    let request = v1::StatRequest { sandbox_id: id(), path: path("d/f"), ..Default::default() };
    assert_eq!(call!(files.stat, "FileService/Stat", request), written);
    let (old, new) = ("six".into(), "seven".into());
    let request = v1::ReplaceRequest { sandbox_id: id(), path: path("d/f"), old, new, ..Default::default() };
    assert_eq!(call!(files.replace, "FileService/Replace", request).replacements, 1);
    let request = v1::CopyRequest { sandbox_id: id(), path: path("d/f"), new_path: path("d/g"), ..Default::default() };
    assert_eq!(call!(files.copy, "FileService/Copy", request).size_bytes, 5);
    let request = v1::MoveRequest { sandbox_id: id(), path: path("d/g"), new_path: path("d/h"), ..Default::default() };
    assert_eq!(call!(files.r#move, "FileService/Move", request).path, "/tmp/d/h");
    let request =
        v1::SetAttributesRequest { sandbox_id: id(), path: path("d/h"), mode: Some(0o711), ..Default::default() };
    assert_eq!(call!(files.set_attributes, "FileService/SetAttributes", request).mode, 0o711);
    let request = v1::RemoveRequest { sandbox_id: id(), path: path("d/f"), ..Default::default() };
    call!(files.remove, "FileService/Remove", request);
    let request = v1::ListRequest { sandbox_id: id(), path: path("d"), ..Default::default() };
    let listed = call!(files.list, "FileService/List", request).files;
    assert_eq!(listed.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["/tmp/d/h"]);
    let request = v1::ReadRequest { sandbox_id: id(), path: path("d/h"), ..Default::default() };
    let mut pieces = call!(files.read, "FileService/Read", request);
    let mut bytes = Vec::new();
    while let Some(piece) = within("a piece", pieces.message()).await.expect("a piece") {
        if let Some(v1::read_response::Response::Data(data)) = piece.response {
            bytes.extend_from_slice(&data);
        }
    }
    assert_eq!(bytes, b"seven");
    let request = v1::ExportRequest { sandbox_id: id(), paths: vec![path("d")], ..Default::default() };
    let mut pieces = call!(files.export, "FileService/Export", request);
    let mut archive = Vec::new();
    while let Some(piece) = within("a piece", pieces.message()).await.expect("a piece") {
        archive.extend_from_slice(&piece.data);
    }
    let open = v1::ImportOpen { sandbox_id: id(), path: path("e"), ..Default::default() };
    let pieces = [v1::import_request::Request::Open(open), v1::import_request::Request::Data(archive.into())];
    let pieces = pieces.map(|piece| v1::ImportRequest { request: Some(piece) });
    let imported = call!(files.import, "FileService/Import", tokio_stream::iter(pieces));
    assert_eq!((imported.files, imported.bytes, imported.directories), (1, 5, 1));
    let (globs, pattern) = (vec!["h".to_owned()], "s[e]ven".to_owned());
    let request = v1::FindRequest { sandbox_id: id(), path: path("e"), globs, ..Default::default() };
    let mut found = call!(files.find, "FileService/Find", request);
    let first = within("a file", found.message()).await.expect("a file").expect("a file").file.expect("a file");
    assert_eq!(first.path, "/tmp/e/d/h");
    assert_eq!(within("the end", found.message()).await.expect("an end"), None);
    let request = v1::SearchRequest { sandbox_id: id(), path: path("e"), pattern, ..Default::default() };
    let mut found = call!(files.search, "FileService/Search", request);
    assert_eq!(within("a line", found.message()).await.expect("a line").expect("a line").text, "seven");
    assert_eq!(within("the end", found.message()).await.expect("an end"), None);

    let context_id = || "c".to_owned();
    let request = v1::RunCodeRequest {
        sandbox_id: id(),
        language: "python".into(),
        code: "6 * 7".into(),
        context_id: context_id(),
        ..Default::default()
    };
    let mut told = call!(code.run_code, "CodeService/RunCode", request);
    let mut value = String::new();
    while let Some(message) = within("a message", told.message()).await.expect("a message") {
        if let Some(v1::run_code_response::Response::Result(result)) = message.response {
            value = result.text;
        }
    }
    assert_eq!(value, "42");
    let request = v1::ListLanguagesRequest { sandbox_id: id() };
    let languages = call!(code.list_languages, "CodeService/ListLanguages", request).languages;
    assert!(languages.iter().any(|language| language.name == "python" && language.program.starts_with('/')));
    let request = v1::ListContextsRequest { sandbox_id: id() };
    let contexts = call!(code.list_contexts, "CodeService/ListContexts", request).contexts;
    assert_eq!(contexts.iter().map(|context| context.context_id.as_str()).collect::<Vec<_>>(), ["c"]);
    let request = v1::DeleteContextRequest { sandbox_id: id(), context_id: context_id() };
    call!(code.delete_context, "CodeService/DeleteContext", request);

    let request = v1::WatchRequest { sandbox_id: id(), path: path("e"), ..Default::default() };
    let mut changes = call!(files.watch, "FileService/Watch", request);
    let armed = within("a watch", changes.message()).await.expect("a watch").expect("a watch").event;
    assert_eq!(armed, Some(v1::watch_response::Event::Armed(v1::Armed {})));
    let request = v1::RemoveRequest { sandbox_id: id(), path: path("e"), recursive: true, ..Default::default() };
    files.remove(request).await.expect("it is removed");
    let change = within("a change", changes.message()).await.expect("a watch").expect("a change").event;
    let Some(v1::watch_response::Event::Change(change)) = change else { panic!("a change, and not {change:?}") };
    assert_eq!((change.kind(), change.path.as_str()), (v1::change::Kind::Removed, "/tmp/e/d"));

    let request = v1::ChangesRequest { sandbox_id: id(), page_size: 1, ..Default::default() };
    let changes = call!(files.changes, "FileService/Changes", request);
    assert_eq!((changes.changes.len(), changes.changes[0].path.as_str()), (1, "/tmp"));

    let request = v1::CreateSessionRequest { sandbox_id: sandbox_id.clone(), ..Default::default() };
    let session = call!(sessions.create_session, "SessionService/CreateSession", request);
    let session_id = session.session_id.clone();
    let start = |command: &str| v1::ExecStart {
        target: Some(v1::exec_start::Target::SessionId(session_id.clone())),
        command: command.to_owned(),
        ..Default::default()
    };
    let request = v1::RunRequest { start: Some(start("cd /usr; echo $((6 * 7))")), ..Default::default() };
    let ran = call!(sessions.run, "SessionService/Run", request);
    assert_eq!(ran.stdout, "42\n");
    let first = v1::ExecRequest { request: Some(v1::exec_request::Request::Start(start("pwd; sleep 1000"))) };
    let mut output = call!(sessions.exec, "SessionService/Exec", tokio_stream::once(first));
    let command_id = read_until(&mut output, "/usr\n").await;

    let request = v1::GetSessionRequest { session_id: session_id.clone() };
    let got = call!(sessions.get_session, "SessionService/GetSession", request);
    assert_eq!((got.state(), got.shell_pid), (v1::session::State::Busy, session.shell_pid));
    let request = v1::ListSessionsRequest { sandbox_id: sandbox_id.clone(), ..Default::default() };
    assert_eq!(call!(sessions.list_sessions, "SessionService/ListSessions", request).sessions, [got]);
    let request = v1::GetCommandRequest { command_id: command_id.clone() };
    let command = call!(sessions.get_command, "SessionService/GetCommand", request);
    assert_eq!((command.command.as_str(), command.stdout_bytes), ("pwd; sleep 1000", 5));
    let request = v1::ListCommandsRequest { session_id: session_id.clone(), ..Default::default() };
    let listed = call!(sessions.list_commands, "SessionService/ListCommands", request);
    let listed: Vec<_> = listed.commands.into_iter().map(|command| command.command_id).collect();
    assert_eq!(listed, [ran.command_id, command_id.clone()]);
    let request = v1::GetSandboxStatsRequest { sandbox_id: sandbox_id.clone() };
    let stats = call!(boxes.get_sandbox_stats, "SandboxService/GetSandboxStats", request);
    // An interpreter is a command, and what it was given to do is one.
    assert_eq!((stats.sessions, stats.running_commands, stats.commands), (1, 1, 4));
    assert!(stats.memory_bytes.is_some_and(|bytes| bytes > 0), "{stats:?}");

    let request = v1::ListProcessesRequest { session_id: session_id.clone(), ..Default::default() };
    // The shell has printed where it is, and is about to start the program.
    let sleeping = loop {
        let listed = within("a list", sessions.list_processes(request.clone())).await.expect("a list").into_inner();
        let sleeping = listed.processes.into_iter().find(|process| process.command == "sleep 1000");
        if let Some(sleeping) = sleeping {
            break sleeping;
        }
        tokio::task::yield_now().await;
    };
    done.push("/sandshell.v1.SessionService/ListProcesses");
    assert_eq!((&sleeping.command_id, sleeping.foreground), (&command_id, true));
    let (pid, signal) = (sleeping.pid, libc::SIGCONT);
    let request = v1::SignalProcessRequest { session_id: session_id.clone(), pid, signal, ..Default::default() };
    assert_eq!(call!(sessions.signal_process, "SessionService/SignalProcess", request).signalled, 1);
    let request = v1::AttachRequest { command_id: command_id.clone(), ..Default::default() };
    let mut attached = call!(sessions.attach, "SessionService/Attach", request);
    read_until(&mut attached, "/usr\n").await;
    let request = v1::SignalCommandRequest { command_id, signal: libc::SIGINT };
    call!(sessions.signal_command, "SessionService/SignalCommand", request);
    assert_eq!(read_to_end(&mut attached).await.exit_code, 130);
    let request = v1::CloseSessionRequest { session_id: session_id.clone() };
    call!(sessions.close_session, "SessionService/CloseSession", request);
    let closed = sessions.get_session(v1::GetSessionRequest { session_id }).await.expect_err("it is closed");
    assert_eq!(closed.code(), Code::NotFound);

    let channel = server.connect().await.channel;
    let mut images = v1::image_service_client::ImageServiceClient::new(channel.clone());
    let listed = call!(images.list_images, "ImageService/ListImages", v1::ListImagesRequest::default()).images;
    let used = if on == Runtime::Linux { "host".to_owned() } else { on.image() };
    assert!(listed.iter().any(|image| image.name.starts_with(&used)), "{listed:?}");
    let mut verifications = v1::verification_service_client::VerificationServiceClient::new(channel);
    let sample = Some(v1::SampleSource { sample_id: "halves".into(), ..Default::default() });
    let worked = v1::CreateSandboxRequest { sample, ..on.request() };
    let worked = boxes.create_sandbox(worked).await.expect("a sandbox of a sample").into_inner().sandbox_id;
    let request = v1::StartVerificationRequest { sandbox_id: worked.clone(), ..Default::default() };
    let started = call!(verifications.start_verification, "VerificationService/StartVerification", request);
    let verification_id = || started.verification_id.clone();
    let request = v1::WatchVerificationRequest { verification_id: verification_id(), ..Default::default() };
    let mut told = call!(verifications.watch_verification, "VerificationService/WatchVerification", request);
    let mut judged = v1::Verification::default();
    while let Some(message) = within("a verification", told.message()).await.expect("a stream") {
        if let Some(v1::watch_verification_response::Event::Verification(now)) = message.event {
            judged = now;
        }
    }
    // Its hidden test was there and ran.
    let said = judged.result.as_ref().map(|result| result.stderr.contains("xyzzy-hidden-part.py")).unwrap_or_default();
    assert!(said && judged.state() == v1::verification::State::Completed, "{judged:?}");
    let request = v1::GetVerificationRequest { verification_id: verification_id() };
    assert_eq!(call!(verifications.get_verification, "VerificationService/GetVerification", request), judged);
    let request = v1::ListVerificationsRequest { sandbox_id: worked.clone(), ..Default::default() };
    let listed = call!(verifications.list_verifications, "VerificationService/ListVerifications", request);
    assert_eq!((listed.total_size, &listed.verifications[0].verification_id), (1, &judged.verification_id));
    // What is over stays as it is.
    let request = v1::CancelVerificationRequest { verification_id: verification_id() };
    assert_eq!(call!(verifications.cancel_verification, "VerificationService/CancelVerification", request), judged);
    boxes.delete_sandbox(v1::DeleteSandboxRequest { sandbox_id: worked }).await.expect("it is deleted");

    let request = v1::WatchSandboxRequest { sandbox_id: sandbox_id.clone() };
    let mut watch = call!(boxes.watch_sandbox, "SandboxService/WatchSandbox", request);
    let request = v1::DeleteSandboxRequest { sandbox_id: sandbox_id.clone() };
    call!(boxes.delete_sandbox, "SandboxService/DeleteSandbox", request);
    let mut last = None;
    while let Some(seen) = within("a state", watch.message()).await.expect("a stream") {
        last = seen.sandbox;
    }
    assert_eq!(last.expect("a state").state(), v1::sandbox::State::Deleted);
    let gone = boxes.get_sandbox(v1::GetSandboxRequest { sandbox_id }).await.expect_err("it is deleted");
    assert_eq!(gone.code(), Code::NotFound);

    let mut all: Vec<_> =
        methods().into_iter().map(|(path, _)| path).filter(|path| !path.contains(".agent.")).collect();
    all.sort_unstable();
    done.sort_unstable();
    assert_eq!(done, all, "the methods tried here, and those of the proto files");
}

/// Reads until a command has printed this, and returns its id.
async fn read_until(messages: &mut tonic::Streaming<v1::ExecResponse>, text: &str) -> String {
    let (mut command_id, mut printed) = (String::new(), Vec::new());
    while printed != text.as_bytes() {
        let message = within("output", messages.message()).await.expect("a stream").expect("more output");
        match message.response {
            Some(v1::exec_response::Response::Started(started)) => command_id = started.command_id,
            Some(v1::exec_response::Response::Output(piece)) => printed.extend_from_slice(&piece.data),
            other => panic!("{other:?} came after {printed:?}"),
        }
    }
    command_id
}

/// Reads on until a command has ended.
async fn read_to_end(messages: &mut tonic::Streaming<v1::ExecResponse>) -> v1::Exited {
    // The whole of it has the bound: a stream on which nothing happens is kept alive.
    within("the end of a command", async {
        loop {
            let message = messages.message().await.expect("a stream").expect("a word on the end");
            if let Some(v1::exec_response::Response::Exited(exited)) = message.response {
                return exited;
            }
        }
    })
    .await
}
