//! Many sessions work at once, and each answer is its own.

use crate::kit::{Runtime, Server, Shell, create_sandbox, token, within_time};
use std::time::Duration;

crate::in_every_runtime!(no_wrong_byte_among_6400_commands, big_and_small_streams_share_a_connection,);

/// 64 sessions in 8 sandboxes, 100 commands each, all at once.
async fn no_wrong_byte_among_6400_commands(on: Runtime) {
    let server = Server::start(on.options());
    let shells = [Shell::Dash, Shell::Bash, Shell::Zsh, Shell::Ash];
    let mut work = Vec::new();
    for _ in 0..8 {
        let sandbox = create_sandbox(&server, on.request()).await;
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
async fn big_and_small_streams_share_a_connection(on: Runtime) {
    let server = Server::start(on.options());
    let sandbox = create_sandbox(&server, on.request()).await;
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
