//! Whatever happens to containers and their daemon, each call ends soon with an error that says what happened, and nothing is
//! left behind.

use crate::kit::{
    Dice, Options, Runtime, Sandbox, Server, create_sandbox,
    docker::{self, Docker, shared_docker, shared_server},
    errors::expect_error,
    v1, within,
};
use std::time::Duration;
use tonic::{Code, Status};
use v1::{GetSandboxRequest, sandbox::State};

fn busybox() -> v1::CreateSandboxRequest {
    v1::CreateSandboxRequest { image: docker::BUSYBOX.to_owned(), ..Default::default() }
}

/// How a command's stream ends when its sandbox is lost.
async fn broken(s: &Sandbox, lose: impl AsyncFnOnce()) -> Status {
    let session = s.session("").await;
    let mut running = session.exec_text("echo began; while :; do busybox sleep 1; done").await;
    running.until_out("began\n").await;
    lose().await;
    within("the end of a stream", async {
        loop {
            match running.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended as if all was well: {:?}", running.got),
                Err(status) => return status,
            }
        }
    })
    .await
}

async fn look(s: &Sandbox) -> v1::Sandbox {
    let request = GetSandboxRequest { sandbox_id: s.id.clone() };
    s.clients.sandboxes.clone().get_sandbox(request).await.expect("it is reported").into_inner()
}

#[tokio::test]
async fn a_killed_or_removed_one_has_failed() {
    let (ended, removed) = ("its container ended with exit code 137", "its container was removed");
    // What is removed has ended first, and may be seen then.
    for (how, causes) in
        [(&["kill"][..], &[ended][..]), (&["rm", "-f"], &[ended, removed]), (&["stop", "-t", "0"], &[ended])]
    {
        let s = create_sandbox(shared_server(), busybox()).await;
        let container = shared_docker().container(&s.id);
        assert!(!container.is_empty());
        let status = broken(&s, async || drop(shared_docker().run(&[how, &[container.as_str()]].concat()))).await;
        assert!(matches!(status.code(), Code::Unavailable | Code::FailedPrecondition), "{how:?}: {status:?}");
        let failed = look(&s).await;
        let told = failed.end_message.as_str();
        assert!(failed.state() == State::Failed && causes.contains(&told), "{how:?}: {failed:?}");
        // From then on every call says the same.
        let status = s.clients.sessions.clone().create_session(s.ask_session()).await.expect_err("it is lost");
        expect_error(&status, Code::FailedPrecondition, "SANDBOX_NOT_RUNNING");
        assert!(status.message().contains(told), "{how:?}: {status:?}");
        within::until("nothing left of it", async || shared_docker().container(&s.id).is_empty()).await;
        s.delete().await;
    }
}

#[tokio::test]
async fn a_paused_one_holds_nobody_up() {
    let s = create_sandbox(shared_server(), busybox()).await;
    let container = shared_docker().container(&s.id);
    let status = broken(&s, async || drop(shared_docker().run(&["pause", &container]))).await;
    expect_error(&status, Code::Unavailable, "SANDBOX_UNREACHABLE");
    assert!(status.message().ends_with("its container is paused"), "{status:?}");
    let status =
        within("a refusal", s.clients.sessions.clone().create_session(s.ask_session())).await.expect_err("frozen");
    expect_error(&status, Code::Unavailable, "SANDBOX_UNREACHABLE");
    assert!(status.message().ends_with("its container is paused"), "{status:?}");
    // Thawed, it goes on.
    shared_docker().run(&["unpause", &container]);
    s.run("echo alive").await.expect("alive\n", "", 0);
    shared_docker().run(&["pause", &container]);
    s.delete().await;
    assert_eq!(shared_docker().container(&s.id), "");
}

#[tokio::test]
async fn fifty_at_once_all_work_and_are_gone() {
    let server = Server::start(shared_docker().options());
    let made = futures_util::future::join_all((0..50).map(|_| create_sandbox(&server, busybox()))).await;
    let ran = made.iter().map(|s| async { s.run("echo $((6 * 7))").await.expect("42\n", "", 0) });
    futures_util::future::join_all(ran).await;
    let ids: Vec<_> = made.iter().map(|s| s.id.clone()).collect();
    tokio::task::spawn_blocking(move || server.stop()).await.expect("its end");
    for id in ids {
        assert_eq!(shared_docker().container(&id), "");
    }
}

/// An image that was made from a container of ours passes its labels on.
#[tokio::test]
async fn nobody_elses_is_touched() {
    let docker = shared_docker();
    let dir = tempfile::tempdir().expect("a directory");
    let options = || Options { data_dir: Some(dir.path().join("data")), keep: true, ..docker.options() };
    let server = Server::start(options());
    let s = create_sandbox(&server, busybox()).await;
    let copy = format!("sandshell-test/{}", crate::kit::token());
    docker.run(&["commit", &docker.container(&s.id), &copy]);
    let strangers =
        docker.run(&["run", "-d", "--network", "none", "--entrypoint", "/bin/busybox", &copy, "sleep", "1000"]);
    assert_eq!(docker.container(&s.id).lines().count(), 2);
    s.delete().await;
    server.crash();
    tokio::task::spawn_blocking({
        let last = Server::start(Options { keep: false, ..options() });
        move || last.stop()
    })
    .await
    .expect("its end");
    assert_eq!(docker.run(&["inspect", "-f", "{{.State.Running}}", &strangers]), "true");
    docker.run(&["rm", "-f", &strangers]);
    docker.run(&["rmi", "-f", &copy]);
}

