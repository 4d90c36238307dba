//! What starts sandboxes can be killed, stopped or kept waiting: everybody else goes on, no creation is lost, and what was given
//! up is removed.

use crate::kit::{Options, Sandbox, Server, create_sandbox, errors, hanging::Hanging, host, v1, within};
use futures_util::future::join_all;
use std::fs;
use tonic::Code;
use v1::{
    CreateSandboxRequest, DeleteSandboxRequest, ListImagesRequest, ListSandboxesRequest,
    image_service_client::ImageServiceClient,
};

fn children(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok())
    };
    host::pids().into_iter().filter(|child| parent(*child) == Some(pid)).collect()
}

fn is_zygote(pid: &u32) -> bool {
    host::arguments(*pid).contains("zygote") && host::lives(*pid)
}

async fn zygote(server: &Server) -> u32 {
    let find = || children(server.pid()).into_iter().find(is_zygote);
    within::until("a zygote", async || find().is_some()).await;
    find().expect("it was there")
}

async fn create(server: &Server, count: usize) -> Vec<Sandbox> {
    join_all((0..count).map(|_| create_sandbox(server, CreateSandboxRequest::default()))).await
}

async fn all_work(sandboxes: &[Sandbox]) {
    join_all(sandboxes.iter().map(async |sandbox| sandbox.run("echo $((6 * 7))").await.expect("42\n", "", 0))).await;
}

/// How many sandboxes have files there, made ahead or in use.
fn slots(server: &Server) -> usize {
    fs::read_dir(server.data_dir().join("slots")).expect("slots").count()
}

#[tokio::test]
async fn a_zygote_that_is_killed_or_stopped_is_replaced() {
    let server = Server::start(Options::default());
    let there = create(&server, 1).await;
    for signal in [libc::SIGSTOP, libc::SIGKILL, libc::SIGSTOP] {
        let old = zygote(&server).await;
        host::signal(old, signal);
        let creations = create(&server, 5);
        let others = async {
            for _ in 0..20 {
                all_work(&there).await;
            }
        };
        let (made, ()) = tokio::join!(creations, others);
        all_work(&made).await;
        assert!(!host::lives(old) && zygote(&server).await != old);
        for sandbox in made {
            sandbox.delete().await;
        }
    }
    all_work(&there).await;
}

#[tokio::test]
async fn starters_that_are_killed_cost_no_creation() {
    let server = Server::start(Options::default());
    for _ in 0..10 {
        let zygote = zygote(&server).await;
        within::until("starters", async || children(zygote).iter().any(is_zygote)).await;
        children(zygote).into_iter().filter(is_zygote).for_each(|starter| host::signal(starter, libc::SIGKILL));
        let made = create(&server, 3).await;
        all_work(&made).await;
        for sandbox in made {
            sandbox.delete().await;
        }
    }
}

/// The limit of a start, short enough to be waited for.
const START_LIMIT: &str = "start-limit=10";
/// How many starters are kept ready.
const READY: usize = 3;

#[tokio::test]
async fn an_image_that_hangs_holds_only_its_own_sandbox() {
    let disk = Hanging::mount();
    let root = disk.root().display().to_string();
    let args = ["--image-root", &root, "--runtime-option", START_LIMIT].map(str::to_owned).to_vec();
    let server = Server::start(Options { args, ..Default::default() });
    let request = CreateSandboxRequest { image: disk.image().display().to_string(), ..Default::default() };
    let hung: Vec<_> = join_all((0..3).map(|_| server.connect())).await;
    let hung = hung.into_iter().map(|mut clients| {
        let request = request.clone();
        tokio::spawn(async move { clients.sandboxes.create_sandbox(request).await })
    });
    let hung: Vec<_> = hung.collect();
    within::until("starters that wait for the disk", async || disk.waiting() >= 3).await;
    // Whoever gives one up is not held up, and neither is anybody else.
    let mut clients = server.connect().await;
    let listed = clients.sandboxes.list_sandboxes(ListSandboxesRequest::default()).await.expect("a list").into_inner();
    let starting: Vec<_> = listed.sandboxes.iter().filter(|s| s.state() == v1::sandbox::State::Starting).collect();
    assert_eq!(starting.len(), 3);
    let request = DeleteSandboxRequest { sandbox_id: starting[0].sandbox_id.clone() };
    within("the end of a sandbox that hangs", clients.sandboxes.delete_sandbox(request)).await.ok();
    let made = create(&server, 5).await;
    all_work(&made).await;
    for creation in hung {
        let status = within("a refusal", creation).await.expect("its task").expect_err("the image does not answer");
        // One of them was deleted meanwhile.
        assert!(matches!(status.code(), Code::Unavailable | Code::FailedPrecondition), "{status:?}");
    }
    let more = create(&server, 3).await;
    all_work(&more).await;
    for sandbox in made.into_iter().chain(more) {
        sandbox.delete().await;
    }
    // When the disk is back, nothing of them is left: what there is is ready for the next ones.
    drop(disk);
    let zygote = zygote(&server).await;
    let starters = || children(zygote).into_iter().filter(is_zygote).count();
    within::until("nothing but what is ready", async || starters() <= READY && slots(&server) <= READY).await;
    assert_eq!(fs::read_dir(server.data_dir().join("sandboxes")).expect("sandboxes").count(), 0);
}

/// More calls than a server has threads.
#[tokio::test]
async fn an_image_root_that_hangs_holds_only_few_threads() {
    const CALLS: usize = 600;
    const CONNECTIONS: usize = 6;
    /// That look below one root.
    const THREADS: usize = 8;
    // The disk goes first, because the server cannot end before it.
    let (server, disk) = {
        let disk = Hanging::mount_for("serve");
        let args = ["--image-root", &disk.root().display().to_string()].map(str::to_owned).to_vec();
        (Server::start(Options { args, ..Default::default() }), disk)
    };
    let clients = join_all((0..CONNECTIONS).map(|_| server.connect())).await;
    let calls = (0..CALLS).map(|number| {
        let mut client = ImageServiceClient::new(clients[number % CONNECTIONS].channel.clone());
        tokio::spawn(async move { client.list_images(ListImagesRequest::default()).await })
    });
    let calls: Vec<_> = calls.collect();
    within::until("threads that wait for the disk", async || disk.waiting() >= THREADS).await;
    let made = create(&server, 5).await;
    all_work(&made).await;
    for call in calls {
        let status = within("a refusal", call).await.expect("its task").expect_err("the disk does not answer");
        errors::expect_error(&status, Code::Unavailable, "RUNTIME_UNREACHABLE");
    }
    assert_eq!(disk.waiting(), THREADS);
    for sandbox in made {
        sandbox.delete().await;
    }
}
