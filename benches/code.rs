//! Code in a language, next to the interpreter on the host.

use crate::{
    Options,
    create::time_of,
    report::{Samples, Table},
    server::{Client, Server},
};
use sandshell::api::v1::{RunCodeRequest, run_code_response::Response};
use std::time::Instant;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.client.clone();
    let sandbox = client.create_sandbox().await;
    // The first one starts the interpreter.
    run(&mut client, &sandbox, "kept").await;
    let [mut fresh, mut kept, mut alone] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(200) {
        let start = Instant::now();
        run(&mut client, &sandbox, "").await;
        fresh.push(start.elapsed());
        let start = Instant::now();
        run(&mut client, &sandbox, "kept").await;
        kept.push(start.elapsed());
        alone.push(time_of(&["/usr/bin/python3", "-c", "pass"]));
    }
    client.delete_sandbox(sandbox).await;
    table.times("`RunCode` in a fresh Python", &fresh, Some(("python3 -c pass", &alone)));
    table.times("`RunCode` in a Python that is kept", &kept, Some(("python3 -c pass", &alone)));
}

async fn run(client: &mut Client, sandbox_id: &str, context_id: &str) {
    let request = RunCodeRequest {
        sandbox_id: sandbox_id.to_owned(),
        language: "python".to_owned(),
        context_id: context_id.to_owned(),
        code: "pass".to_owned(),
        ..RunCodeRequest::default()
    };
    let mut answers = client.code.run_code(request).await.unwrap().into_inner();
    let mut exit_code = None;
    while let Some(answer) = answers.message().await.unwrap() {
        if let Some(Response::Done(done)) = answer.response {
            exit_code = Some(done.exit_code);
        }
    }
    assert_eq!(exit_code, Some(0));
}
