//! Who waits for an image sees how far it is, many wait for one pull, and a pull that stops is given up.

use crate::kit::{
    Server, create_sandbox,
    docker::{shared_docker, shared_server},
    errors::expect_error,
    registry::Registry,
    v1, within,
};
use tonic::Code;
use v1::{sandbox::State, start_progress::Step};

const MEGABYTE: usize = 1 << 20;

fn image(name: &str) -> v1::CreateSandboxRequest {
    v1::CreateSandboxRequest { image: name.to_owned(), ..Default::default() }
}

/// A server that gives a pull up which brings nothing for two seconds.
fn impatient() -> Server {
    let mut options = shared_docker().options();
    options.args.extend(["--runtime-option", "pull-stall=2"].map(str::to_owned));
    Server::start(options)
}

fn is_half_there(sandbox: &v1::Sandbox) -> bool {
    let progress = sandbox.start_progress.unwrap_or_default();
    let pull = progress.pull.unwrap_or_default();
    progress.step() == Step::PullingImage && (1..pull.bytes_total).contains(&pull.bytes_received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn its_progress_is_told_to_caller_and_watcher() {
    let registry = Registry::start();
    let image_there = registry.take_one_of(4 * MEGABYTE).await;
    let link = registry.behind(2 * MEGABYTE).await;
    let server = Server::start(shared_docker().options());
    let mut clients = server.connect().await;
    let call = clients.sandboxes.create_and_watch_sandbox(image(&link.name(&image_there))).await;
    let mut steps = call.expect("it begins").into_inner();
    let mut seen = vec![];
    let half = within("half an image", async {
        loop {
            let sandbox = steps.message().await.expect("a step").expect("more to come").sandbox.expect("a sandbox");
            seen.push(sandbox.start_progress.expect("how far it is").step());
            if is_half_there(&sandbox) {
                return sandbox;
            }
        }
    })
    .await;
    assert!(half.state() == State::Starting && half.sandbox_id.starts_with("sbx-"), "{half:?}");
    assert_eq!(half.start_progress.unwrap_or_default().pull.unwrap_or_default().layers_total, 1, "{half:?}");
    // Whoever watches it sees the same.
    let watch = v1::WatchSandboxRequest { sandbox_id: half.sandbox_id.clone() };
    let mut watched = clients.sandboxes.watch_sandbox(watch).await.expect("it is there").into_inner();
    let first = watched.message().await.expect("a state").expect("one").sandbox.expect("a sandbox");
    assert!(is_half_there(&first), "{first:?}");
    link.go();
    let last = within("the whole image", async {
        let mut last = half;
        while let Some(step) = steps.message().await.expect("a step") {
            last = step.sandbox.expect("a sandbox");
            seen.extend(last.start_progress.map(|progress| progress.step()));
        }
        last
    })
    .await;
    assert_eq!((last.state(), last.start_progress), (State::Running, None));
    assert!(seen.contains(&Step::PullingImage) && seen.ends_with(&[Step::Starting]), "{seen:?}");
    let target = Some(v1::exec_start::Target::SandboxId(last.sandbox_id));
    let start = Some(v1::ExecStart { target, command: "echo there".into(), ..Default::default() });
    let ran = clients.sessions.run(v1::RunRequest { start, ..Default::default() }).await.expect("it runs").into_inner();
    assert_eq!(&ran.stdout[..], b"there\n");
    shared_docker().run(&["rmi", "-f", &link.name(&image_there)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_pull_is_for_all_who_wait() {
    let registry = Registry::start();
    let image_there = registry.take_one_of(2 * MEGABYTE).await;
    let link = registry.behind(MEGABYTE).await;
    let name = link.name(&image_there);
    let server = shared_server();
    let all = futures_util::future::join_all((0..8).map(|_| create_sandbox(server, image(&name))));
    let last_waits = async {
        let mut clients = server.connect().await;
        let starting = async |clients: &mut crate::kit::Clients| {
            let listed = clients.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await;
            let sandboxes = listed.expect("a list").into_inner().sandboxes;
            sandboxes.iter().filter(|sandbox| sandbox.image == name && is_half_there(sandbox)).count()
        };
        // No more are begun at once than the host's processors are for.
        within::until("several who wait", async || starting(&mut clients).await >= 2).await;
        link.go();
    };
    let (made, ()) = tokio::join!(all, last_waits);
    for s in made {
        s.run("echo there").await.expect("there\n", "", 0);
    }
    // Of Docker's own doing it is asked for by tag and by digest.
    assert!(link.manifests() <= 2, "pulled again and again: {}", link.manifests());
    let absent = image(&format!("{name}2"));
    let status = server.connect().await.sandboxes.create_and_watch_sandbox(absent).await;
    let status = match status {
        Err(status) => status,
        Ok(steps) => {
            within("a refusal", async {
                let mut steps = steps.into_inner();
                loop {
                    match steps.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("it ended as if all was well"),
                        Err(status) => return status,
                    }
                }
            })
            .await
        }
    };
    expect_error(&status, Code::NotFound, "IMAGE_NOT_FOUND");
    shared_docker().run(&["rmi", "-f", &name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_registry_that_stops_in_the_middle_of_a_layer_is_given_up() {
    let registry = Registry::start();
    let image_there = registry.take_one_of(4 * MEGABYTE).await;
    let server = impatient();
    let mut clients = server.connect().await;
    for is_cut in [false, true] {
        let link = registry.behind(2 * MEGABYTE).await;
        let name = link.name(&image_there);
        let (create, stop) = (clients.sandboxes.create_sandbox(image(&name)), async {
            let mut clients = server.connect().await;
            within::until("half an image", async || {
                let listed = clients.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await;
                listed.expect("a list").into_inner().sandboxes.iter().any(is_half_there)
            })
            .await;
            if is_cut {
                link.cut();
            }
        });
        let (created, ()) = within("an end", async { tokio::join!(create, stop) }).await;
        let status = created.expect_err("the half of it is missing");
        expect_error(&status, Code::Unavailable, "RUNTIME_UNREACHABLE");
        assert!(status.message().contains(&name), "{status:?}");
        let left = clients.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await;
        assert_eq!(left.expect("a list").into_inner().total_size, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_silent_registry_is_given_up() {
    // It accepts, and says nothing more.
    let port = crate::kit::registry::free_port();
    let silent = format!(
        "import socket,time\ns=socket.create_server(('127.0.0.1',{port}))\nc=[]\nwhile 1: c.append(s.accept())"
    );
    let mut command = shared_docker().beside("/usr/bin/python3");
    command.args(["-c", &silent]);
    let mut registry = crate::kit::server::spawn_bound_to_us(command, None);
    let name = format!("localhost:{port}/slow:1");
    let server = impatient();
    let mut clients = server.connect().await;
    let created = within("an end", clients.sandboxes.create_sandbox(image(&name))).await;
    let status = created.expect_err("nothing came");
    expect_error(&status, Code::Unavailable, "RUNTIME_UNREACHABLE");
    assert!(status.message().contains(&name), "{status:?}");
    let _ = registry.kill();
    let _ = registry.wait();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_gives_up_waiting_leaves_nothing() {
    let registry = Registry::start();
    let image_there = registry.take_one_of(2 * MEGABYTE).await;
    let link = registry.behind(MEGABYTE).await;
    let server = Server::start(shared_docker().options());
    let mut clients = server.connect().await;
    let call = clients.sandboxes.create_and_watch_sandbox(image(&link.name(&image_there))).await;
    let mut steps = call.expect("it begins").into_inner();
    let id = within("a step", steps.message()).await.expect("a step").expect("one").sandbox.expect("one").sandbox_id;
    drop(steps);
    within::until("its end", async || {
        let request = v1::GetSandboxRequest { sandbox_id: id.clone() };
        clients.sandboxes.get_sandbox(request).await.is_err_and(|status| status.code() == Code::NotFound)
    })
    .await;
    link.go();
    // The pull itself goes on, for the next one.
    let s = create_sandbox(&server, image(&link.name(&image_there))).await;
    s.run("echo there").await.expect("there\n", "", 0);
    assert_eq!(shared_docker().container(&id), "");
    assert!(link.manifests() <= 2, "pulled again: {}", link.manifests());
    shared_docker().run(&["rmi", "-f", &link.name(&image_there)]);
}
