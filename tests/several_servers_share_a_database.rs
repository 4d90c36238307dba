//! PostgreSQL in the place of the embedded database: for one server that restarts, and for several at once.

use crate::kit::{Options, Server, cli, create_sandbox, errors::expect_error, postgres::Postgres, v1, within};
use futures_util::{FutureExt, future::join_all};
use std::path::Path;
use tonic::Code;
use v1::{CreateSandboxRequest, ListSandboxesRequest, sandbox::State};

fn serve(postgres: &Postgres, data_dir: &Path) -> Server {
    let args = vec!["--database".to_owned(), postgres.url()];
    Server::start(Options { args, data_dir: Some(data_dir.to_owned()), keep: true, ..Default::default() })
}

async fn listed(server: &Server, labels: &[(&str, &str)]) -> Vec<String> {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let request = ListSandboxesRequest { labels, ..Default::default() };
    let answer = server.connect().await.sandboxes.list_sandboxes(request).await.expect("a list").into_inner();
    assert_eq!(answer.total_size as usize, answer.sandboxes.len());
    answer.sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect()
}

/// Ends a server and all its sandboxes.
async fn end(postgres: &Postgres, data_dir: &Path) {
    let args = vec!["--database".to_owned(), postgres.url()];
    let last = Server::start(Options { args, data_dir: Some(data_dir.to_owned()), ..Default::default() });
    tokio::task::spawn_blocking(move || last.stop()).await.expect("the last server's end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_server_finds_its_sandboxes_there() {
    let (postgres, dir) = (Postgres::start().await, tempfile::tempdir().expect("a directory"));
    let server = serve(&postgres, dir.path());
    let labels = [("team".to_owned(), "blue".to_owned())].into();
    let request = CreateSandboxRequest { labels, request_id: "r".into(), ..Default::default() };
    let sandbox = create_sandbox(&server, request.clone()).await;
    let s = sandbox.session("").await;
    s.run("x=kept").await;
    assert_eq!(listed(&server, &[("team", "blue")]).await, std::slice::from_ref(&sandbox.id));
    assert_eq!(listed(&server, &[("team", "red")]).await, [""; 0]);
    tokio::task::spawn_blocking(move || server.crash()).await.expect("a killed server");
    let server = serve(&postgres, dir.path());
    s.through(&server).await.run("echo $x").await.expect("kept\n", "", 0);
    assert_eq!(create_sandbox(&server, request).await.id, sandbox.id);
    assert!(!dir.path().join("sandshell.db").exists(), "the embedded database is not used beside it");
    drop(server);
    end(&postgres, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_servers_see_the_same_and_know_whose_a_sandbox_is() {
    let postgres = Postgres::start().await;
    let dirs = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let [first, second] = dirs.each_ref().map(|dir| serve(&postgres, dir.path()));
    let made = [create_sandbox(&first, Default::default()).await, create_sandbox(&second, Default::default()).await];
    let ids = made.each_ref().map(|sandbox| sandbox.id.clone());
    assert_eq!((listed(&first, &[]).await, listed(&second, &[]).await), (ids.to_vec(), ids.to_vec()));
    let elsewhere = v1::GetSandboxRequest { sandbox_id: ids[1].clone() };
    let status = first.connect().await.sandboxes.get_sandbox(elsewhere).await.expect_err("it is on the other");
    expect_error(&status, Code::FailedPrecondition, "ON_OTHER_SERVER");
    // A restart of one does not touch what is the other's.
    tokio::task::spawn_blocking(move || first.crash()).await.expect("a killed server");
    let first = serve(&postgres, dirs[0].path());
    made[1].run("echo fine").await.expect("fine\n", "", 0);
    assert_eq!(listed(&first, &[]).await, ids);
    // Keys and limits are one for all.
    let key = cli::prints(&["key", "create", "--tenant", "acme", "--database", &postgres.url()]).trim().to_owned();
    cli::prints(&["tenant", "limit", "acme", "--max-sandboxes", "2", "--database", &postgres.url()]);
    let mut results = Vec::new();
    for server in [&first, &second, &first] {
        let mut request = tonic::Request::new(CreateSandboxRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("a header"));
        results.push(server.connect().await.sandboxes.create_sandbox(request).await);
    }
    let status = results.pop().expect("three results").expect_err("one too many");
    expect_error(&status, Code::ResourceExhausted, "TOO_MANY_SANDBOXES");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    drop((first, second));
    for dir in &dirs {
        end(&postgres, dir.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_the_database_sessions_go_on_and_the_rest_says_when_to_come_back() {
    let (mut postgres, dir) = (Postgres::start().await, tempfile::tempdir().expect("a directory"));
    let server = serve(&postgres, dir.path());
    let sandbox = create_sandbox(&server, Default::default()).await;
    let s = sandbox.session("").await;
    postgres.stop().await;
    // Longer than the server remembers that it is open.
    s.run("sleep 0.7; echo on").await.expect("on\n", "", 0);
    s.run("echo on").await.expect("on\n", "", 0);
    let mut sandboxes = server.connect().await.sandboxes;
    let status = sandboxes.create_sandbox(CreateSandboxRequest::default()).await.expect_err("nowhere to write");
    expect_error(&status, Code::Unavailable, "DATABASE_UNREACHABLE");
    assert!(tonic_types::StatusExt::get_details_retry_info(&status).is_some(), "{status:?}");
    postgres.start_again().await;
    let again = create_sandbox(&server, Default::default()).await;
    assert_eq!(again.described.state(), State::Running);
    drop(server);
    end(&postgres, dir.path()).await;
}

/// A database that is frozen keeps its connections and answers nothing on them, as behind a network that is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_hangs_holds_nobody_up_who_does_not_need_it() {
    let (postgres, dir) = (Postgres::start().await, tempfile::tempdir().expect("a directory"));
    let server = serve(&postgres, dir.path());
    let sandbox = create_sandbox(&server, Default::default()).await;
    let s = sandbox.session("").await;
    let clients = server.connect().await;
    s.run("x=kept").await;
    postgres.freeze();
    // More at once than there are connections, so that all of them are tried.
    let asked = (0..40).map(|n| {
        let mut sandboxes = clients.sandboxes.clone();
        async move {
            if n % 2 == 0 {
                sandboxes.create_sandbox(CreateSandboxRequest::default()).await.map(drop)
            } else {
                sandboxes.list_sandboxes(ListSandboxesRequest::default()).await.map(drop)
            }
        }
    });
    let refused = tokio::spawn(within("answers without a database", join_all(asked).boxed()));
    // Meanwhile, and for longer than the server remembers that it is open.
    for _ in 0..3 {
        s.run("sleep 0.7; echo $x").await.expect("kept\n", "", 0);
        let get = v1::GetSandboxRequest { sandbox_id: sandbox.id.clone() };
        let now = clients.sandboxes.clone().get_sandbox(get).await.expect("it is in memory").into_inner();
        assert_eq!(now.state(), State::Running);
    }
    for answer in refused.await.expect("all answers") {
        let status = answer.expect_err("nobody can know");
        expect_error(&status, Code::Unavailable, "DATABASE_UNREACHABLE");
        assert!(tonic_types::StatusExt::get_details_retry_info(&status).is_some(), "{status:?}");
    }
    postgres.thaw();
    // By itself, and nothing of what was refused is there: not even what was committed when the database woke up.
    within::until("a sandbox from the database that is back", async || {
        clients.sandboxes.clone().create_sandbox(CreateSandboxRequest::default()).await.is_ok()
    })
    .await;
    within::until("the end of what was refused", async || listed(&server, &[]).await.len() == 2).await;
    drop(server);
    end(&postgres, dir.path()).await;
}
