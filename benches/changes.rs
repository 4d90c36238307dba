//! What changes in a sandbox: told as it happens, and compared with the image.

use crate::{
    Options,
    report::{Samples, Table},
    server::{Client, Server},
};
use sandshell::api::v1::{ChangesRequest, WatchRequest, exec_start::Target, watch_response::Event};
use std::{collections::HashSet, time::Instant};

const FILES: usize = 10_000;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.client.clone();
    let [mut watched, mut compared] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(10) {
        let sandbox = client.create_sandbox().await;
        watched.push(watch(&mut client, &sandbox).await);
        let start = Instant::now();
        assert!(compare(&mut client, &sandbox).await >= FILES);
        compared.push(start.elapsed());
        client.delete_sandbox(sandbox).await;
    }
    table.times("`Watch`: 10 000 files appear, until all are told", &watched, None);
    let rate = FILES as f64 / watched.percentile(50).as_secs_f64();
    table.number("changes that a watch tells in a second", &format!("{rate:.0}"), "the shell that makes them included");
    table.times("`Changes` with 10 000 of them", &compared, None);
}

/// How long it takes until all are told that a shell makes.
async fn watch(client: &mut Client, sandbox: &str) -> std::time::Duration {
    let target = || Target::SandboxId(sandbox.to_owned());
    client.run(target(), "mkdir /root/watched").await;
    let path = "/root/watched".to_owned();
    let request = WatchRequest { sandbox_id: sandbox.to_owned(), path, recursive: true, ..WatchRequest::default() };
    let mut changes = client.files.watch(request).await.unwrap().into_inner();
    assert!(matches!(changes.message().await.unwrap().unwrap().event, Some(Event::Armed(_))));
    let start = Instant::now();
    let make = format!("cd /root/watched; i=0; while [ $i -lt {FILES} ]; do : >$i; i=$((i+1)); done");
    let mut maker = client.clone();
    let made = tokio::spawn({
        let target = target();
        async move { maker.run(target, &make).await }
    });
    let mut told = HashSet::new();
    while told.len() < FILES {
        match changes.message().await.unwrap().unwrap().event {
            Some(Event::Change(change)) => drop(told.insert(change.path)),
            other => panic!("only changes were to come, and not {other:?}"),
        }
    }
    let took = start.elapsed();
    made.await.unwrap();
    took
}

async fn compare(client: &mut Client, sandbox: &str) -> usize {
    let mut request = ChangesRequest { sandbox_id: sandbox.to_owned(), ..ChangesRequest::default() };
    let mut all = 0;
    loop {
        let page = client.files.changes(request.clone()).await.unwrap().into_inner();
        all += page.changes.len();
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}
