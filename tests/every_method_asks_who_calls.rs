//! No method answers a caller that it does not know, and none shows a tenant what is another's. One table has every method
//! of every service; a method that is not in it fails the test.

use crate::kit::{
    Options, Server,
    cli::{make_key, prints},
    errors::{expect_error, request_id},
    raw::{call, keyed, methods},
    token, v1,
};
use bytes::Bytes;
use prost::Message;
use sandshell::api::v1::exec_start::Target;
use tonic::{Code, Status, transport::Channel};
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
use tonic_types::StatusExt;

/// What a method does with the ids of another tenant.
enum Asked {
    /// It needs no key, because it knows nothing of anybody's.
    Open,
    /// It takes no id.
    NoId,
    /// It does not find them: the reason.
    NotFound(&'static str),
}

use Asked::{NoId, NotFound, Open};

/// What a tenant has.
struct Ids {
    sandbox: String,
    session: String,
    command: String,
}

/// Every method, a request of whom the ids belong to, and what others are answered. What ends something comes last.
fn table(ids: &Ids) -> Vec<(&'static str, Vec<u8>, Asked)> {
    let (sandbox_id, session_id) = (|| ids.sandbox.clone(), || ids.session.clone());
    let command_id = || ids.command.clone();
    let start = || {
        let target = Some(Target::SessionId(session_id()));
        Some(v1::ExecStart { target, command: "true".into(), ..Default::default() })
    };
    let exec = v1::ExecRequest { request: start().map(v1::exec_request::Request::Start) };
    let attach = v1::AttachRequest { command_id: command_id(), ..Default::default() };
    let list_sessions = v1::ListSessionsRequest { sandbox_id: sandbox_id(), ..Default::default() };
    let list_commands = v1::ListCommandsRequest { session_id: session_id(), ..Default::default() };
    let create_session = v1::CreateSessionRequest { sandbox_id: sandbox_id(), ..Default::default() };
    let signal = v1::SignalCommandRequest { command_id: command_id(), ..Default::default() };
    let run = v1::RunRequest { start: start(), ..Default::default() };
    let update = v1::UpdateSandboxRequest {
        sandbox: Some(v1::Sandbox { sandbox_id: sandbox_id(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["labels".into()] }),
    };
    let run_code = v1::RunCodeRequest {
        sandbox_id: sandbox_id(),
        language: "python".into(),
        code: "1".into(),
        context_id: "c".into(),
        ..Default::default()
    };
    let get_sample = v1::GetSampleRequest { sample_id: "none".into(), ..Default::default() };
    let start_verification = v1::StartVerificationRequest { sandbox_id: sandbox_id(), ..Default::default() };
    // Whether one finds that of another tenant is tried where there are some.
    let verification_id = || "ver-nope".to_owned();
    let get_verification = v1::GetVerificationRequest { verification_id: verification_id() };
    let cancel_verification = v1::CancelVerificationRequest { verification_id: verification_id() };
    let watch_verification = v1::WatchVerificationRequest { verification_id: verification_id(), ..Default::default() };
    // And that of a volume where there are volumes.
    let create_volume = v1::CreateVolumeRequest { name: token(), ..Default::default() };
    let get_volume = v1::GetVolumeRequest { volume: "none".into() };
    let delete_volume = v1::DeleteVolumeRequest { volume: "none".into() };
    let delete_context = v1::DeleteContextRequest { sandbox_id: sandbox_id(), context_id: "c".into() };
    // The same bytes in both versions.
    let services = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let list_processes = v1::ListProcessesRequest { session_id: session_id(), ..Default::default() };
    let signal_process = v1::SignalProcessRequest { session_id: session_id(), pid: 999_999, ..Default::default() };
    let (path, new_path) = (|| "/tmp/file".to_owned(), || "/tmp/copy".to_owned());
    let open = v1::WriteOpen { sandbox_id: sandbox_id(), path: path(), ..Default::default() };
    let write = v1::WriteRequest { request: Some(v1::write_request::Request::Open(open)) };
    let stat = v1::StatRequest { sandbox_id: sandbox_id(), path: path(), ..Default::default() };
    let list = v1::ListRequest { sandbox_id: sandbox_id(), path: "/tmp".into(), ..Default::default() };
    let read = v1::ReadRequest { sandbox_id: sandbox_id(), path: path(), ..Default::default() };
    let (sandbox, directory) = (sandbox_id(), "/tmp/a/b".into());
    let make_directory =
        v1::MakeDirectoryRequest { sandbox_id: sandbox, path: directory, parents: true, ..Default::default() };
    let copy = v1::CopyRequest {
        sandbox_id: sandbox_id(),
        path: path(),
        new_path: new_path(),
        overwrite: true,
        ..Default::default()
    };
    let move_ = v1::MoveRequest {
        sandbox_id: sandbox_id(),
        path: new_path(),
        new_path: path(),
        overwrite: true,
        ..Default::default()
    };
    let set_attributes =
        v1::SetAttributesRequest { sandbox_id: sandbox_id(), path: path(), mode: Some(0o755), ..Default::default() };
    let replace = v1::ReplaceRequest { sandbox_id: sandbox_id(), path: path(), old: "x".into(), ..Default::default() };
    let remove = v1::RemoveRequest { sandbox_id: sandbox_id(), path: path(), ..Default::default() };
    let open = v1::ImportOpen { sandbox_id: sandbox_id(), path: path(), ..Default::default() };
    let import = v1::ImportRequest { request: Some(v1::import_request::Request::Open(open)) };
    let export = v1::ExportRequest { sandbox_id: sandbox_id(), paths: vec![path()], ..Default::default() };
    let watch = v1::WatchRequest { sandbox_id: sandbox_id(), path: "/tmp".into(), ..Default::default() };
    let changes = v1::ChangesRequest { sandbox_id: sandbox_id(), ..Default::default() };
    let find = v1::FindRequest { sandbox_id: sandbox_id(), path: path(), ..Default::default() };
    let search =
        v1::SearchRequest { sandbox_id: sandbox_id(), path: path(), pattern: "x".into(), ..Default::default() };
    let (sandbox, session, command) = ("SANDBOX_NOT_FOUND", "SESSION_NOT_FOUND", "COMMAND_NOT_FOUND");
    let verification = "VERIFICATION_NOT_FOUND";
    vec![
        ("/grpc.health.v1.Health/Check", vec![], Open),
        ("/grpc.health.v1.Health/Watch", vec![], Open),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", services.encode_to_vec(), Open),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", services.encode_to_vec(), Open),
        ("/sandshell.v1.SandboxService/CreateSandbox", vec![], NoId),
        ("/sandshell.v1.SandboxService/CreateAndWatchSandbox", vec![], NoId),
        ("/sandshell.v1.SandboxService/ListSandboxes", vec![], NoId),
        (
            "/sandshell.v1.SandboxService/GetSandbox",
            v1::GetSandboxRequest { sandbox_id: sandbox_id() }.encode_to_vec(),
            NotFound(sandbox),
        ),
        ("/sandshell.v1.SandboxService/UpdateSandbox", update.encode_to_vec(), NotFound(sandbox)),
        (
            "/sandshell.v1.SandboxService/GetSandboxStats",
            v1::GetSandboxStatsRequest { sandbox_id: sandbox_id() }.encode_to_vec(),
            NotFound(sandbox),
        ),
        (
            "/sandshell.v1.SandboxService/WatchSandbox",
            v1::WatchSandboxRequest { sandbox_id: sandbox_id() }.encode_to_vec(),
            NotFound(sandbox),
        ),
        ("/sandshell.v1.SessionService/CreateSession", create_session.encode_to_vec(), NotFound(sandbox)),
        (
            "/sandshell.v1.SessionService/GetSession",
            v1::GetSessionRequest { session_id: session_id() }.encode_to_vec(),
            NotFound(session),
        ),
        ("/sandshell.v1.SessionService/ListSessions", list_sessions.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.SessionService/Exec", exec.encode_to_vec(), NotFound(session)),
        ("/sandshell.v1.SessionService/Run", run.encode_to_vec(), NotFound(session)),
        ("/sandshell.v1.SessionService/Attach", attach.encode_to_vec(), NotFound(command)),
        (
            "/sandshell.v1.SessionService/GetCommand",
            v1::GetCommandRequest { command_id: command_id() }.encode_to_vec(),
            NotFound(command),
        ),
        ("/sandshell.v1.SessionService/ListCommands", list_commands.encode_to_vec(), NotFound(session)),
        ("/sandshell.v1.SessionService/SignalCommand", signal.encode_to_vec(), NotFound(command)),
        ("/sandshell.v1.SessionService/ListProcesses", list_processes.encode_to_vec(), NotFound(session)),
        ("/sandshell.v1.SessionService/SignalProcess", signal_process.encode_to_vec(), NotFound(session)),
        ("/sandshell.v1.FileService/Write", write.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Stat", stat.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/List", list.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Read", read.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/MakeDirectory", make_directory.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Copy", copy.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Move", move_.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/SetAttributes", set_attributes.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Replace", replace.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Remove", remove.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Import", import.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Export", export.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Find", find.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Search", search.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.CodeService/RunCode", run_code.encode_to_vec(), NotFound(sandbox)),
        (
            "/sandshell.v1.CodeService/ListLanguages",
            v1::ListLanguagesRequest { sandbox_id: sandbox_id() }.encode_to_vec(),
            NotFound(sandbox),
        ),
        (
            "/sandshell.v1.CodeService/ListContexts",
            v1::ListContextsRequest { sandbox_id: sandbox_id() }.encode_to_vec(),
            NotFound(sandbox),
        ),
        ("/sandshell.v1.CodeService/DeleteContext", delete_context.encode_to_vec(), NotFound(sandbox)),
        // Images and samples are the operator's, and the same for all.
        ("/sandshell.v1.ImageService/ListImages", vec![], NoId),
        ("/sandshell.v1.SampleService/ListDatasets", vec![], NoId),
        ("/sandshell.v1.SampleService/ListSamples", vec![], NoId),
        ("/sandshell.v1.SampleService/GetSample", get_sample.encode_to_vec(), NoId),
        ("/sandshell.v1.VerificationService/StartVerification", start_verification.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.VerificationService/ListVerifications", vec![], NoId),
        ("/sandshell.v1.VerificationService/GetVerification", get_verification.encode_to_vec(), NotFound(verification)),
        (
            "/sandshell.v1.VerificationService/CancelVerification",
            cancel_verification.encode_to_vec(),
            NotFound(verification),
        ),
        (
            "/sandshell.v1.VerificationService/WatchVerification",
            watch_verification.encode_to_vec(),
            NotFound(verification),
        ),
        ("/sandshell.v1.VolumeService/CreateVolume", create_volume.encode_to_vec(), NoId),
        ("/sandshell.v1.VolumeService/ListVolumes", vec![], NoId),
        ("/sandshell.v1.VolumeService/GetVolume", get_volume.encode_to_vec(), NotFound("VOLUME_NOT_FOUND")),
        ("/sandshell.v1.VolumeService/DeleteVolume", delete_volume.encode_to_vec(), NotFound("VOLUME_NOT_FOUND")),
        ("/sandshell.v1.FileService/Changes", changes.encode_to_vec(), NotFound(sandbox)),
        ("/sandshell.v1.FileService/Watch", watch.encode_to_vec(), NotFound(sandbox)),
        (
            "/sandshell.v1.SessionService/CloseSession",
            v1::CloseSessionRequest { session_id: session_id() }.encode_to_vec(),
            NotFound(session),
        ),
        (
            "/sandshell.v1.SandboxService/DeleteSandbox",
            v1::DeleteSandboxRequest { sandbox_id: sandbox_id() }.encode_to_vec(),
            NotFound(sandbox),
        ),
    ]
}

/// Ids that nobody has.
fn no_ids() -> Ids {
    Ids { sandbox: "sbx-nope".into(), session: "sbx-nope/s".into(), command: "sbx-nope/s/1".into() }
}

/// A sandbox of a tenant's, with a session and a command in it.
async fn make(server: &Server, key: &str) -> Ids {
    let mut clients = server.connect().await;
    let create = v1::CreateSandboxRequest::default();
    let sandbox =
        clients.sandboxes.create_sandbox(keyed(create, key)).await.expect("a sandbox").into_inner().sandbox_id;
    let create = v1::CreateSessionRequest { sandbox_id: sandbox.clone(), ..Default::default() };
    let session = clients.sessions.create_session(keyed(create, key)).await.expect("a session").into_inner().session_id;
    let target = Some(Target::SessionId(session.clone()));
    let start = Some(v1::ExecStart { target, command: "true".into(), ..Default::default() });
    let run = v1::RunRequest { start, ..Default::default() };
    let command = clients.sessions.run(keyed(run, key)).await.expect("a command").into_inner().command_id;
    Ids { sandbox, session, command }
}

/// Fails unless caller and ids are known. What is not there to be signalled, replaced or unpacked is an
/// answer, too.
#[track_caller]
fn expect_known(path: &str, answer: Result<Bytes, Status>) {
    let Err(status) = answer else { return };
    let (code, reason) = match path.rsplit('/').next() {
        Some("SignalCommand") => (Code::FailedPrecondition, "COMMAND_EXITED"),
        Some("SignalProcess") => (Code::NotFound, "PROCESS_NOT_FOUND"),
        Some("Import") => (Code::InvalidArgument, "INVALID_ARGUMENT"),
        Some("StartVerification") => (Code::FailedPrecondition, "NO_SAMPLE"),
        Some("GetVerification" | "CancelVerification" | "WatchVerification") => {
            (Code::NotFound, "VERIFICATION_NOT_FOUND")
        }
        Some("GetVolume" | "DeleteVolume") => (Code::NotFound, "VOLUME_NOT_FOUND"),
        Some("GetSample") => (Code::NotFound, "SAMPLE_NOT_FOUND"),
        Some("Replace") => (Code::FailedPrecondition, "TEXT_NOT_FOUND"),
        _ => panic!("{path}: {status:?}"),
    };
    expect_error(&status, code, reason);
}

/// Calls again when the server asks for patience, as it does beyond so many calls without a known key in a second.
async fn call_patiently(
    channel: &Channel,
    path: &str,
    message: &[u8],
    authorization: &[&str],
) -> Result<Bytes, Status> {
    loop {
        let answer = call(channel, path, message, authorization).await;
        let delay = answer.as_ref().err().filter(|status| status.code() == Code::ResourceExhausted);
        let Some(delay) = delay.and_then(|status| status.get_details_retry_info()?.retry_delay) else { return answer };
        tokio::time::sleep(delay).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_table_has_every_method() {
    let server = Server::start(Options::default());
    let mut listed: Vec<_> = table(&no_ids()).into_iter().map(|(path, ..)| path.to_owned()).collect();
    listed.sort();
    assert_eq!(listed, methods(&server.connect().await.channel).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_has_no_right_key_is_refused() {
    let server = Server::start(Options::default());
    let key = make_key(server.data_dir(), "blue");
    let revoked = make_key(server.data_dir(), "blue");
    prints(&["key", "revoke", &revoked, "--data-dir", server.data_dir().to_str().unwrap()]);
    let (right, revoked) = (format!("Bearer {key}"), format!("Bearer {revoked}"));
    let elsewhere = tempfile::tempdir().unwrap();
    let unknown = format!("Bearer {}", make_key(elsewhere.path(), "blue"));
    let cut = &right[..right.len() - 1];
    let basic = right.replace("Bearer", "Basic");
    let wrong: [(&str, &[&str]); 10] = [
        ("no key", &[]),
        ("an unknown key", &[&unknown]),
        ("a revoked key", &[&revoked]),
        ("half a key", &[cut]),
        ("a key in capitals", &[&right.to_uppercase()]),
        ("another scheme", &[&basic]),
        ("no scheme", &[&key]),
        ("nothing after the scheme", &["Bearer"]),
        ("an empty header", &[""]),
        ("two keys", &[&right, &right]),
    ];
    let channel = server.connect().await.channel;
    let ids = make(&server, &key).await;
    for (path, message, asked) in table(&ids) {
        for (what, authorization) in &wrong {
            let answer = call_patiently(&channel, path, &message, authorization).await;
            if let Open = asked {
                answer.unwrap_or_else(|status| panic!("{path} with {what}: {status:?}"));
                continue;
            }
            let Err(status) = answer else { panic!("{path} answers {what}") };
            expect_error(&status, Code::Unauthenticated, "UNAUTHENTICATED");
            assert!(request_id(status.metadata()).is_some(), "{path} with {what}: {status:?}");
            assert!(!status.message().contains(&key[20..]), "{path} with {what} repeats the key: {status:?}");
        }
        expect_known(path, call_patiently(&channel, path, &message, &[&right]).await);
    }
    // Nor is anybody told which methods there are not.
    let status = call(&channel, "/nosuch/Method", b"", &[]).await.expect_err("unknown");
    expect_error(&status, Code::Unauthenticated, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_another_tenants_is_not_there() {
    let server = Server::start(Options::default());
    let (blue, red) = (make_key(server.data_dir(), "blue"), make_key(server.data_dir(), "red"));
    let channel = server.connect().await.channel;
    let (mine, theirs) = (make(&server, &red).await, make(&server, &blue).await);
    let (as_red, as_blue) = (format!("Bearer {red}"), format!("Bearer {blue}"));
    for (path, message, asked) in table(&theirs) {
        if let NotFound(reason) = asked {
            let answer = call(&channel, path, &message, &[&as_red]).await;
            let Err(status) = answer else { panic!("{path} finds what is another tenant's") };
            expect_error(&status, Code::NotFound, reason);
        }
    }
    let mut sandboxes = server.connect().await.sandboxes;
    let list = sandboxes.list_sandboxes(keyed(v1::ListSandboxesRequest::default(), &red)).await;
    let list = list.expect("a list").into_inner();
    let ids: Vec<_> = list.sandboxes.iter().map(|sandbox| &sandbox.sandbox_id).collect();
    assert_eq!((ids, list.total_size), (vec![&mine.sandbox], 1));
    // And nothing happened to it.
    for (path, message, _) in table(&theirs) {
        expect_known(path, call(&channel, path, &message, &[&as_blue]).await);
    }
}
