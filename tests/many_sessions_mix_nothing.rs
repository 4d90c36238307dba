//! Many sessions work at once, and each answer is its own.

use crate::kit::{Options, Server, Shell, create_sandbox, token, v1, within_time};
use std::time::Duration;

/// 64 sessions in 8 sandboxes, 100 commands each, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wrong_byte_among_6400_commands() {
    let server = Server::start(Options::default());
    let shells = [Shell::Dash, Shell::Bash, Shell::Zsh, Shell::Ash];
    let mut work = Vec::new();
    for _ in 0..8 {
        let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
        for n in 0..8 {
            let sandbox = sandbox.clone();
            work.push(tokio::spawn(async move {
                let s = sandbox.session(shells[n % 4].path()).await;
                let mine = token();
                s.run(format!("mine={mine}")).await.expect("", "", 0);
                for i in 0..100 {
                    let code = i % 7;
                    let command = format!("echo $mine-{i}; echo {mine}-e{i} >&2; printf %s {i}; (exit {code})");
                    let got = s.run(command).await;
                    got.expect(format!("{mine}-{i}\n{i}"), format!("{mine}-e{i}\n"), code);
                }
            }));
        }
    }
    for task in work {
        within_time(Duration::from_secs(300), "64 sessions", task).await.expect("every answer is right");
    }
}

/// Streams, big and small, at once on one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_and_small_streams_share_a_connection() {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let mut work = Vec::new();
    for n in 0..16u64 {
        let sandbox = sandbox.clone();
        work.push(tokio::spawn(async move {
            let s = sandbox.session("").await;
            let last = 1000 + n * 50_000;
            let wanted = crate::kit::expected::seq(last);
            for _ in 0..3 {
                let got = s.exec_text(format!("seq 1 {last}")).await.finish_within(Duration::from_secs(120)).await;
                assert!(got.stdout == wanted, "{} of {} bytes", got.stdout.len(), wanted.len());
                s.alive().await;
            }
        }));
    }
    for task in work {
        within_time(Duration::from_secs(300), "16 streams", task).await.expect("every byte is right");
    }
}
