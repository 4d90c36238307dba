//! Where a sandbox has no process left for what a call needs, the call says so, and which limit it is; it does not say that the sandbox cannot
//! be reached. A session whose shell ends meanwhile keeps what it had for a while.

use crate::kit::{Running, Runtime, Sandbox, create_sandbox, errors::expect_error, v1, within};
use std::fmt::Debug;
use tonic::{Code, Status};
use v1::{
    ExecStart, Resources, RunCodeRequest, code_service_client::CodeServiceClient, import_request::Request as Piece,
};

crate::in_every_runtime!(
    each_call_for_files_says_that_no_process_is_left,
    files_wait_for_no_thread_that_cannot_be_started,
    code_says_that_no_process_is_left,
    a_session_waits_a_moment_for_a_process,
);

/// Fills the sandbox with processes, and says so. For each line of input it ends one of them.
const FILL: &str = "
import os, signal, sys, time
children = []
while True:
    try:
        child = os.fork()
    except OSError:
        break
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    children.append(child)
print('full', flush=True)
for _ in sys.stdin:
    child = children.pop()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print('room', flush=True)
for child in children:
    os.kill(child, signal.SIGKILL)
";

/// A sandbox that is soon full.
async fn small(on: Runtime) -> Sandbox {
    let resources = Some(Resources { max_processes: Some(40), ..Resources::default() });
    create_sandbox(on.shared(), v1::CreateSandboxRequest { resources, ..on.request() }).await
}

/// Takes all of its processes.
async fn fill(sandbox: &Sandbox) -> Running {
    let argv = ["/usr/bin/python3", "-c", FILL].map(str::to_owned).to_vec();
    let start = ExecStart { argv, stdin: true, ..sandbox.start("") };
    let mut filling = sandbox.exec(start).await;
    filling.until_out("full\n").await;
    filling
}

/// A sandbox in which no further process can be started, and what fills it.
async fn full(on: Runtime) -> (Sandbox, Running) {
    let sandbox = small(on).await;
    let filling = fill(&sandbox).await;
    (sandbox, filling)
}

#[track_caller]
fn expect_full<T: Debug>(what: &str, answer: Result<T, Status>) {
    let status = answer.expect_err(what);
    expect_error(&status, Code::ResourceExhausted, "SANDBOX_OUT_OF_RESOURCES");
    assert!(status.message().contains("max_processes"), "{what}: {}", status.message());
}

