//! A daemon may run containers by another program than runc, and may map their users to others of its host.

use crate::kit::{
    Options, Runtime, Server, create_sandbox,
    docker::{BUSYBOX, Docker, works},
    host, token, v1, within,
};
use std::fs;

fn with(docker: &Docker, option: &str) -> Options {
    let mut options = docker.options();
    options.args.extend(["--runtime-option", option].map(str::to_owned));
    options
}

/// Words in warnings that root inside is root outside.
const IS_ROOT: &str = "root in a sandbox is root";

async fn is_warned(server: &Server) -> bool {
    let s = create_sandbox(server, Runtime::Docker.request()).await;
    let warnings = s.described.warnings.clone();
    s.delete().await;
    warnings.iter().any(|warning| warning.contains(IS_ROOT))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_runs_the_containers() {
    // The same program under a name that says nothing of it: what is not known may be a kernel of its own.
    let docker = Docker::own(&[
        "--add-runtime",
        "crun=/usr/bin/crun",
        "--add-runtime",
        "virtual=/usr/bin/crun",
        "--default-runtime",
        "virtual",
    ]);
    for name in ["crun", "virtual", ""] {
        let options =
            if name.is_empty() { docker.options() } else { with(&docker, &format!("container-runtime={name}")) };
        let server = Server::start(options);
        works(&server).await;
        let s = create_sandbox(&server, Runtime::Docker.request()).await;
        let used = docker.run(&["inspect", "-f", "{{.HostConfig.Runtime}}", &docker.container(&s.id)]);
        assert_eq!(used, if name.is_empty() { "virtual" } else { name });
        // Only where a socket of ours reaches inside does it lead there.
        let socket = server.data_dir().join("docker/sandboxes").join(&s.id).join("agent.sock");
        assert_eq!(socket.exists(), name == "crun");
        s.delete().await;
    }
    let Err((_, log)) = Server::try_start(with(&docker, "container-runtime=runsc")) else { panic!("it started") };
    assert!(log.contains("no container runtime \"runsc\"; it has crun, ") && log.contains("virtual"), "{log}");
}

/// The user of a sandbox's process, as this host sees it.
async fn outside(server: &Server) -> String {
    let s = create_sandbox(server, Runtime::Docker.request()).await;
    let word = token();
    let mut running = s.session("").await.exec_text(&format!("id -u; sh -c 'sleep 1000; :' {word}")).await;
    running.until_out("0\n").await;
    let mut pids = Vec::new();
    within::until("a process inside", async || {
        pids = host::with_argument(&format!("sleep 1000; : {word}"));
        !pids.is_empty()
    })
    .await;
    let status = fs::read_to_string(format!("/proc/{}/status", pids[0])).expect("it lives");
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("its users").split_whitespace().next();
    s.delete().await;
    user.expect("a user").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn root_inside_is_nobody_outside() {
    let docker = Docker::own(&["--userns-remap=nobody:nogroup"]);
    let server = Server::start(docker.options());
    works(&server).await;
    assert!(!is_warned(&server).await);
    assert_eq!(outside(&server).await, "500000");
    // The image's own user too, who is let into nothing by being root.
    let name = format!("sandshell-test/{}", token());
    let container = docker.run(&["create", BUSYBOX, "/bin/sh"]);
    docker.run(&["commit", "-c", "USER 1234:56", &container, &name]);
    let s = create_sandbox(&server, v1::CreateSandboxRequest { image: name, ..Default::default() }).await;
    s.session("").await.run("busybox id -u; busybox id -g").await.expect("1234\n56\n", "", 0);
    s.delete().await;
    // The operator may give it up for a server's containers, and is told so.
    let server = Server::start(with(&docker, "userns=host"));
    works(&server).await;
    assert!(is_warned(&server).await);
    assert_eq!(outside(&server).await, "0");
}
