//! On a Docker daemon a sandbox is any image, as it is: its directory, environment and user are respected, it needs nothing
//! but a shell, and what is not there is pulled.

use crate::kit::{
    Running, Runtime, Server, create_sandbox,
    docker::{self, options_from_elsewhere, shared_docker, shared_server},
    errors::expect_error,
    registry::{Registry, made},
    token, v1, within,
};
use std::process::Command;
use tonic::Code;

fn image(name: &str) -> v1::CreateSandboxRequest {
    v1::CreateSandboxRequest { image: name.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_shell_is_enough() {
    let s = create_sandbox(shared_server(), image(docker::BUSYBOX)).await;
    assert_eq!((s.described.working_directory.as_str(), s.described.runtime.as_str()), ("/", "docker"));
    let session = s.session("").await;
    session.run("cd /tmp 2>/dev/null || cd /bin; A=1").await.expect("", "", 0);
    session.run("echo $A; busybox id -u; busybox ls /bin").await.expect("1\n0\nbusybox\nsh\n", "", 0);
    session.run("kill -9 $$").await;
    session.alive().await;
}

#[tokio::test]
async fn its_environment_directory_and_user_are_respected() {
    let name = made(&["-c", "ENV WHO=world GREETING=hello", "-c", "WORKDIR /srv/app", "-c", "USER 1234:56"]);
    let mut request = image(&name);
    request.env.insert("WHO".into(), "everybody".into());
    let s = create_sandbox(shared_server(), request).await;
    assert_eq!(s.described.working_directory, "/srv/app");
    let session = s.session("").await;
    assert_eq!(session.described.working_directory, "/srv/app");
    session.run("pwd; echo $GREETING $WHO; busybox id -u; busybox id -g").await.expect(
        "/srv/app\nhello everybody\n1234\n56\n",
        "",
        0,
    );
    let told = s.clients.sandboxes.clone().get_sandbox(v1::GetSandboxRequest { sandbox_id: s.id.clone() }).await;
    assert_eq!(told.expect("it is there").into_inner().working_directory, "/srv/app");
}

/// The agent is the first process, so nothing else of the image's runs by itself, and its volumes go with the sandbox.
#[tokio::test]
async fn its_entrypoint_and_health_check_do_not_run() {
    let name = made(&[
        "-c",
        "ENTRYPOINT [\"/bin/busybox\", \"false\"]",
        "-c",
        "HEALTHCHECK --interval=1s CMD busybox touch /checked",
        "-c",
        "VOLUME /data",
    ]);
    let docker = shared_docker();
    let s = create_sandbox(shared_server(), image(&name)).await;
    s.run("echo kept >/data/file; busybox cat /data/file").await.expect("kept\n", "", 0);
    let of = |format: &str| docker.run(&["inspect", "-f", format, &docker.container(&s.id)]);
    assert_eq!(of("{{.Config.Healthcheck.Test}}"), "[NONE]");
    let volume = of("{{range .Mounts}}{{if eq .Destination \"/data\"}}{{.Name}}{{end}}{{end}}");
    assert!(docker.try_run(&["volume", "inspect", &volume]).status.success(), "{volume:?}");
    s.delete().await;
    assert!(!docker.try_run(&["volume", "inspect", &volume]).status.success(), "{volume} is left");
}

#[tokio::test]
async fn what_cannot_be_had_is_said() {
    let mut clients = shared_server().connect().await;
    let mut refusal =
        async |name: &str| clients.sandboxes.create_sandbox(image(name)).await.expect_err("no such image");
    let status = within("a refusal", refusal("")).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    for name in ["../x", "/etc", "a b"] {
        expect_error(&within("a refusal", refusal(name)).await, Code::NotFound, "IMAGE_NOT_FOUND");
    }
    // No registry answers in the daemon's own network.
    let status = within("a refusal", refusal("localhost:9/nosuch")).await;
    expect_error(&status, Code::Unavailable, "RUNTIME_UNREACHABLE");
    assert!(status.message().contains("localhost:9/nosuch"), "{status:?}");
}

#[tokio::test]
async fn another_platform_is_refused() {
    let (ours, name) = (made(&[]), format!("sandshell-test/{}", token()));
    // The same image with another word about itself.
    let script = "cd $(mktemp -d) && docker save $1 | tar -x && sed -i s/amd64/s390x/ *.json && \
                  sed -i s,$1:,$2:, manifest.json && tar -c * | docker load";
    let output = Command::new("sh")
        .args(["-ec", script, "sh", &ours, &name])
        .env("DOCKER_HOST", shared_docker().host())
        .output()
        .expect("sh");
    assert!(output.status.success(), "{output:?}");
    let status =
        shared_server().connect().await.sandboxes.create_sandbox(image(&name)).await.expect_err("it is foreign");
    expect_error(&status, Code::FailedPrecondition, "NOT_SUPPORTED_BY_HOST");
    assert!(status.message().contains("linux/s390x"), "{status:?}");
}

#[tokio::test]
async fn the_operator_says_which() {
    let mut options = shared_docker().options();
    options.args.extend(["--allow-image", "sandshell-test/bus*"].map(str::to_owned));
    let server = Server::start(options);
    create_sandbox(&server, image(docker::BUSYBOX)).await.run("echo yes").await.expect("yes\n", "", 0);
    let status = server.connect().await.sandboxes.create_sandbox(image(docker::DEBIAN)).await.expect_err("not allowed");
    expect_error(&status, Code::FailedPrecondition, "NOT_ALLOWED");
}

#[tokio::test]
async fn the_hosts_network_is_the_daemons() {
    let mut options = shared_docker().options();
    options.args.push("--allow-host-network".to_owned());
    let server = Server::start(options);
    let network = Some(v1::Network { mode: v1::network::Mode::Host.into() });
    let s = create_sandbox(&server, v1::CreateSandboxRequest { network, ..Runtime::Docker.request() }).await;
    let outside = shared_docker().beside("readlink").arg("/proc/self/ns/net").output().expect("readlink").stdout;
    s.run("readlink /proc/self/ns/net").await.expect(outside, "", 0);
}

#[tokio::test]
async fn an_image_removed_in_use_harms_nobody() {
    let name = made(&["-c", "ENV A=1"]);
    let s = create_sandbox(shared_server(), image(&name)).await;
    shared_docker().run(&["rmi", "-f", &name]);
    s.run("echo $A; busybox true").await.expect("1\n", "", 0);
    s.delete().await;
}

#[tokio::test]
async fn an_absent_one_is_pulled() {
    let registry = Registry::start();
    let name = registry.name(&registry.take(&made(&["-c", "ENV FROM=registry"])).await);
    let server = shared_server();
    create_sandbox(server, image(&name)).await.run("echo $FROM").await.expect("registry\n", "", 0);
    let absent = image(&format!("{name}2"));
    let status = server.connect().await.sandboxes.create_sandbox(absent).await.expect_err("not there");
    expect_error(&status, Code::NotFound, "IMAGE_NOT_FOUND");
    shared_docker().run(&["rmi", "-f", &name]);
}

#[tokio::test]
async fn a_daemon_elsewhere_works_as_well() {
    let options = options_from_elsewhere().await;
    let server = tokio::task::spawn_blocking(move || Server::start(options)).await.expect("a server");
    let s = create_sandbox(&server, Runtime::Docker.request()).await;
    let session = s.session("/bin/bash").await;
    session.run("cd /usr; A=1").await.expect("", "", 0);
    session.run("echo $A $PWD; echo e >&2; (exit 3)").await.expect("1 /usr\n", "e\n", 3);
    let got = session.run("seq 1 100000").await;
    assert_eq!(got.out().lines().count(), 100_000);
    let mut running: Running = session.exec_text("echo a; sleep 0.2; echo b").await;
    running.until_out("a\n").await;
    running.finish().await.expect("a\nb\n", "", 0);
    // Whoever is inside cannot speak in the server's place.
    let inside = "/usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_UNIX); s.connect(\"/run/sandshell/agent.sock\"); s.settimeout(5)
try:
    s.send(b\"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\" + bytes(9)); print(len(s.recv(100)))
except OSError: print(0)
'";
    session.run(inside).await.expect("0\n", "", 0);
    s.delete().await;
    assert_eq!(shared_docker().container(&s.id), "");
    tokio::task::spawn_blocking(move || drop(server)).await.expect("its end");
}
