//! How long sandboxes live: a time to live, an idle time, what moves them, and what is told of it. That each is exact is
//! tested with a clock that stands still, beside the domain.

use crate::kit::{
    Options, Sandbox, Server, create_sandbox,
    errors::{expect_bad_fields, expect_error},
    v1, within,
};
use prost_types::{Duration, FieldMask};
use tonic::Code;
use v1::{
    CreateSandboxRequest, GetSandboxRequest, Lifetime, UpdateSandboxRequest,
    sandbox::{EndReason, State},
};

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn living(ttl: Option<Duration>, idle_timeout: Option<Duration>) -> CreateSandboxRequest {
    CreateSandboxRequest { lifetime: Some(Lifetime { ttl, idle_timeout }), ..Default::default() }
}

async fn states(sandbox: &Sandbox) -> Vec<(State, EndReason)> {
    let request = v1::WatchSandboxRequest { sandbox_id: sandbox.id.clone() };
    let mut changes = sandbox.clients.sandboxes.clone().watch_sandbox(request).await.expect("a stream").into_inner();
    let mut seen = Vec::new();
    while let Some(change) = within("a change", changes.message()).await.expect("a stream without an error") {
        let sandbox = change.sandbox.expect("a sandbox");
        seen.push((sandbox.state(), sandbox.end_reason()));
    }
    seen
}

