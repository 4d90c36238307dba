//! A server that is to take its sandboxes along leaves nothing when it stops.

use crate::kit::{Options, Running, Runtime, Sandbox, Server, create_sandbox, host, token, v1, within};
use std::path::Path;
use v1::exited::Reason;

crate::in_every_runtime!(after_sigterm, after_sigterm_with_nothing_to_do, after_sigterm_with_clients_that_stay,);

struct Left {
    sandboxes: Vec<Sandbox>,
    word: String,
    on: Runtime,
}

/// Three sandboxes, with processes of all kinds in them.
async fn fill(server: &Server, on: Runtime) -> (Left, Vec<Running>) {
    let word = token();
    let (mut sandboxes, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let sandbox = create_sandbox(server, on.request()).await;
        let s = sandbox.session("").await;
        s.run(format!(
            "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' {word} & echo x >/usr/bin/new; mkdir /tmp/d"
        ))
        .await;
        let mut running = s.exec_text(format!("echo up; sh -c 'sleep 1000; :' {word}")).await;
        running.until_out("up\n").await;
        streams.push(running);
        sandboxes.push(sandbox);
    }
    within::until("six processes", async || host::with_argument(&word).len() >= 6).await;
    (Left { sandboxes, word, on }, streams)
}

impl Left {
    fn look(&self, data_dir: &Path) -> Vec<String> {
        let mut found: Vec<_> = host::with_argument(&self.word).into_iter().map(host::arguments).collect();
        found.extend(host::mounts_with(&data_dir.to_string_lossy()));
        for id in self.sandboxes.iter().map(|s| &s.id) {
            found.extend(host::cgroups_with(id));
            found.extend(files_with(data_dir, id));
            found.extend(host::with_argument(id).into_iter().map(host::arguments));
            found.extend(self.on.containers(id));
        }
        found
    }
}

fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.to_string_lossy().contains(text) {
            found.push(path.display().to_string());
        } else if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(files_with(&path, text));
        }
    }
    found
}

async fn after_sigterm(on: Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Options { data_dir: Some(dir.path().join("data")), ..on.options() });
    let (left, streams) = fill(&server, on).await;
    let pid = server.pid();
    let stop = tokio::task::spawn_blocking(move || server.stop());
    // Those who watch are told before the connection goes.
    for running in streams {
        let got = running.finish().await;
        assert_eq!((got.reason(), got.out().as_str()), (Reason::SandboxStopped, "up\n"), "{got:?}");
    }
    let status = stop.await.expect("the server's end");
    assert!(status.success(), "SIGTERM is a clean end: {status}");
    assert_eq!(left.look(dir.path()), [""; 0], "left behind");
    within::until("the end of its helpers", async || {
        host::with_argument("sandshell")
            .iter()
            .all(|p| *p == pid || !host::arguments(*p).contains(&*dir.path().to_string_lossy()))
    })
    .await;
    // Nothing was mounted or bound that keeps the directory.
    std::fs::remove_dir_all(dir.path()).expect("the data directory can be removed");
}

async fn after_sigterm_with_nothing_to_do(on: Runtime) {
    let server = Server::start(on.options());
    let pid = server.pid();
    let stop = tokio::task::spawn_blocking(move || server.stop());
    let status = within("the end of an idle server", stop).await.expect("the server's end");
    assert!(status.success(), "{status}");
    assert!(!host::lives(pid));
}

/// An open connection, an idle watcher and a client that does not read do not hold it back.
async fn after_sigterm_with_clients_that_stay(on: Runtime) {
    let server = Server::start(on.options());
    let sandbox = create_sandbox(&server, on.request()).await;
    let s = sandbox.session("").await;
    let mut stalled = s.exec_text("yes").await;
    stalled.until_out("y\n").await;
    let _silent = tokio::net::TcpStream::connect(server.address()).await.expect("a connection");
    let _clients = server.connect().await;
    let status = tokio::task::spawn_blocking(move || server.stop()).await.expect("the server's end");
    assert!(status.success(), "{status}");
}

/// What was prepared for sandboxes to come goes with the server, however it ends, and also where many processes have to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_prepared_goes_with_the_server() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let data_dir = dir.path().join("data");
    let pool = vec!["--runtime-option".to_owned(), "pool=40".to_owned()];
    let start =
        || Server::start(Options { data_dir: Some(data_dir.clone()), args: pool.clone(), ..Default::default() });
    let slots = || std::fs::read_dir(data_dir.join("slots")).expect("slots").count();
    for crashes in [true, true, false] {
        let server = start();
        create_sandbox(&server, v1::CreateSandboxRequest::default()).await.delete().await;
        within::until("what is prepared", async || slots() >= 40).await;
        let ended = tokio::task::spawn_blocking(move || {
            if crashes {
                server.crash();
            } else {
                server.stop();
            }
        });
        ended.await.expect("its end");
    }
    let instance = std::fs::read_to_string(data_dir.join("instance")).expect("the name of the control groups");
    let left = (slots(), host::cgroups_with(&format!("sandshell-{instance}")));
    assert_eq!(left, (0, vec![]));
}