#[tokio::test]
async fn without_a_daemon_it_is_said_at_once() {
    let options = Options {
        env: vec![("DOCKER_HOST".into(), "unix:///nonexistent/docker.sock".into())],
        ..Options { args: ["--runtime", "docker"].map(str::to_owned).to_vec(), ..Options::default() }
    };
    let Err((status, log)) = Server::try_start(options) else { panic!("it started") };
    assert_eq!(status.code(), Some(125));
    assert!(log.contains("no Docker daemon answers at unix:///nonexistent/docker.sock"), "{log}");
}

#[tokio::test]
async fn a_crashed_daemon_is_survived() {
    for live_restore in [true, false] {
        let docker = Docker::own(if live_restore { &["--live-restore"] } else { &[] });
        let server = Server::start(docker.options());
        let s = create_sandbox(&server, busybox()).await;
        let (session, other) = (s.session("").await, create_sandbox(&server, busybox()).await);
        docker.crash();
        // Nothing inside has noticed, and the way to it does not lead through the daemon.
        session.run("echo alive").await.expect("alive\n", "", 0);
        let mut clients = server.connect().await;
        let status = within("a refusal", clients.sandboxes.create_sandbox(busybox())).await.expect_err("no daemon");
        expect_error(&status, Code::Unavailable, "RUNTIME_UNREACHABLE");
        let request = v1::GetSandboxStatsRequest { sandbox_id: s.id.clone() };
        let status = within("a refusal", clients.sandboxes.get_sandbox_stats(request)).await.expect_err("no daemon");
        expect_error(&status, Code::Unavailable, "RUNTIME_UNREACHABLE");
        let request = v1::DeleteSandboxRequest { sandbox_id: other.id.clone() };
        let status = within("a refusal", clients.sandboxes.delete_sandbox(request)).await.expect_err("no daemon");
        expect_error(&status, Code::Unavailable, "RUNTIME_UNREACHABLE");
        docker.again();
        other.delete().await;
        if live_restore {
            session.run("echo alive").await.expect("alive\n", "", 0);
        } else {
            within::until("the end of it", async || look(&s).await.state() == State::Failed).await;
            within::until("nothing left of it", async || docker.container(&s.id).is_empty()).await;
        }
        create_sandbox(&server, busybox()).await.run("echo new").await.expect("new\n", "", 0);
        s.delete().await;
        tokio::task::spawn_blocking(move || drop((server, docker))).await.expect("the end");
    }
}

/// Whatever was half made then is removed once the daemon is back.
#[tokio::test]
async fn a_daemon_that_crashes_while_sandboxes_are_made() {
    let docker = Docker::own(&["--live-restore"]);
    let server = Server::start(docker.options());
    let mut dice = Dice::new();
    for _ in 0..3 {
        let mut clients = server.connect().await;
        let creations: Vec<_> = (0..8)
            .map(|_| {
                let mut sandboxes = clients.sandboxes.clone();
                tokio::spawn(async move { sandboxes.create_sandbox(busybox()).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(dice.below(1500))).await;
        docker.crash();
        let mut made = vec![];
        for creation in creations {
            match within("an answer", creation).await.expect("no panic") {
                Ok(sandbox) => made.push(sandbox.into_inner().sandbox_id),
                Err(status) => expect_error(&status, Code::Unavailable, "RUNTIME_UNREACHABLE"),
            }
        }
        docker.again();
        let containers = || docker.run(&["ps", "-aq", "--filter", "label=sandshell.sandbox"]).lines().count();
        let directories = || server.data_dir().join("docker/sandboxes").read_dir().expect("a directory").count();
        // A container goes first, and its directory when that is sure.
        let left = || (containers(), directories());
        within::until("the rest is gone", async || left() == (made.len(), made.len())).await;
        for sandbox_id in made {
            clients.sandboxes.delete_sandbox(v1::DeleteSandboxRequest { sandbox_id }).await.expect("a deletion");
        }
        assert_eq!(left(), (0, 0));
    }
    tokio::task::spawn_blocking(move || drop((server, docker))).await.expect("the end");
}

#[tokio::test]
async fn what_the_daemon_cannot_limit_is_refused() {
    let mut request = Runtime::Docker.request();
    request.resources = Some(v1::Resources { disk_bytes: Some(1 << 30), ..Default::default() });
    let status = shared_server().connect().await.sandboxes.create_sandbox(request).await.expect_err("no quota on ext4");
    expect_error(&status, Code::FailedPrecondition, "NOT_SUPPORTED_BY_HOST");
    assert!(status.message().contains("resources.disk_bytes"), "{status:?}");
}
