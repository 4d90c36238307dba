//! Where the data directory lies on btrfs with quotas, sandboxes and volumes are subvolumes right there, and no file system is made in a
//! file. Quotas are never switched on by the server.

use crate::kit::{
    Options, Runtime, Sandbox, Server,
    cli::doctor,
    create_sandbox,
    disk::Disk,
    errors::expect_error,
    v1,
    volumes::{create_volume, delete_volume, get_volume, named, refused, with_volumes},
    within,
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path, process::Command};
use tonic::Code;
use v1::{CreateSandboxRequest, CreateVolumeRequest, Resources};

const MIB: i64 = 1 << 20;
const ROOM: u64 = 2 << 30;

fn options(data_dir: &Path) -> Options {
    Options { data_dir: Some(data_dir.to_owned()), keep: true, ..Default::default() }
}

fn limited(bytes: i64, mut request: CreateSandboxRequest) -> CreateSandboxRequest {
    request.resources = Some(Resources { disk_bytes: Some(bytes), ..Default::default() });
    request
}

async fn used(sandbox: &Sandbox) -> i64 {
    let request = v1::GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
    let stats = sandbox.clients.sandboxes.clone().get_sandbox_stats(request).await;
    stats.expect("it is measured").into_inner().disk_bytes.expect("what its files take")
}

/// The quota groups of subvolumes.
fn groups(disk: &Disk) -> BTreeSet<String> {
    let table = disk.ask_btrfs(&["qgroup", "show"]);
    table
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|id| id.starts_with("0/"))
        .map(str::to_owned)
        .collect()
}

fn subvolumes(disk: &Disk) -> Vec<String> {
    disk.ask_btrfs(&["subvolume", "list"]).lines().map(str::to_owned).collect()
}

fn btrfs(words: &[&str], path: &str) {
    let output = Command::new("btrfs").args(words).arg(path).output().expect("btrfs");
    assert!(output.status.success(), "{words:?} {path}: {output:?}");
}

