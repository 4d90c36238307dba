//! What a sandbox may write is bounded, whatever it writes, and it can go on when it has made room. Its neighbours notice nothing.

use crate::kit::{Options, Sandbox, Server, cli::refuses, create_sandbox, errors::expect_error, shared, v1, within};
use tonic::Code;
use v1::{Resources, UpdateSandboxRequest};

const MIB: i64 = 1 << 20;

async fn with_disk(server: &Server, bytes: i64) -> Sandbox {
    let resources = Some(Resources { disk_bytes: Some(bytes), ..Default::default() });
    create_sandbox(server, v1::CreateSandboxRequest { resources, ..Default::default() }).await
}

async fn used(sandbox: &Sandbox) -> i64 {
    let request = v1::GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
    let stats = sandbox.clients.sandboxes.clone().get_sandbox_stats(request).await;
    stats.expect("it is measured").into_inner().disk_bytes.expect("what its files take")
}

async fn set_limit(sandbox: &Sandbox, bytes: i64) -> v1::Sandbox {
    let changed = v1::Sandbox {
        sandbox_id: sandbox.id.clone(),
        resources: Some(Resources { disk_bytes: Some(bytes), ..Default::default() }),
        ..Default::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["resources.disk_bytes".to_owned()] });
    let request = UpdateSandboxRequest { sandbox: Some(changed), update_mask };
    sandbox.clients.sandboxes.clone().update_sandbox(request).await.expect("it is changed").into_inner()
}

