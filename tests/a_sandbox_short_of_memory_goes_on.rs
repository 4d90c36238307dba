//! Where little of a sandbox's memory is left, files still go in and out or it is said why not, code that needs more is ended with words that say
//! why, and everything else goes on.

use crate::kit::{Runtime, Sandbox, code, create_sandbox, v1, within};
use tonic::{Code, Status};
use v1::{ExecStart, ReadRequest, Resources};

crate::in_every_runtime!(
    files_go_in_and_out_beside_a_program_that_takes_it_all,
    code_that_needs_more_is_ended_with_words,
);

const MIB: usize = 1 << 20;

async fn small(on: Runtime) -> Sandbox {
    let resources = Some(Resources { memory_bytes: Some(64 << 20), ..Resources::default() });
    create_sandbox(on.shared(), v1::CreateSandboxRequest { resources, ..on.request() }).await
}

/// Takes all there is: the kernel ends the child that does so, and another one follows, until there is input.
const GREEDY: &str = "
import os, select, sys
while not select.select([sys.stdin], [], [], 0)[0]:
    child = os.fork()
    if child == 0:
        kept = []
        while True:
            kept.append(b'x' * (1 << 20))
            if len(kept) == 32: os.write(1, b'half\\n')
    os.waitpid(child, 0)
";

/// Whom the kernel ends, the greedy program or the one that works on files, is its choice. In the second case it is said.
#[track_caller]
fn expect_words(status: &Status) {
    let said = status.message();
    assert!([Code::Unavailable, Code::ResourceExhausted].contains(&status.code()), "{status:?}");
    assert!(said.contains("memory"), "{status:?}");
}

async fn files_go_in_and_out_beside_a_program_that_takes_it_all(on: Runtime) {
    let sandbox = small(on).await;
    let session = sandbox.session("").await;
    let argv = ["/usr/bin/python3", "-c", GREEDY].map(str::to_owned).to_vec();
    let mut greedy = sandbox.exec(ExecStart { argv, stdin: true, ..sandbox.start("") }).await;
    greedy.until_out("half\n").await;
    let content: Vec<u8> = (0..24 * MIB).map(|at| (at / 7) as u8).collect();
    for round in 0..2 {
        let path = format!("/tmp/{round}");
        let written = sandbox.try_write(sandbox.open_file(&path), &content).await;
        let request = ReadRequest { sandbox_id: sandbox.id.clone(), path: path.clone(), ..ReadRequest::default() };
        match (&written, sandbox.try_read(request).await) {
            (_, Ok((_, data))) => assert!(data == content, "{path} came back as {} other bytes", data.len()),
            // Nothing half-written is there.
            (Err(status), Err(missing)) if missing.code() == Code::NotFound => expect_words(status),
            (_, Err(status)) => expect_words(&status),
        }
    }
    greedy.stdin("enough\n").await;
    greedy.finish().await;
    within::until("files as before", async || sandbox.stat("/tmp").await.is_ok()).await;
    sandbox.write("/tmp/after", &content[..MIB]).await;
    assert!(sandbox.read("/tmp/after").await == content[..MIB]);
    session.alive().await;
}

async fn code_that_needs_more_is_ended_with_words(on: Runtime) {
    let sandbox = small(on).await;
    let session = sandbox.session("").await;
    for round in 0..2 {
        let outcome = code::run(&sandbox, code::code(&sandbox, "python", "x = b'x' * (1 << 30)")).await;
        let (name, message) = outcome.named_error();
        assert_eq!(name, "InterpreterEnded", "{round}: {outcome:?}");
        assert!(message.contains("the sandbox's memory is used up"), "{round}: {message}");
        let outcome = code::run(&sandbox, code::code(&sandbox, "python", "6 * 7")).await;
        assert_eq!(outcome.value(), "42", "{round}: {outcome:?}");
        session.alive().await;
    }
}
