//! One command that prints a lot.

use crate::{
    Options,
    processes::{self, Pids},
    report::Table,
    server::Server,
};
use sandshell::api::v1::{ExecRequest, ExecStart, exec_request::Request, exec_response::Response, exec_start::Target};
use std::time::Instant;

/// How often memory is looked at while bytes arrive.
const LOOK_EVERY_BYTES: u64 = 256 << 20;

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let bytes = options.samples(40) as u64 * (100 << 20);
    let mut client = server.client.clone();
    let others = processes::in_sandboxes();
    let sandbox = client.create_sandbox().await;
    let session = client.create_session(&sandbox).await.session_id;
    let inside: Pids = processes::in_sandboxes().difference(&others).copied().collect();
    let idle = Memory::now(server, &inside);
    let mut peak = idle;

    let command = format!("head -c {bytes} /dev/zero");
    let start = ExecStart { target: Some(Target::SessionId(session)), command, ..Default::default() };
    let requests = tokio_stream::iter([ExecRequest { request: Some(Request::Start(start)) }]);
    let begin = Instant::now();
    let mut stream = client.sessions.exec(requests).await.unwrap().into_inner();
    let mut received = 0;
    let mut next_look = LOOK_EVERY_BYTES;
    while let Some(message) = stream.message().await.unwrap() {
        match message.response.unwrap() {
            Response::Output(output) => {
                assert_eq!(output.offset as u64, received);
                received += output.data.len() as u64;
            }
            Response::Exited(exited) => assert_eq!(exited.exit_code, 0),
            _ => {}
        }
        if received >= next_look {
            next_look += LOOK_EVERY_BYTES;
            peak = peak.max(Memory::now(server, &inside));
        }
    }
    let rate = received as f64 / 1e6 / begin.elapsed().as_secs_f64();
    assert_eq!(received, bytes);
    client.delete_sandbox(sandbox).await;
    table.number(
        "output of one command, `head -c … /dev/zero`",
        &format!("{rate:.0} MB/s"),
        &format!("{} MiB", bytes >> 20),
    );
    table.number(
        "memory of the server meanwhile",
        &mebibytes(peak.server_kib),
        &format!("{} before", mebibytes(idle.server_kib)),
    );
    let note = format!("{} before; the kept log is at most 64 MiB", mebibytes(idle.sandbox_kib));
    table.number("memory of agent and shell meanwhile", &mebibytes(peak.sandbox_kib), &note);
}

#[derive(Clone, Copy)]
struct Memory {
    server_kib: u64,
    sandbox_kib: u64,
}

impl Memory {
    fn now(server: &Server, inside: &Pids) -> Self {
        let server_kib = processes::memory_kib(&Pids::from([server.pid()]));
        Self { server_kib, sandbox_kib: processes::memory_kib(inside) }
    }

    fn max(self, other: Self) -> Self {
        Self { server_kib: self.server_kib.max(other.server_kib), sandbox_kib: self.sandbox_kib.max(other.sandbox_kib) }
    }
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}
