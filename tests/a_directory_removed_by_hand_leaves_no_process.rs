//! Whoever removes the directory of a running sandbox takes the way to it away, and nothing else: the sandbox is ended,
//! by the server that runs or by the next one.

use crate::kit::{Options, Sandbox, Server, create_sandbox, host, token, v1, within};
use std::{fs, path::Path};
use v1::{CreateSandboxRequest, GetSandboxRequest, sandbox::State};

/// A sandbox in which something runs that has this word among its arguments, and one that goes on.
async fn two(server: &Server, word: &str) -> (Sandbox, Sandbox) {
    let (sandbox, other) = (
        create_sandbox(server, CreateSandboxRequest::default()).await,
        create_sandbox(server, CreateSandboxRequest::default()).await,
    );
    sandbox.session("").await.run(format!("sh -c 'sleep 1000; :' {word} &")).await;
    within::until("its process", async || !host::with_argument(word).is_empty()).await;
    (sandbox, other)
}

/// What the names of a data directory's cgroups begin with.
fn instance(data_dir: &Path) -> String {
    format!("sandshell-{}/", fs::read_to_string(data_dir.join("instance")).expect("the name of the cgroups"))
}

#[tokio::test]
async fn the_server_that_runs_ends_it() {
    let (server, word) = (Server::start(Options::default()), token());
    let (sandbox, other) = two(&server, &word).await;
    fs::remove_dir_all(server.data_dir().join("sandboxes").join(&sandbox.id)).expect("its directory");
    let request = GetSandboxRequest { sandbox_id: sandbox.id.clone() };
    let got = sandbox.clients.sandboxes.clone().get_sandbox(request).await.expect("it is reported").into_inner();
    assert_eq!(got.state(), State::Failed);
    assert_eq!(got.end_message, "it was removed from outside");
    within::until("the end of its processes", async || host::with_argument(&word).is_empty()).await;
    other.run("echo alive").await.expect("alive\n", "", 0);
    let instance = instance(server.data_dir());
    other.delete().await;
    sandbox.delete().await;
    tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
    assert_eq!(host::cgroups_with(&instance), [""; 0]);
}

#[tokio::test]
async fn the_next_server_ends_it() {
    let (dir, word) = (tempfile::tempdir().expect("a directory for data"), token());
    let data_dir = dir.path().join("data");
    let options = |keep| Options { data_dir: Some(data_dir.clone()), keep, ..Default::default() };
    let server = Server::start(options(true));
    let (sandbox, other) = two(&server, &word).await;
    tokio::task::spawn_blocking(move || server.crash()).await.expect("a killed server");
    fs::remove_dir_all(data_dir.join("sandboxes").join(&sandbox.id)).expect("its directory");
    let server = Server::start(options(false));
    assert_eq!(host::with_argument(&word), [0; 0]);
    other.through(&server).await.run("echo alive").await.expect("alive\n", "", 0);
    tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
    assert_eq!(host::cgroups_with(&instance(&data_dir)), [""; 0]);
    assert_eq!(fs::read_dir(data_dir.join("slots")).expect("slots").count(), 0);
}
