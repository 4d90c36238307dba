//! A server that cannot look at a sandbox does not take it for dead: nothing that lives is ended, failed or forgotten, and
//! nothing that could not be ended is forgotten either.

use crate::kit::{Dice, Options, Runtime, Sandbox, Server, create_sandbox, host, token, v1, within};
use futures_util::future::join_all;
use std::{
    fs,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};
use v1::{DeleteSandboxRequest, GetSandboxRequest, sandbox::State};

/// How often all sandboxes are looked at.
const LOOKS: usize = 300;

crate::in_every_runtime!(a_full_descriptor_table_ends_no_sandbox);

/// Sandboxes with the host's number of their agents.
async fn with_agents(server: &Server, on: Runtime, count: usize) -> Vec<(Sandbox, u32)> {
    let mut made = Vec::new();
    for _ in 0..count {
        let (sandbox, word) = (create_sandbox(server, on.request()).await, token());
        sandbox.run(&format!("touch /tmp/{word}")).await.expect("", "", 0);
        made.push((sandbox, host::agent_with_file(&format!("/tmp/{word}"))));
    }
    made
}

async fn state(sandbox: &Sandbox, clients: &crate::kit::Clients) -> State {
    let request = GetSandboxRequest { sandbox_id: sandbox.id.clone() };
    let got = within("a sandbox", clients.sandboxes.clone().get_sandbox(request)).await;
    got.expect("it is known").into_inner().state()
}

/// Connections that come and go at random, until it is dropped.
struct Crowd(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Crowd {
    fn start(address: &str) -> Self {
        let (over, address, mut dice) = (Arc::new(AtomicBool::new(false)), address.to_owned(), Dice::new());
        let is_over = over.clone();
        let work = std::thread::spawn(move || {
            let mut there: Vec<TcpStream> = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                if there.len() < 45 {
                    there.extend(TcpStream::connect(&address));
                }
                if there.len() > 40 || dice.below(3) == 0 {
                    let one = dice.below(there.len().max(1) as u64) as usize;
                    drop(there.swap_remove(one.min(there.len() - 1)));
                }
            }
        });
        Self(over, Some(work))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(JoinHandle::join);
    }
}

async fn a_full_descriptor_table_ends_no_sandbox(on: Runtime) {
    let server = Server::start(on.options());
    let made = with_agents(&server, on, 10).await;
    let clients = server.connect().await;
    state(&made[0].0, &clients).await;

    // Clients that connect, say nothing and go: now there is a descriptor left for something else, and now there is none.
    let limit = host::descriptors(server.pid()) as u64 + 5;
    host::limit_descriptors(server.pid(), Some(limit));
    let crowd = Crowd::start(server.address());
    within::until("a full descriptor table", async || host::descriptors(server.pid()) as u64 >= limit).await;
    for _ in 0..LOOKS {
        let states = join_all(made.iter().map(|(sandbox, _)| state(sandbox, &clients))).await;
        assert_eq!(states, [State::Running; 10]);
    }
    assert!(made.iter().all(|(_, agent)| host::lives(*agent)));
    // Whatever a deletion says now, what it says is true.
    let (kept, deleted) = made.split_at(5);
    for (sandbox, agent) in deleted {
        let request = DeleteSandboxRequest { sandbox_id: sandbox.id.clone() };
        let said = within("an end", clients.sandboxes.clone().delete_sandbox(request)).await;
        assert!(said.is_err() || !host::lives(*agent), "{} is said to be deleted, and its agent lives", sandbox.id);
    }

    drop(crowd);
    host::limit_descriptors(server.pid(), None);
    for (sandbox, _) in kept {
        assert_eq!(state(sandbox, &clients).await, State::Running);
        sandbox.run("echo alive").await.expect("alive\n", "", 0);
    }
    for (sandbox, agent) in deleted {
        sandbox.delete().await;
        assert!(!host::lives(*agent), "the agent of {} outlives it", sandbox.id);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_nobodys_end() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let options = || Options { data_dir: Some(dir.path().join("data")), keep: true, ..Default::default() };
    let server = Server::start(options());
    let made = with_agents(&server, Runtime::Linux, 2).await;
    tokio::task::spawn_blocking(move || server.crash()).await.expect("a killed server");
    let ((sandbox, agent), (other, _)) = (&made[0], &made[1]);
    let record = dir.path().join("data/sandboxes").join(&sandbox.id).join("record.json");
    let text = fs::read(&record).expect("its record");
    fs::write(&record, &text[..text.len() / 2]).expect("a damaged record");

    let server = Server::start(options());
    let clients = server.connect().await;
    let (there, other) = (sandbox.through(&server).await, other.through(&server).await);
    assert_eq!(state(&there, &clients).await, State::Running);
    there.run("echo alive").await.expect("alive\n", "", 0);
    other.run("echo alive").await.expect("alive\n", "", 0);
    // What cannot be found cannot be ended, and so it is not said to be.
    let request = DeleteSandboxRequest { sandbox_id: sandbox.id.clone() };
    clients.sandboxes.clone().delete_sandbox(request).await.expect_err("it is not known what to end");
    assert!(host::lives(*agent));
    fs::write(&record, &text).expect("a whole record");
    there.delete().await;
    assert!(!host::lives(*agent));
    other.delete().await;
    drop(server);
}
