//! When somebody else fills the disk that the data directory is on, new sandboxes are refused in words. Those that are there go on, and
//! so do the server's database and the file system of the sandboxes' files.

use crate::kit::{Options, Server, create_sandbox, disk::Disk, errors::expect_error, v1, within};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::{fs::File, path::Path};
use tonic::Code;
use v1::CreateSandboxRequest;

const MIB: u64 = 1 << 20;

/// Takes all that is free of a disk but for this.
fn fill(disk: &Path, left: u64) {
    let free = statvfs(disk).map(|disk| disk.f_bavail * disk.f_frsize).expect("the disk");
    let file = File::create(disk.join("filler")).expect("a file");
    fallocate(&file, FallocateFlags::empty(), 0, free - left).expect("its room");
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_are_refused_and_everything_else_goes_on() {
    let disk = Disk::made_by(&["mkfs.ext4", "-q"], 2048 * MIB);
    let data_dir = disk.path().join("data");
    let server = Server::start(Options { data_dir: Some(data_dir), ..Default::default() });
    let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
    let session = sandbox.session("").await;
    session
        .run("head -c 8M /dev/urandom >/workspace/f; cksum </workspace/f >/workspace/sum; sync")
        .await
        .expect("", "", 0);
    // Less is left than the server keeps for itself, a twentieth.
    fill(&disk.path(), 48 * MIB);
    let refused = server.connect().await.sandboxes.create_sandbox(CreateSandboxRequest::default()).await;
    let refused = refused.expect_err("a refusal");
    expect_error(&refused, Code::ResourceExhausted, "NO_SPACE");
    assert!(refused.message().contains("the disk of the server's sandboxes"), "{refused:?}");
    // It is the sandbox that gets an error, and not the file system below it.
    within::until("the end of its room", async || {
        let got = session.run("head -c 16M /dev/zero >/workspace/g; rm /workspace/g").await;
        got.err().contains("quota exceeded") || got.err().contains("No space left")
    })
    .await;
    session.run("cksum </workspace/f | cmp - /workspace/sum && echo same").await.expect("same\n", "", 0);
    let update = v1::UpdateSandboxRequest {
        sandbox: Some(v1::Sandbox {
            sandbox_id: sandbox.id.clone(),
            labels: [("disk".to_owned(), "full".to_owned())].into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["labels".to_owned()] }),
    };
    server.connect().await.sandboxes.update_sandbox(update).await.expect("the database can be written");

    std::fs::remove_file(disk.path().join("filler")).expect("it goes");
    within::until("room for another sandbox", async || {
        server.connect().await.sandboxes.create_sandbox(CreateSandboxRequest::default()).await.is_ok()
    })
    .await;
    within::until("its room", async || {
        let got = session
            .run("head -c 16M /dev/zero >/workspace/g && sync && rm /workspace/g && cmp /workspace/f /workspace/f")
            .await;
        got.exit_code() == 0
    })
    .await;
    session.run("cksum </workspace/f | cmp - /workspace/sum && echo same").await.expect("same\n", "", 0);
    tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
}
