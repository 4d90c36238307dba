//! A sandbox is gone when nothing of it runs. Its files are removed behind, by the next server if need be.

use crate::kit::{Options, Server, cli::doctor, create_sandbox, v1, within};
use std::{collections::HashSet, fs, path::Path, process::Command};

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
    let (said, text) = doctor(&data_dir);
    assert_eq!((&said["in_use"], &said["storage"]["kind"]), (&true.into(), &"none".into()), "{said}");
    assert!(said["pending"]["directories"] == 1 && said["pending"]["since"].is_string(), "{said}");
    assert!(text.contains("to be deleted: 1 directory") && text.contains("--max-pool-bytes 0"), "{text}");
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

/// What was removed and is not cleared up yet goes with the end of the server, or with the next one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_has_left_in_the_pool_goes_too() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let data_dir = dir.path().join("data");
    let server = Server::start(options(&data_dir, "1G"));
    let kept = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    kept.run("echo kept >/workspace/f").await.expect("", "", 0);
    let mut groups = HashSet::new();
    for _ in 0..3 {
        let before = groups_of(&data_dir);
        let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
        let fill = "cd /workspace; i=0; while [ $i -lt 3000 ]; do : >$i; i=$((i+1)); done";
        sandbox.run(fill).await.expect("", "", 0);
        groups.extend(groups_of(&data_dir).difference(&before).cloned());
        sandbox.delete().await;
    }
    assert!(!groups.is_empty());
    server.crash();
    let server = Server::start(options(&data_dir, "1G"));
    within::until("the end of what was deleted", async || groups_of(&data_dir).is_disjoint(&groups)).await;
    let kept = kept.through(&server).await;
    kept.run("cat /workspace/f").await.expect("kept\n", "", 0);
    // Sandboxes and the pool outlive a server, and so this test if they could.
    kept.delete().await;
    drop(server);
}

/// The groups of subvolumes in a pool that is in use, by what the kernel shows of it.
fn groups_of(data_dir: &Path) -> HashSet<String> {
    let pool = data_dir.join("pool.img").display().to_string();
    let devices = fs::read_dir("/sys/block").expect("the block devices").flatten();
    let device = devices
        .filter(|entry| {
            fs::read_to_string(entry.path().join("loop/backing_file")).is_ok_and(|file| file.trim_end() == pool)
        })
        .map(|entry| entry.file_name())
        .next()
        .expect("the pool's device");
    let systems = fs::read_dir("/sys/fs/btrfs").expect("btrfs file systems").flatten();
    let system = systems.map(|entry| entry.path()).find(|path| path.join("devices").join(&device).exists());
    let groups = fs::read_dir(system.expect("the pool").join("qgroups")).expect("groups").flatten();
    groups.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with("0_")).collect()
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
