//! A server without privileges does the same work with what the host lets it have, and says what is missing.

use crate::kit::{
    Options, Running, Sandbox, Server, USUAL, create_sandbox, errors::expect_error, expected, host, token, v1, within,
};
use std::{fs, process::Command};
use tonic::Code;
use v1::{AttachRequest, ExecStart, Resources, exited::Reason};

const USER: u32 = 1000;

async fn place() -> (Server, Sandbox) {
    let server = Server::start(Options { uid: Some(USER), ..Default::default() });
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    (server, sandbox)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_main_job_works() {
    let (server, sandbox) = place().await;
    let owner = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(owner.contains(&format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}")), "the server runs as that user: {owner}");
    for shell in ["/bin/dash", "/bin/bash", "/bin/zsh", "/bin/busybox"] {
        let s = sandbox.session(shell).await;
        s.steps(&[
            ("cd /usr; export A=1; B=2; f() { echo fn; }", ""),
            ("pwd; echo $A $B; f", "/usr\n1 2\nfn\n"),
            ("cd /workspace; echo x >f; cat f; rm f", "x\n"),
            ("id -u", "0\n"),
            ("printf '\\000\\377' | od -An -tx1 | tr -d ' '", "00ff\n"),
        ])
        .await;
        s.run("echo o; echo e >&2; (exit 5)").await.expect("o\n", "e\n", 5);
        s.run("echo 'oops").await.expect_complaint();
        let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let got = s.run_start(ExecStart { timeout, ..s.start("echo up; sleep 100; echo no") }, b"").await;
        assert_eq!((got.out().as_str(), got.reason()), ("up\n", Reason::TimedOut), "{shell}: {got:?}");
        s.run("cd /tmp; exit 3").await.expect_shell_exit(3, 0, 2);
        s.run("pwd; echo $A").await.expect("/tmp\n1\n", "", 0);
        let mut running = s.exec(ExecStart { stdin: true, ..s.start("cat") }).await;
        running.stdin("one\n").await;
        running.until_out("one\n").await;
        running.close_stdin().await;
        running.finish().await.expect("one\n", "", 0);
        let pty = ExecStart { pty: Some(v1::Pty::default()), ..s.start("stty size") };
        assert_eq!(s.exec(pty).await.finish().await.tty(), "24 80\r\n", "{shell}");
        s.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn streams_and_attach_work() {
    let (_server, sandbox) = place().await;
    let s = sandbox.session("").await;
    let all = expected::seq(1_000_000);
    let mut running = s.exec_text("seq 1 1000000").await;
    running.until("a part", |r| r.got.stdout.len() > 1 << 20).await;
    let (id, first) = (running.got.command_id.clone(), running.got.stdout.clone());
    drop(running);
    let request = AttachRequest { command_id: id, stdout_offset: first.len() as i64, ..Default::default() };
    let rest = Running::attach(&sandbox.clients, request).await.finish().await;
    assert!([first, rest.stdout].concat() == all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_it_started_dies_with_it() {
    let (_server, sandbox) = place().await;
    let (s, other) = (sandbox.session("").await, sandbox.session("").await);
    let word = token();
    s.run(format!(
        "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' {word} & (sh -c 'sleep 1000; :' {word} &)"
    ))
    .await;
    other.run(format!("setsid sh -c 'sleep 1000; :' {word}-other &")).await;
    within::until("three processes", async || host::with_argument(&word).len() >= 3).await;
    s.close().await;
    let alive = host::with_argument(&word).into_iter().map(host::arguments);
    let own: Vec<_> = alive.filter(|line| line.contains(&word) && !line.contains("-other")).collect();
    assert_eq!(own, [""; 0]);
    other.alive().await;
    sandbox.delete().await;
    assert_eq!(host::with_argument(&word).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_is_as_closed_as_any() {
    let word = token();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, &word).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(USER), Some(USER)).unwrap();
    let mut bystander = host::Bystander::start(&word);
    let (server, s) = place().await;
    let got = s.run(&format!("cat {}; cat /proc/*/cmdline | tr '\\0' ' '; ls /root /home", secret.display())).await;
    assert!(!got.out().contains(&word), "{got:?}");
    let got = s
        .run("unshare -U true 2>/dev/null || unshare -m true 2>/dev/null || mount -t tmpfs none /mnt 2>/dev/null")
        .await;
    assert_ne!(got.exit_code(), 0, "{got:?}");
    let got = s.run("cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '").await;
    assert_eq!(got.out(), "lo\n");
    s.run(&format!("kill -9 {} {}; kill -9 -1; true", server.pid(), bystander.id())).await;
    assert!(host::lives(server.pid()) && bystander.lives());
    s.run("echo alive").await.expect("alive\n", "", 0);
    let (other, mark) = (create_sandbox(&server, v1::CreateSandboxRequest::default()).await, token());
    s.run(&format!("echo {mark} >/workspace/{mark}; echo {mark} >/tmp/{mark}")).await;
    assert_eq!(
        other.run(&format!("cat /workspace/{mark} /tmp/{mark}; find / -name {mark} -not -path '/proc/*'")).await.out(),
        ""
    );
}

/// Without control groups of its own there are no limits, and nobody is told that there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_missing_is_said() {
    let (server, sandbox) = place().await;
    let said = &sandbox.described.warnings;
    let limits = sandbox.described.resources.unwrap_or_default();
    let limits = [("memory", limits.memory_bytes), ("process", limits.max_processes), ("disk", limits.disk_bytes)];
    for (name, limit) in limits {
        let warned = said.iter().any(|w| w.to_lowercase().contains(name));
        assert!(limit.is_some() || warned, "no {name} limit is in force, and no warning says so: {said:?}");
        assert!(
            limit.is_none() || !warned,
            "a {name} limit of {limit:?} is said to be in force, and to be missing: {said:?}"
        );
    }
    for resources in [
        Resources { memory_bytes: Some(64 << 20), ..Default::default() },
        Resources { max_processes: Some(32), ..Default::default() },
        Resources { cpu_millis: Some(500), ..Default::default() },
        Resources { disk_bytes: Some(64 << 20), ..Default::default() },
    ] {
        let request = v1::CreateSandboxRequest { resources: Some(resources), ..Default::default() };
        match server.connect().await.sandboxes.create_sandbox(request).await {
            Ok(made) => assert_eq!(made.into_inner().resources.map(|r| r.disk_bytes), Some(resources.disk_bytes)),
            Err(status) => expect_error(&status, Code::FailedPrecondition, "NOT_SUPPORTED_BY_HOST"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_leaves_nothing() {
    let (server, sandbox) = place().await;
    let word = token();
    let s = sandbox.session("").await;
    s.run(format!("setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' {word} & mkdir -m 0 /tmp/closed; mkdir -p /tmp/a/b; chmod 0 /tmp/a")).await;
    within::until("its process", async || !host::with_argument(&word).is_empty()).await;
    let (data_dir, id) = (server.data_dir().to_owned(), sandbox.id.clone());
    let status = tokio::task::spawn_blocking(move || {
        let kept = data_dir.clone();
        let listing = |dir: &std::path::Path| {
            let output = Command::new("find").arg(dir).output().expect("find");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        // Look while its directory is still there: a stop of the kit's removes it all.
        host::signal(server.pid(), libc::SIGTERM);
        within::ask_until(USUAL, || (!host::lives(server.pid())).then_some(())).expect("the server's end");
        let left = listing(&kept);
        (server.stop(), left)
    });
    let (status, left) = status.await.expect("the server's end");
    assert!(status.success(), "{status}");
    assert!(!left.contains(&id), "left in the data directory:\n{left}");
    assert_eq!(host::with_argument(&word).len(), 0);
}