async fn update(sandbox: &Sandbox, paths: &[&str], change: v1::Sandbox) -> Result<v1::Sandbox, tonic::Status> {
    let update_mask = Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
    let named = v1::Sandbox { sandbox_id: sandbox.id.clone(), ..change };
    let request = UpdateSandboxRequest { sandbox: Some(named), update_mask };
    sandbox.clients.sandboxes.clone().update_sandbox(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_time_to_live_ends_it_and_whoever_watches_is_told() {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, living(seconds(1), None)).await;
    let made = &sandbox.described;
    let (created, expires) = (made.create_time.unwrap(), made.expire_time.expect("it will be released"));
    assert_eq!((expires.seconds - created.seconds, expires.nanos), (1, created.nanos));
    let mut running = sandbox.exec(sandbox.start("echo up; sleep 1000")).await;
    running.until_out("up\n").await;
    let seen = states(&sandbox).await;
    assert_eq!(seen.last(), Some(&(State::Deleted, EndReason::Expired)), "{seen:?}");
    assert_eq!(running.finish().await.reason(), v1::exited::Reason::SandboxStopped);
    let get = GetSandboxRequest { sandbox_id: sandbox.id.clone() };
    let status = sandbox.clients.sandboxes.clone().get_sandbox(get).await.expect_err("released");
    expect_error(&status, Code::NotFound, "SANDBOX_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_one_is_released_and_a_command_keeps_it() {
    let server = Server::start(Options::default());
    let idle = create_sandbox(&server, living(None, seconds(1))).await;
    let busy = create_sandbox(&server, living(None, seconds(1))).await;
    let began = std::time::Instant::now();
    // Nobody watches this command.
    let running = busy.exec(busy.start("sleep 4")).await;
    drop(running.lose());
    let (idle, busy) = tokio::join!(states(&idle), async { (states(&busy).await, began.elapsed()) });
    assert_eq!(idle.last(), Some(&(State::Deleted, EndReason::Idle)));
    assert_eq!(busy.0.last(), Some(&(State::Deleted, EndReason::Idle)));
    assert!(busy.1.as_secs() >= 4, "released after {:?}, while a command ran", busy.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_update_changes_what_its_mask_names() {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, living(seconds(100), seconds(0))).await;
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let first = v1::Sandbox { labels: labels(&[("a", "1"), ("b", "2")]), ..Default::default() };
    let got = update(&sandbox, &["labels"], first.clone()).await.expect("labels");
    assert_eq!((got.labels, got.expire_time), (first.labels, sandbox.described.expire_time));
    let second = v1::Sandbox {
        labels: labels(&[("c", "3")]),
        lifetime: Some(Lifetime { ttl: seconds(5000), idle_timeout: None }),
        ..Default::default()
    };
    let got = update(&sandbox, &["labels", "lifetime.ttl"], second.clone()).await.expect("both");
    assert_eq!(got.labels, second.labels);
    let left = got.expire_time.unwrap().seconds - sandbox.described.create_time.unwrap().seconds;
    assert!((5000..5100).contains(&left), "{left}");
    let got = update(&sandbox, &["idle_timeout"], v1::Sandbox { idle_timeout: seconds(60), ..Default::default() });
    assert_eq!(got.await.expect("an idle time").idle_timeout, seconds(60));
    // All or nothing.
    let bad = v1::Sandbox { labels: labels(&[("", "x"), ("d", "")]), idle_timeout: seconds(7), ..Default::default() };
    let status = update(&sandbox, &["idle_timeout", "labels", "state"], bad).await.expect_err("three mistakes");
    expect_bad_fields(&status, &["labels[\"\"]", "labels[\"d\"]", "update_mask"]);
    let past = v1::Sandbox { expire_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }), ..Default::default() };
    let status = update(&sandbox, &["labels", "expire_time"], past).await.expect_err("a time that has passed");
    expect_bad_fields(&status, &["sandbox.expire_time"]);
    let got = update(
        &sandbox,
        &["lifetime.ttl"],
        v1::Sandbox { lifetime: Some(Lifetime { ttl: seconds(0), idle_timeout: None }), ..Default::default() },
    );
    let got = got.await.expect("no end");
    assert_eq!((got.labels, got.idle_timeout), (labels(&[("c", "3")]), seconds(60)));
    let left = got.expire_time.expect("idle time counts").seconds - got.create_time.unwrap().seconds;
    assert!((60..160).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_operator_has_the_last_word() {
    let args = ["--max-ttl", "60s", "--default-idle-timeout", "30s", "--max-idle-timeout", "2m"];
    let server = Server::start(Options { args: args.map(str::to_owned).to_vec(), ..Default::default() });
    let plain = create_sandbox(&server, CreateSandboxRequest::default()).await.described;
    assert_eq!(plain.idle_timeout, seconds(30));
    let left = plain.expire_time.unwrap().seconds - plain.create_time.unwrap().seconds;
    assert!((29..=31).contains(&left), "{left}");
    let mut sandboxes = server.connect().await.sandboxes;
    let status = sandboxes.create_sandbox(living(seconds(61), seconds(0))).await.expect_err("too long, twice");
    expect_bad_fields(&status, &["lifetime.ttl", "lifetime.idle_timeout"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_sandbox_uses_can_be_asked() {
    let server = Server::start(Options::default());
    let sandbox = create_sandbox(&server, CreateSandboxRequest::default()).await;
    let s = sandbox.session("").await;
    let ask = async || {
        let request = v1::GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
        sandbox.clients.sandboxes.clone().get_sandbox_stats(request).await.expect("stats").into_inner()
    };
    let before = ask().await;
    assert_eq!((before.sessions, before.commands, before.running_commands), (1, 0, 0));
    s.run("head -c 20000000 /dev/zero >/tmp/zeros").await.expect("", "", 0);
    let mut running = s.exec_text("echo up; i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; cat").await;
    running.until_out("up\n").await;
    let after = ask().await;
    assert_eq!((after.sessions, after.commands, after.running_commands), (1, 2, 1));
    let grown = after.disk_bytes.unwrap() - before.disk_bytes.unwrap();
    assert!((20_000_000..25_000_000).contains(&grown), "{before:?} {after:?}");
    assert!(after.processes.unwrap() >= 3 && after.memory_peak_bytes >= after.memory_bytes, "{after:?}");
    running.finish().await;
    let nanos = |stats: &v1::SandboxStats| stats.cpu_time.map(|t| t.seconds * 1_000_000_000 + i64::from(t.nanos));
    assert!(nanos(&ask().await) > nanos(&before), "{before:?}");
}

crate::in_every_runtime!(the_background_keeps_it_when_asked);

async fn the_background_keeps_it_when_asked(on: crate::kit::Runtime) {
    let server = Server::start(on.options());
    let lifetime = Some(Lifetime { ttl: None, idle_timeout: seconds(2) });
    let usual = CreateSandboxRequest { lifetime, ..on.request() };
    let kept = CreateSandboxRequest { background_is_activity: true, ..usual.clone() };
    let (kept, usual) = (create_sandbox(&server, kept).await, create_sandbox(&server, usual).await);
    assert!(kept.described.background_is_activity && !usual.described.background_is_activity);
    let session = kept.session("").await;
    for s in [&session, &usual.session("").await] {
        s.run("sleep 1000 >/dev/null 2>&1 &").await;
    }
    // What is used by its background outlives what is not, and more than one idle time of it.
    for _ in 0..2 {
        let other = CreateSandboxRequest { lifetime, ..on.request() };
        let other = create_sandbox(&server, other).await;
        other.session("").await.run("sleep 1000 >/dev/null 2>&1 &").await;
        assert_eq!(states(&other).await.last(), Some(&(State::Deleted, EndReason::Idle)));
    }
    let request = GetSandboxRequest { sandbox_id: kept.id.clone() };
    let now = within("its state", kept.clients.sandboxes.clone().get_sandbox(request))
        .await
        .expect("it is there")
        .into_inner();
    assert_eq!(now.state(), State::Running);
    session.run("kill %1 2>/dev/null || kill $!").await;
    assert_eq!(states(&kept).await.last(), Some(&(State::Deleted, EndReason::Idle)));
}
