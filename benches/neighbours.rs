//! What a quiet session notices of a neighbour that takes all it can get.

use crate::{
    Options,
    report::{Samples, Table},
    server::{Client, Server},
};
use sandshell::api::v1::{ExecRequest, ExecStart, exec_request::Request, exec_response::Response, exec_start::Target};
use std::time::Instant;
use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
};

/// Quiet and loud take turns, so that both see the same machine.
pub(crate) const TURNS: usize = 5;

/// Each of these is a flood: what it is called, and what is run, in a session each.
const FLOODS: [(&str, &[&str]); 2] = [
    // Three of them are printed for nobody, which is the agent's to bear, and one for a client that reads.
    ("prints", &["yes & yes & yes & sleep 1000", "yes"]),
    ("computes and forks", &["for i in $(seq 16); do (while :; do /bin/true; done) & done; while :; do :; done"]),
];

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.another_client().await;
    let sandbox = client.create_sandbox().await;
    let session = client.create_session(&sandbox).await.session_id;
    // The neighbour's client is a program of its own: on the threads of this one it would hold up nobody but ourselves.
    let neighbour = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for (name, commands) in FLOODS {
        let [mut quiet, mut loud] = std::array::from_fn(|_| Samples::default());
        for _ in 0..TURNS {
            sample(&mut client, &session, options, &mut quiet).await;
            let flood = Flood::begin(server, neighbour.handle(), commands).await;
            sample(&mut client, &session, options, &mut loud).await;
            flood.end().await;
        }
        table.beside_a_flood(&format!("`Run(\"true\")` while a neighbour {name}"), &loud, &quiet);
    }
    client.delete_sandbox(sandbox).await;
    neighbour.shutdown_background();
}

pub(crate) async fn sample(client: &mut Client, session: &str, options: &Options, samples: &mut Samples) {
    for _ in 0..options.samples(1000) / TURNS {
        let start = Instant::now();
        client.run_in(session, "true").await;
        samples.push(start.elapsed());
    }
}

/// A sandbox under water.
struct Flood {
    client: Client,
    sandbox: String,
    readers: Vec<JoinHandle<()>>,
}

impl Flood {
    async fn begin(server: &Server, neighbour: &Handle, commands: &[&str]) -> Self {
        let mut client = server.another_client_on(neighbour).await;
        let sandbox = client.create_sandbox().await;
        let mut readers = Vec::new();
        for command in commands {
            let session = client.create_session(&sandbox).await.session_id;
            let start = ExecStart {
                target: Some(Target::SessionId(session)),
                command: (*command).into(),
                ..Default::default()
            };
            let requests = tokio_stream::iter([ExecRequest { request: Some(Request::Start(start)) }]);
            let mut stream = client.sessions.exec(requests).await.unwrap().into_inner();
            let first = stream.message().await.unwrap().unwrap().response;
            assert!(matches!(first, Some(Response::Started(_))), "{first:?}");
            readers.push(neighbour.spawn(async move { while let Ok(Some(_)) = stream.message().await {} }));
        }
        Self { client, sandbox, readers }
    }

    async fn end(mut self) {
        self.client.delete_sandbox(self.sandbox).await;
        for reader in self.readers {
            reader.await.unwrap();
        }
    }
}
