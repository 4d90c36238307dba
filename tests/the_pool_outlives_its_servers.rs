//! The file system that sandboxes' files are in: found again by the next server, given up by nobody else, and no reason not to start.
//!
//! `SANDSHELL_TEST_POOL_KILLS=50` kills the server as often.

use crate::kit::{Dice, Options, Server, cli::doctor, create_sandbox, create_sandbox_patiently, v1, within};
use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};
use v1::CreateSandboxRequest;

/// What is done to a pool's file, and how.
type Breaking = (&'static str, fn(&File));

fn options(data_dir: &Path) -> Options {
    Options { data_dir: Some(data_dir.to_owned()), keep: true, ..Default::default() }
}

/// Loop devices that show this file, whether it has its name still or not.
fn loop_devices(file: &Path) -> Vec<PathBuf> {
    let name = file.display().to_string();
    let devices = fs::read_dir("/sys/block").expect("the block devices").flatten().map(|entry| entry.path());
    let shows = |path: &PathBuf| {
        fs::read_to_string(path.join("loop/backing_file")).is_ok_and(|behind| behind.trim_end().starts_with(&name))
    };
    devices.filter(shows).collect()
}

async fn until_released(pool: &Path) {
    within::until("the end of the pool's use", async || loop_devices(pool).is_empty()).await;
}

/// What is in a pool that nobody uses, as the usual programs see it.
fn look_into(pool: &Path) -> String {
    let script = "
        mount -o loop,nodatacow,commit=1 \"$0\" /mnt && btrfs quota rescan -w /mnt >/dev/null &&
        echo subvolumes $(btrfs subvolume list /mnt | wc -l) && echo -n $(ls /mnt/gone) && btrfs subvolume sync /mnt >/dev/null;
        btrfs subvolume list -d /mnt | sed 's/^/removed /'; btrfs check --version >/dev/null; umount /mnt";
    let output = Command::new("unshare").args(["-m", "sh", "-c", script]).arg(pool).output().expect("unshare");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn check(pool: &Path) {
    let output =
        Command::new("btrfs").args(["check", "--readonly", "--quiet"]).arg(pool).output().expect("btrfs-progs");
    assert!(output.status.success(), "{output:?}");
}

/// Nothing of a pool is left in the host's kernel when neither a server nor a sandbox uses it, and room is given back before that.
#[tokio::test(flavor = "multi_thread")]
async fn it_goes_with_its_last_user_and_gives_room_back() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let (data_dir, pool) = (dir.path().join("data"), dir.path().join("data/pool.img"));
    // Little room is left in so small a pool, so nobody waits half a minute for the file system to clear up.
    let small = || Options { args: vec!["--max-pool-bytes".into(), "1G".into()], ..options(&data_dir) };
    let server = Server::start(small());
    let blocks = || fs::metadata(&pool).expect("the pool").blocks() * 512;
    let before = blocks();
    assert!(before < 64 << 20, "{before} bytes for an empty pool");
    let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
    let session = sandbox.session("").await;
    session.run("head -c 200M /dev/urandom >/workspace/f; sync").await.expect("", "", 0);
    assert!(blocks() > before + (190 << 20), "{before} {}", blocks());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(data_dir.to_str().expect("a plain path")), "{mounts}");
    server.crash();
    assert_eq!(loop_devices(&pool).len(), 1, "the sandbox uses it");

    let server = Server::start(small());
    assert_eq!(loop_devices(&pool).len(), 1, "one device for both");
    let session = session.through(&server).await;
    session.run("stat -c %s /workspace/f").await.expect("209715200\n", "", 0);
    // Who only looks into it does not disturb it.
    let (said, _) = doctor(&data_dir);
    assert!(said["storage"]["kind"] == "pool" && said["pending"]["subvolumes"] == 0, "{said}");
    assert_eq!(loop_devices(&pool).len(), 1, "doctor takes no other device");
    session.sandbox.delete().await;
    within::until("its room on the host's disk", async || blocks() < before + (64 << 20)).await;
    tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
    until_released(&pool).await;
    let (said, text) = doctor(&data_dir);
    assert!(
        said["pending"]["subvolumes"].is_null() && text.contains("no server and no sandbox uses the pool"),
        "{text}"
    );
    assert!(loop_devices(&pool).is_empty(), "doctor does not mount it");
    let left = look_into(&pool);
    assert_eq!(left, "subvolumes 0\n");
    check(&pool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pool_is_told_and_kept_and_the_server_starts() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let (data_dir, pool) = (dir.path().join("data"), dir.path().join("data/pool.img"));
    let ways: [Breaking; 3] = [
        ("cut short", |file| file.set_len(1 << 20).expect("it is cut")),
        ("overwritten", |file| file.write_all_at(&[0xa5; 1 << 20], 0).expect("it is overwritten")),
        // Its beginning is as it was; what it leads to is not.
        ("garbage inside", |file| {
            let garbage = vec![0x5a; 1 << 20];
            (1..200).for_each(|mib| {
                if mib != 64 {
                    file.write_all_at(&garbage, mib << 20).expect("it is overwritten")
                }
            });
        }),
    ];
    for (number, (what, break_it)) in ways.into_iter().enumerate() {
        let server = Server::start(options(&data_dir));
        create_sandbox(&server, CreateSandboxRequest::default()).await.delete().await;
        tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
        until_released(&pool).await;
        break_it(&File::options().write(true).open(&pool).expect("the pool"));
        let broken = fs::metadata(&pool).expect("the pool").ino();

        let server = Server::start(options(&data_dir));
        assert!(server.log().contains("pool"), "{what}: {}", server.log());
        let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
        assert!(
            sandbox.described.warnings.iter().any(|text| text.contains("replaced")),
            "{what}: {:?}",
            sandbox.described
        );
        assert_eq!(sandbox.described.resources.and_then(|limits| limits.disk_bytes), Some(10 << 30), "{what}");
        sandbox.run("head -c 1M /dev/zero >/workspace/f").await.expect("", "", 0);
        sandbox.delete().await;
        let aside = fs::read_dir(&data_dir).expect("the directory").flatten();
        let aside: Vec<_> = aside.filter(|entry| entry.file_name().to_string_lossy().contains("broken")).collect();
        assert_eq!(aside.len(), number + 1, "{what}: {aside:?}");
        assert!(
            aside.iter().any(|entry| entry.metadata().expect("it").ino() == broken),
            "{what}: it is kept as it was"
        );
        tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
        until_released(&pool).await;
    }
}

/// Gives a sandbox files, as far as the server lives.
async fn fill(channel: tonic::transport::Channel, sandbox_id: &str) {
    let fill = "cd /workspace; mkdir -p d; for i in 0 1 2 3 4 5 6 7 8 9; do head -c 100k /dev/zero >d/$i; done";
    let target = Some(v1::exec_start::Target::SandboxId(sandbox_id.into()));
    let start = v1::ExecStart { target, command: fill.into(), ..Default::default() };
    let request = v1::RunRequest { start: Some(start), ..Default::default() };
    let _ = v1::session_service_client::SessionServiceClient::new(channel).run(request).await;
}

/// A server that is killed while it makes and removes sandboxes leaves nothing in the pool that the next one does not remove.
#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_leave_nothing_in_it() {
    let mut dice = Dice::new();
    let dir = tempfile::tempdir().expect("a directory for data");
    let (data_dir, pool) = (dir.path().join("data"), dir.path().join("data/pool.img"));
    let mut kept = Vec::new();
    let asked = std::env::var("SANDSHELL_TEST_POOL_KILLS").ok().and_then(|text| text.parse().ok());
    for round in 0..asked.unwrap_or(10) {
        let server = Server::start(options(&data_dir));
        let work: Vec<_> = (0..4)
            .map(|_| {
                let (address, pause) = (server.url(), dice.below(40));
                tokio::spawn(async move {
                    let Ok(channel) = tonic::transport::Endpoint::new(address).expect("an address").connect().await
                    else {
                        return;
                    };
                    let mut clients = v1::sandbox_service_client::SandboxServiceClient::new(channel.clone());
                    while let Ok(made) = clients.create_sandbox(CreateSandboxRequest::default()).await {
                        let sandbox_id = made.into_inner().sandbox_id;
                        fill(channel.clone(), &sandbox_id).await;
                        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                        let request = v1::DeleteSandboxRequest { sandbox_id };
                        if clients.delete_sandbox(request).await.is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        if round == 3 {
            let sandbox = create_sandbox_patiently(&server, CreateSandboxRequest::default()).await;
            let session = sandbox.session("").await;
            session.run("echo kept >/workspace/f").await.expect("", "", 0);
            kept.push(session);
        }
        tokio::time::sleep(std::time::Duration::from_millis(dice.below(800))).await;
        tokio::task::spawn_blocking(move || server.crash()).await.expect("its end");
        for task in work {
            task.await.expect("it ends with the server");
        }
    }
    let server = Server::start(options(&data_dir));
    for session in kept {
        let session = session.through(&server).await;
        session.run("cat /workspace/f").await.expect("kept\n", "", 0);
    }
    let mut clients = server.connect().await.sandboxes;
    let left =
        clients.list_sandboxes(v1::ListSandboxesRequest::default()).await.expect("a list").into_inner().sandboxes;
    for sandbox in left {
        let request = v1::DeleteSandboxRequest { sandbox_id: sandbox.sandbox_id };
        clients.delete_sandbox(request).await.expect("it goes");
    }
    tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
    until_released(&pool).await;
    assert_eq!(look_into(&pool), "subvolumes 0\n");
    check(&pool);
}
