//! A sandbox is gone when nothing of it runs. Its files are removed behind, by the next server if need be.

use crate::kit::{Options, Server, create_sandbox, v1, within};
use std::{fs, path::Path, process::Command};

fn options(data_dir: &Path, pool: &str) -> Options {
    let args = vec!["--max-pool-bytes".to_owned(), pool.to_owned()];
    Options { data_dir: Some(data_dir.to_owned()), keep: true, args, ..Default::default() }
}

fn chattr(change: &str, path: &Path) {
    let output = Command::new("chattr").arg(change).arg(path).output().expect("chattr, of e2fsprogs");
    assert!(output.status.success(), "{output:?}");
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).expect("a directory").count()
}

/// Where layers lie on the host's disk.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_now_holds_nobody_up_and_is_removed_later() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let (data_dir, trash) = (dir.path().join("data"), dir.path().join("data/trash"));
    let server = Server::start(options(&data_dir, "0"));
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let fill = "import os
for at in range(20):
    os.mkdir(f'/workspace/{at}')
    for file in range(200): open(f'/workspace/{at}/{file}', 'w').close()";
    sandbox.run(&format!("/usr/bin/python3 -c \"{fill}\"")).await.expect("", "", 0);
    let slots = fs::read_dir(data_dir.join("slots")).expect("slots").flatten();
    let files = slots.map(|slot| slot.path().join("root/workspace/7/7")).find(|file| file.exists());
    let file = files.expect("the sandbox's file on the host");
    chattr("+i", &file);
    sandbox.delete().await;
    assert!(!file.exists() && count(&trash) == 1);
    // Others go on, and are not held up by what does not go.
    let other = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    other.run("echo x >/workspace/f").await.expect("", "", 0);
    other.delete().await;
    within::until("the end of the other's files", async || count(&trash) == 1).await;
    server.crash();

    let stuck = fs::read_dir(&trash).expect("the trash").flatten().next().expect("what is left").path();
    let file = stuck.join("root/workspace/7/7");
    within::until("the rest to be gone", async || file.exists()).await;
    chattr("-i", &file);
    let server = Server::start(options(&data_dir, "0"));
    within::until("an empty trash", async || count(&trash) == 0).await;
    drop(server);
}

/// In the pool they go as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_pool_their_room_is_given_back() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let data_dir = dir.path().join("data");
    let server = Server::start(options(&data_dir, "300M"));
    // Each takes more than half of what there is.
    for _ in 0..3 {
        let sandbox = create_sandbox_when_there_is_room(&server).await;
        let session = sandbox.session("").await;
        within::until("room for its files", async || {
            session.run("head -c 170M /dev/zero >/workspace/f 2>/dev/null").await.exit_code() == 0
        })
        .await;
        sandbox.delete().await;
    }
    assert_eq!(count(&data_dir.join("trash")), 0);
}

async fn create_sandbox_when_there_is_room(server: &Server) -> crate::kit::Sandbox {
    within::until("room for a sandbox", async || {
        let made = server.connect().await.sandboxes.create_sandbox(v1::CreateSandboxRequest::default()).await;
        let Ok(made) = made else { return false };
        let request = v1::DeleteSandboxRequest { sandbox_id: made.into_inner().sandbox_id };
        server.connect().await.sandboxes.delete_sandbox(request).await.is_ok()
    })
    .await;
    create_sandbox(server, v1::CreateSandboxRequest::default()).await
}