async fn stop(server: Server) {
    tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_and_everything_is_found_again_and_removed() {
    let disk = Disk::btrfs(ROOM);
    disk.ask_btrfs(&["quota", "enable"]);
    // What the operator has there is no business of the server's.
    disk.ask_btrfs(&["qgroup", "create", "1/0"]);
    let theirs = disk.path().join("theirs").display().to_string();
    btrfs(&["subvolume", "create"], &theirs);
    btrfs(&["qgroup", "limit", "100M"], &theirs);
    let before = groups(&disk);
    let data_dir = disk.path().join("data");
    assert_eq!(doctor(&data_dir).0["storage"]["kind"], "own_btrfs");
    let server = Server::start(options(&data_dir));
    assert!(server.log().contains("files of sandboxes: subvolumes in"), "{}", server.log());
    assert!(!data_dir.join("pool.img").exists());
    let (said, _) = doctor(&data_dir);
    assert_eq!((&said["in_use"], &said["storage"]["kind"]), (&true.into(), &"own_btrfs".into()), "{said}");

    let volume = create_volume(&server, CreateVolumeRequest { size_bytes: Some(16 * MIB), ..named("data") }).await;
    let request = limited(64 * MIB, with_volumes(Runtime::Linux, &[("data", "/data")]));
    let sandbox = create_sandbox(&server, request).await;
    let neighbour = create_sandbox(&server, limited(64 * MIB, CreateSandboxRequest::default())).await;
    let session = sandbox.session("").await;
    session.run("echo kept >/workspace/g; echo kept >/data/g").await.expect("", "", 0);
    for (path, most) in [("/workspace/f", 64 * MIB), ("/data/f", 16 * MIB)] {
        let got = session.run(format!("dd if=/dev/zero of={path} bs=1M count=200; stat -c %s {path}")).await;
        assert!(got.err().contains("Disk quota exceeded"), "{got:?}");
        let size: i64 = got.out().trim().parse().expect("a size");
        assert!((most / 2..=most).contains(&size), "{path}: {size}");
    }
    neighbour.run("head -c 1M /dev/zero >/workspace/f").await.expect("", "", 0);
    assert!((32 * MIB..=65 * MIB).contains(&used(&sandbox).await), "{}", used(&sandbox).await);
    session.run("rm /workspace/f; mkdir a; mv a b; ls").await.expect("b\ng\n", "", 0);
    server.crash();

    let server = Server::start(options(&data_dir));
    let session = session.through(&server).await;
    session.run("cat /workspace/g /data/g").await.expect("kept\nkept\n", "", 0);
    let (sandbox, neighbour) = (sandbox.through(&server).await, neighbour.through(&server).await);
    assert!(used(&sandbox).await < 8 * MIB, "{}", used(&sandbox).await);
    let bytes = get_volume(&server, &volume.volume_id).await.expect("it is there").used_bytes.expect("it is counted");
    assert!((8 * MIB..=17 * MIB).contains(&bytes), "{bytes}");
    let with_files: Vec<_> = groups(&disk).difference(&before).cloned().collect();
    assert!(with_files.len() >= 3, "{with_files:?}");
    sandbox.delete().await;
    neighbour.delete().await;
    delete_volume(&server, &volume.volume_id).await.expect("it goes");
    stop(server).await;
    within::until("the end of all subvolumes but the operator's", async || subvolumes(&disk).len() == 1).await;

    // The next server removes what groups are left of subvolumes that are gone.
    disk.ask_btrfs(&["subvolume", "sync"]);
    let server = Server::start(options(&data_dir));
    within::until("the end of their groups", async || with_files.iter().all(|id| !groups(&disk).contains(id))).await;
    assert!(before.is_subset(&groups(&disk)), "{before:?} {:?}", groups(&disk));
    let shown = disk.ask_btrfs(&["qgroup", "show", "-r"]);
    assert!(shown.contains("1/0") && shown.contains("100.00MiB"), "{shown}");
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_quotas_there_is_a_pool_and_the_remedy_is_told() {
    let disk = Disk::btrfs(ROOM);
    let data_dir = disk.path().join("data");
    let (said, text) = doctor(&data_dir);
    assert_eq!((&said["in_use"], &said["storage"]["kind"]), (&false.into(), &"pool".into()), "{said}");
    assert!(said["storage"]["remedy"].as_str().is_some_and(|remedy| remedy.contains("btrfs quota enable")), "{said}");
    assert!(text.contains("quotas are off") && text.contains("btrfs quota enable"), "{text}");
    let server = Server::start(options(&data_dir));
    assert!(server.log().contains("btrfs quota enable"), "{}", server.log());
    let sandbox = create_sandbox(&server, limited(64 * MIB, CreateSandboxRequest::default())).await;
    let got = sandbox.run("head -c 200M /dev/zero >/workspace/f").await;
    assert!(got.err().contains("Disk quota exceeded"), "{got:?}");
    assert!(sandbox.described.warnings.is_empty(), "nothing is weaker: {:?}", sandbox.described.warnings);
    let quotas = Command::new("btrfs").args(["qgroup", "show"]).arg(disk.path()).output().expect("btrfs");
    assert!(!quotas.status.success(), "nobody has switched them on: {quotas:?}");
    stop(server).await;

    // What has a pool keeps it.
    disk.ask_btrfs(&["quota", "enable"]);
    let server = Server::start(options(&data_dir));
    sandbox.through(&server).await.run("echo $(($(stat -c %s /workspace/f) >> 20))").await.expect("63\n", "", 0);
    let (said, _) = doctor(&data_dir);
    assert_eq!((&said["storage"]["kind"], &said["storage"]["remedy"]), (&"pool".into(), &Value::Null), "{said}");
    sandbox.through(&server).await.delete().await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_that_were_switched_off_are_told_and_nothing_is_hidden() {
    let disk = Disk::btrfs(ROOM);
    disk.ask_btrfs(&["quota", "enable"]);
    let data_dir = disk.path().join("data");
    let server = Server::start(options(&data_dir));
    create_volume(&server, named("data")).await;
    let with_data = || with_volumes(Runtime::Linux, &[("data", "/data")]);
    let sandbox = create_sandbox(&server, with_data()).await;
    sandbox.run("echo kept >/data/f").await.expect("", "", 0);
    sandbox.delete().await;
    stop(server).await;

    disk.ask_btrfs(&["quota", "disable"]);
    let server = Server::start(options(&data_dir));
    assert!(!data_dir.join("pool.img").exists());
    let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
    assert!(sandbox.described.warnings.iter().any(|text| text.contains("quotas are off")), "{:?}", sandbox.described);
    sandbox.delete().await;
    let with_volume = create_sandbox(&server, with_data()).await;
    with_volume.run("cat /data/f").await.expect("kept\n", "", 0);
    with_volume.delete().await;
    let request = limited(64 * MIB, CreateSandboxRequest::default());
    expect_error(&refused(&server, request).await, Code::FailedPrecondition, "NOT_SUPPORTED_BY_HOST");
    let (said, text) = doctor(&data_dir);
    assert!(said["storage"]["kind"] == "none" && text.contains("btrfs quota enable"), "{text}");
    stop(server).await;

    disk.ask_btrfs(&["quota", "enable"]);
    let server = Server::start(options(&data_dir));
    let sandbox = create_sandbox(&server, with_data()).await;
    sandbox.run("cat /data/f").await.expect("kept\n", "", 0);
    sandbox.delete().await;
    delete_volume(&server, "data").await.expect("it goes");
    stop(server).await;
}

/// A subvolume that cannot be removed, because somebody has made another one in it.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_of_subvolumes_that_wait_to_be_deleted() {
    let disk = Disk::btrfs(ROOM);
    disk.ask_btrfs(&["quota", "enable"]);
    let data_dir = disk.path().join("data");
    let server = Server::start(options(&data_dir));
    let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
    sandbox.run("head -c 20M /dev/urandom >/workspace/f; sync").await.expect("", "", 0);
    let pool = data_dir.join("pool");
    let files = fs::read_dir(&pool).expect("the pool").flatten();
    let files = files.map(|entry| entry.path()).find(|path| path.join("root/workspace/f").exists()).expect("its files");
    let nested = files.join("nested").display().to_string();
    btrfs(&["subvolume", "create"], &nested);
    sandbox.delete().await;
    let waiting = within_doctor(&data_dir, |pending| pending["subvolumes"] == 1).await;
    assert!(waiting["subvolume_bytes"].as_i64().is_some_and(|bytes| bytes > 20 * MIB), "{waiting}");
    assert!(waiting["since"].is_string() && waiting["unknown"].is_null(), "{waiting}");
    let (_, text) = doctor(&data_dir);
    assert!(text.contains("1 subvolume, since 20"), "{text}");
    // Looking has not disturbed the server, and others are removed.
    create_sandbox(&server, CreateSandboxRequest::default()).await.delete().await;
    let gone = fs::read_dir(pool.join("gone")).expect("what waits").flatten().next().expect("it waits").path();
    btrfs(&["subvolume", "delete"], &gone.join("nested").display().to_string());
    server.crash();
    let server = Server::start(options(&data_dir));
    within_doctor(&data_dir, |pending| pending["subvolumes"] == 0 && pending["since"].is_null()).await;
    stop(server).await;
}

async fn within_doctor(data_dir: &Path, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Value::Null;
    within::until("doctor to say so", async || {
        let data_dir = data_dir.to_owned();
        let said = tokio::task::spawn_blocking(move || doctor(&data_dir).0).await.expect("its word");
        seen = said["pending"].clone();
        is_so(&seen)
    })
    .await;
    seen
}
