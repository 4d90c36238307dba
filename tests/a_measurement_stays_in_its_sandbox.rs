//! What a sandbox uses is measured from outside, while the sandbox changes its files as it likes: nothing else is counted, and
//! nobody else has to wait for it.

use crate::kit::{Options, Sandbox, Server, create_sandbox, host, v1, within};
use futures_util::future::join_all;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use v1::{CreateSandboxRequest, GetSandboxStatsRequest};

/// A server that has to count files: where sandboxes have no limits of disks, nobody else does.
fn counting() -> Options {
    Options { args: vec!["--max-pool-bytes".to_owned(), "0".to_owned()], ..Options::default() }
}

async fn disk_bytes(sandbox: &Sandbox) -> Option<i64> {
    let request = GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
    let stats = within("what it uses", sandbox.clients.sandboxes.clone().get_sandbox_stats(request)).await;
    stats.expect("it is measured").into_inner().disk_bytes
}

/// Directories that are links to a large directory of the host a moment later, and directories again.
const SWAP: &str = "
import os
os.makedirs('/tmp/swap')
os.chdir('/tmp/swap')
for number in range(100):
    os.mkdir(str(number))
print('ready', flush=True)
while True:
    for number in range(100):
        os.rmdir(str(number))
        os.symlink('/usr/share', str(number))
    for number in range(100):
        os.unlink(str(number))
        os.makedirs(f'{number}/a/b')
    for number in range(100):
        os.rename(f'{number}/a/b', 'b')
        os.rmdir('b')
        os.rmdir(f'{number}/a')
";

#[tokio::test]
async fn links_lead_nowhere() {
    let server = Server::start(counting());
    let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
    let mut swapping = sandbox.session("").await.exec_text(format!("/usr/bin/python3 -c \"{SWAP}\"")).await;
    swapping.until_out("ready\n").await;
    let mut counted = 0;
    for _ in 0..300 {
        if let Some(bytes) = disk_bytes(&sandbox).await {
            counted += 1;
            assert!(bytes < 4 << 20, "{bytes} bytes in a sandbox that has next to nothing");
        }
    }
    assert!(counted > 0, "nothing was counted: nothing was shown");
    sandbox.delete().await;
}

const DEEP: &str = "
import os
os.chdir('/tmp')
for _ in range(100):
    os.mkdir('d' * 200)
    os.chdir('d' * 200)
open('file', 'wb').write(b'x' * (20 << 20))
";

#[tokio::test]
async fn files_deeper_than_any_path_count_and_go() {
    let server = Server::start(counting());
    let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
    sandbox.run(&format!("/usr/bin/python3 -c \"{DEEP}\"")).await.expect("", "", 0);
    let bytes = disk_bytes(&sandbox).await.expect("they can be counted");
    assert!(bytes > 20 << 20, "{bytes}");
    let slots = server.data_dir().join("slots");
    let own = || {
        let files = std::fs::read_dir(&slots).expect("slots").flatten().map(|slot| slot.path().join("root/tmp"));
        files.filter(|tmp| tmp.join("d".repeat(200)).exists()).count()
    };
    assert_eq!(own(), 1);
    sandbox.delete().await;
    assert_eq!(own(), 0);
    let trash = server.data_dir().join("trash");
    let left = || std::fs::read_dir(&trash).expect("the trash").count();
    within::until("the end of its files", async || left() == 0).await;
}

const MANY: &str = "
import os
for directory in range(100):
    os.makedirs(f'/tmp/many/{directory}')
    for number in range(300):
        open(f'/tmp/many/{directory}/{number}', 'w').close()
";

/// The most threads that a server has while three hundred look at the same sandbox and leave. Each of them would have had one.
const THREADS: usize = 60;

#[tokio::test]
async fn many_who_ask_at_once_hold_nobody_up() {
    let server = Server::start(counting());
    let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
    sandbox.run(&format!("/usr/bin/python3 -c \"{MANY}\"")).await.expect("", "", 0);
    let (over, pid) = (Arc::new(AtomicBool::new(false)), server.pid());
    let is_over = over.clone();
    let most = std::thread::spawn(move || {
        let mut most = 0;
        while !is_over.load(Ordering::Relaxed) {
            most = most.max(host::threads(pid));
            std::thread::yield_now();
        }
        most
    });
    // On one connection after another, so that no bound of a connection hides anything.
    let clients = join_all((0..10).map(|_| server.connect())).await;
    let asked = (0..300).map(|number| {
        let mut sandboxes = clients[number % clients.len()].sandboxes.clone();
        let request = GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
        tokio::spawn(
            async move { sandboxes.get_sandbox_stats(request).await.map(|stats| stats.into_inner().disk_bytes) },
        )
    });
    let asked: Vec<_> = asked.collect();
    let another = create_sandbox(&server, CreateSandboxRequest::default()).await;
    another.run("echo alive").await.expect("alive\n", "", 0);
    let answers = within("their answers", join_all(asked)).await;
    let known = answers.into_iter().filter_map(|answer| answer.expect("its task").ok().flatten()).count();
    over.store(true, Ordering::Relaxed);
    let most = most.join().expect("the watching thread");
    assert!(known > 0, "nobody was told: nothing was shown");
    assert!(most < THREADS, "{most} threads");
}
