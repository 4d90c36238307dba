//! What a session notices of bulk work on the files of its own sandbox.

use crate::{
    Options, files,
    neighbours::{TURNS, sample},
    report::{Samples, Table},
    server::{Client, Server},
};
use sandshell::api::v1::{ListRequest, SearchRequest};

/// 1000 directories with 99 files each.
const TREE: &str = "mkdir /tmp/tree && cd /tmp/tree && for at in $(seq 1000); do \
     mkdir $at && (cd $at && echo text | tee $(seq 99) >/dev/null); done; cd /tmp";

/// Work that is done again and again.
#[derive(Clone, Copy)]
enum Work {
    Write,
    List,
    Search,
}

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.another_client().await;
    let sandbox = client.create_sandbox().await;
    let session = client.create_session(&sandbox).await.session_id;
    client.run_in(&session, TREE).await;
    for (name, work) in [
        ("a file of 1 GiB is written", Work::Write),
        ("a tree of 100 000 entries is listed", Work::List),
        ("it is searched", Work::Search),
    ] {
        let [mut quiet, mut loud] = std::array::from_fn(|_| Samples::default());
        for _ in 0..TURNS {
            sample(&mut client, &session, options, &mut quiet).await;
            let (other, in_sandbox) = (server.another_client().await, sandbox.clone());
            let working = tokio::spawn(again_and_again(work, other, in_sandbox));
            sample(&mut client, &session, options, &mut loud).await;
            working.abort();
            assert!(working.await.is_err_and(|ended| ended.is_cancelled()), "{name}");
        }
        table.beside_a_flood(&format!("`Run(\"true\")` while {name} in its sandbox"), &loud, &quiet);
    }
    client.delete_sandbox(sandbox).await;
}

async fn again_and_again(work: Work, mut client: Client, sandbox_id: String) {
    let path = "/tmp/tree".to_owned();
    loop {
        match work {
            Work::Write => files::write(&mut client, &sandbox_id, "/tmp/large", 1 << 30).await,
            Work::List => {
                let mut request = ListRequest {
                    sandbox_id: sandbox_id.clone(),
                    path: path.clone(),
                    recursive: true,
                    ..ListRequest::default()
                };
                loop {
                    request.page_token = client.files.list(request.clone()).await.unwrap().into_inner().next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
            }
            Work::Search => {
                let request = SearchRequest {
                    sandbox_id: sandbox_id.clone(),
                    path: path.clone(),
                    pattern: "needle".to_owned(),
                    ..SearchRequest::default()
                };
                let mut found = client.files.search(request).await.unwrap().into_inner();
                assert!(found.message().await.unwrap().is_none());
            }
        }
    }
}