async fn each_call_for_files_says_that_no_process_is_left(on: Runtime) {
    let (s, filling) = full(on).await;
    let (sandbox_id, path) = (s.id.clone(), "/tmp/f".to_owned());
    /// A call about one file.
    macro_rules! refused {
        ($method:ident, $request:ident { $($field:ident: $value:expr),* }) => {{
            let request = v1::$request {
                sandbox_id: sandbox_id.clone(), path: path.clone(), $($field: $value,)* ..Default::default()
            };
            expect_full(stringify!($method), within(stringify!($method), s.clients.files.clone().$method(request)).await);
        }};
    }
    refused!(stat, StatRequest {});
    refused!(list, ListRequest {});
    refused!(read, ReadRequest {});
    refused!(remove, RemoveRequest {});
    refused!(r#move, MoveRequest { new_path: "/tmp/g".to_owned() });
    refused!(copy, CopyRequest { new_path: "/tmp/g".to_owned() });
    refused!(make_directory, MakeDirectoryRequest {});
    refused!(set_attributes, SetAttributesRequest { mode: Some(0o600) });
    refused!(replace, ReplaceRequest { old: "a".to_owned(), new: "b".to_owned() });
    refused!(find, FindRequest { globs: vec!["*".to_owned()] });
    refused!(search, SearchRequest { pattern: "a".to_owned() });
    refused!(watch, WatchRequest {});
    expect_full("write", s.try_write(s.open_file(&path), b"x").await);
    let open = v1::ImportOpen { sandbox_id: sandbox_id.clone(), path: "/tmp".to_owned(), ..Default::default() };
    let parts = [Piece::Open(open), Piece::Data(vec![0; 1024].into())];
    let parts = parts.map(|request| v1::ImportRequest { request: Some(request) });
    let import = s.clients.files.clone();
    expect_full("import", within("import", import.clone().import(tokio_stream::iter(parts))).await);
    let paths = vec!["/tmp".to_owned()];
    let export = v1::ExportRequest { sandbox_id: sandbox_id.clone(), paths, ..Default::default() };
    expect_full("export", within("export", import.clone().export(export)).await);
    // What is asked of the runtime needs nothing of the sandbox.
    let changes = v1::ChangesRequest { sandbox_id, ..Default::default() };
    within("changes", import.clone().changes(changes)).await.expect("changes");
    filling.close_stdin().await;
    filling.finish().await;
    // A connection on which calls were refused goes on refusing for a moment.
    within::until("a sandbox that has room again", async || s.stat("/tmp").await.is_ok()).await;
    s.write("/tmp/f", "x").await;
    assert_eq!(s.read("/tmp/f").await, b"x");
}

async fn files_wait_for_no_thread_that_cannot_be_started(on: Runtime) {
    let (s, mut filling) = full(on).await;
    expect_full("nothing can be started", s.stat("/tmp").await);
    // Enough for the program that works on files, and not for its threads.
    filling.stdin("\n").await;
    filling.until_out("room\n").await;
    // The first call hears the old reason, and has the program started.
    let no_thread = async || s.stat("/tmp").await.unwrap_err().message().starts_with("work on files");
    within::until("a program that can start no thread", no_thread).await;
    expect_full("still none", s.try_write(s.open_file("/tmp/f"), b"x").await);
    filling.stdin("\n").await;
    filling.until_out("room\n").await;
    // One thread does all. A connection on which calls were refused goes on refusing for a moment.
    let is_missing = async || s.stat("/tmp/f").await.unwrap_err().code() == Code::NotFound;
    within::until("a file that was not written, because that was refused", is_missing).await;
    s.write("/tmp/f", "x").await;
    let reads = (0..20).map(|_| s.read("/tmp/f"));
    assert!(futures_util::future::join_all(reads).await.iter().all(|read| read == b"x"));
}

async fn code_says_that_no_process_is_left(on: Runtime) {
    let (s, filling) = full(on).await;
    let mut code = CodeServiceClient::new(s.clients.channel.clone());
    for (language, context_id) in [("python", ""), ("python", "kept"), ("bash", "")] {
        let request = RunCodeRequest {
            sandbox_id: s.id.clone(),
            language: language.to_owned(),
            context_id: context_id.to_owned(),
            code: "1".to_owned(),
            ..Default::default()
        };
        let answer = within("a refusal", async { code.run_code(request).await?.into_inner().message().await }).await;
        expect_full(language, answer);
    }
    let ask = v1::ListLanguagesRequest { sandbox_id: s.id.clone() };
    let languages = within("languages", code.list_languages(ask)).await.expect("languages").into_inner();
    assert!(languages.languages.iter().any(|language| language.name == "python" && !language.program.is_empty()));
    let ask = v1::ListContextsRequest { sandbox_id: s.id.clone() };
    let contexts = within("contexts", code.list_contexts(ask)).await.expect("contexts").into_inner();
    assert!(contexts.contexts.is_empty(), "one that could not be started is no context: {contexts:?}");
    filling.close_stdin().await;
    filling.finish().await;
}

async fn a_session_waits_a_moment_for_a_process(on: Runtime) {
    let sandbox = small(on).await;
    let session = sandbox.session("").await;
    session.run("cd /usr; A=1").await.expect("", "", 0);
    session.settled().await;
    let mut filling = fill(&sandbox).await;
    // What its end leaves is enough for what watches a shell, and not for the shell as well.
    let ended = session.exec_text("kill -9 $$").await;
    // No event tells that another shell was refused.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    filling.stdin("\n").await;
    filling.until_out("room\n").await;
    ended.finish().await.expect_shell_exit(137, 9, 2);
    session.run("echo $A $PWD").await.expect("1 /usr\n", "", 0);
    filling.close_stdin().await;
    filling.finish().await;
}