/// Each of these writes until it is refused: more than the limit in any case.
const WRITERS: &[(&str, &str)] = &[
    ("one file", "dd if=/dev/zero of=/workspace/f bs=1M count=512"),
    ("room for a file", "fallocate -l 512M /workspace/f"),
    (
        "a hole in a file is filled",
        "truncate -s 1G /workspace/f && dd if=/dev/zero of=/workspace/f bs=1M seek=400 count=512 conv=notrunc",
    ),
    (
        "many files",
        "mkdir /workspace/d && for i in $(seq 1 512); do head -c 1M /dev/zero >/workspace/d/$i || exit 1; done",
    ),
    ("a file that has no name any more", "exec 7>/workspace/f; rm /workspace/f; head -c 512M /dev/zero >&7"),
    ("elsewhere than in the working directory", "head -c 512M /dev/zero >/usr/local/f"),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_it_writes_is_bounded_and_can_be_removed() {
    let sandbox = with_disk(shared(), 64 * MIB).await;
    let neighbour = with_disk(shared(), 64 * MIB).await;
    let (session, other) = (sandbox.session("").await, neighbour.session("").await);
    for (what, write) in WRITERS {
        let got = session.run(format!("( {write} )")).await;
        let (code, said) = (got.exit_code(), String::from_utf8_lossy(&got.stderr).into_owned());
        assert!(code != 0, "{what}: {got:?}");
        assert!(said.contains("Disk quota exceeded") || said.contains("No space left"), "{what}: {said}");
        assert!(used(&sandbox).await <= 65 * MIB, "{what}: {}", used(&sandbox).await);
        session.alive().await;
        let got = other.run("head -c 1M /dev/zero >/workspace/f && rm /workspace/f").await;
        assert_eq!(got.exit_code(), 0, "the neighbour, while {what}: {got:?}");
        // So does what the server writes to its database.
        set_limit(&neighbour, 64 * MIB).await;
        let got = session
            .run("rm -rf /workspace/* /usr/local/f; head -c 20M /dev/zero >/workspace/g && rm /workspace/g")
            .await;
        assert_eq!(got.exit_code(), 0, "what was made room for, after {what}: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_files_and_links_are_bounded_too() {
    let sandbox = with_disk(shared(), 8 * MIB).await;
    let session = sandbox.session("").await;
    let program = "
import errno, os
made = 0
os.mkdir('/workspace/d')
try:
    while made < 1_000_000:
        name = '/workspace/d/' + str(made).rjust(240, 'x')
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        os.link(name, name + '-link')
        made += 1
except OSError as error:
    print(errno.errorcode[error.errno], 1000 < made < 50_000)
";
    session.run(format!("/usr/bin/python3 -c \"{program}\"")).await.expect("EDQUOT True\n", "", 0);
    session.alive().await;
    let got = session.run("rm -r /workspace/d && head -c 2M /dev/zero >/workspace/f").await;
    assert_eq!(got.exit_code(), 0, "{got:?}");
}

/// Memory that stands for a file is not refused by a system call, so the program gets a signal.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_memory_is_bounded() {
    let sandbox = with_disk(shared(), 32 * MIB).await;
    let session = sandbox.session("").await;
    let program = "
import mmap
file = open('/workspace/f', 'w+b')
file.truncate(256 << 20)
memory = mmap.mmap(file.fileno(), 256 << 20)
for at in range(0, 256 << 20, 4096): memory[at] = 1
";
    let got = session.run(format!("/usr/bin/python3 -c \"{program}\"")).await;
    assert_eq!(got.exit_code(), 128 + libc::SIGBUS, "{got:?}");
    assert!(used(&sandbox).await <= 33 * MIB);
    session.alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_raised_and_lowered_and_kept_by_the_next_server() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let options = || Options { data_dir: Some(dir.path().join("data")), keep: true, ..Default::default() };
    let server = Server::start(options());
    let sandbox = with_disk(&server, 32 * MIB).await;
    let session = sandbox.session("").await;
    let write = |mib: u32| format!("head -c {mib}M /dev/zero >/workspace/f 2>/dev/null; echo $?");
    session.run(write(48)).await.expect("1\n", "", 0);
    assert_eq!(set_limit(&sandbox, 96 * MIB).await.resources.and_then(|limits| limits.disk_bytes), Some(96 * MIB));
    session.run(write(48)).await.expect("0\n", "", 0);
    // Lower than what is there: nothing is removed, and nothing can be added.
    set_limit(&sandbox, 16 * MIB).await;
    let got = session.run("stat -c %s /workspace/f; head -c 1M /dev/zero >/workspace/g").await;
    assert!(got.out() == "50331648\n" && got.exit_code() != 0, "{got:?}");
    server.crash();

    let server = Server::start(options());
    let sandbox = sandbox.through(&server).await;
    let session = session.through(&server).await;
    let request = v1::GetSandboxRequest { sandbox_id: sandbox.id.clone() };
    let described = server.connect().await.sandboxes.get_sandbox(request).await.expect("it is there").into_inner();
    assert_eq!(described.resources.and_then(|limits| limits.disk_bytes), Some(16 * MIB));
    assert!((48 * MIB..50 * MIB).contains(&used(&sandbox).await), "{}", used(&sandbox).await);
    session.run("rm -f /workspace/*").await.expect("", "", 0);
    session.run(write(8)).await.expect("0\n", "", 0);
    session.run(write(48)).await.expect("1\n", "", 0);
    sandbox.delete().await;
}

/// All sandboxes together have what the operator gives them, and who asks for one more is told.
#[tokio::test(flavor = "multi_thread")]
async fn together_they_are_bounded_and_a_full_pool_is_told() {
    let args = vec!["--max-pool-bytes".to_owned(), "256M".to_owned()];
    let server = Server::start(Options { args, ..Default::default() });
    let greedy = with_disk(&server, 1024 * MIB).await;
    let session = greedy.session("").await;
    let got = session.run("head -c 512M /dev/zero >/workspace/f").await;
    assert_eq!(got.exit_code(), 1, "{got:?}");
    session.run("sync; stat -c %s /workspace/f").await;
    let mut refused = None;
    within::until("a refusal", async || {
        let made = server.connect().await.sandboxes.create_sandbox(v1::CreateSandboxRequest::default()).await;
        refused = made.err();
        refused.is_some()
    })
    .await;
    expect_error(&refused.expect("a refusal"), Code::ResourceExhausted, "NO_SPACE");
    session.run("rm /workspace/f; sync").await;
    within::until("room again", async || {
        let made = server.connect().await.sandboxes.create_sandbox(v1::CreateSandboxRequest::default()).await;
        made.is_ok()
    })
    .await;
    session.alive().await;
}

/// In a pool that is too small there would be no room for any sandbox, ever; the least that is allowed has some.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_room_for_a_sandbox_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory for data");
    let data = dir.path().join("data").display().to_string();
    for size in ["1", "64M", "134217727"] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &data, "--max-pool-bytes", size];
        refuses(&serve, &["max-pool-bytes", "128M", "or 0"]);
    }
    let args = ["--max-pool-bytes", "128M"].map(str::to_owned).to_vec();
    let server = Server::start(Options { args, ..Default::default() });
    create_sandbox(&server, v1::CreateSandboxRequest::default()).await.run("echo 1 >f").await.expect("", "", 0);
}

/// Without a pool there is no limit: it is told, and who asks for one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn where_it_cannot_be_had_it_is_refused_with_words() {
    let args = vec!["--max-pool-bytes".to_owned(), "0".to_owned()];
    let server = Server::start(Options { args, ..Default::default() });
    let plain = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    assert_eq!(plain.described.resources.and_then(|limits| limits.disk_bytes), None);
    assert!(plain.described.warnings.iter().any(|warning| warning.contains("disk_bytes cannot be limited")));
    let resources = Some(Resources { disk_bytes: Some(64 * MIB), ..Default::default() });
    let request = v1::CreateSandboxRequest { resources, ..Default::default() };
    let refused = server.connect().await.sandboxes.create_sandbox(request).await.expect_err("a refusal");
    expect_error(&refused, Code::FailedPrecondition, "NOT_SUPPORTED_BY_HOST");
    assert!(refused.message().contains("resources.disk_bytes"), "{refused:?}");
}
