//! The Docker runtime beside Docker itself, on a daemon that `DOCKER_HOST` names: the image is busybox's, made on the spot.

use crate::{
    Options,
    create::time_of,
    report::{Samples, Table},
    server::Server,
};
use sandshell::api::v1::exec_start::Target;
use std::{
    process::{Command, Stdio},
    time::Instant,
};

const IMAGE: &str = "sandshell-bench/busybox";

pub(crate) async fn measure(options: &Options, table: &mut Table) {
    if !make_image() {
        eprintln!("  no Docker daemon answers (DOCKER_HOST): not measured");
        return;
    }
    let server = Server::start_with(&["--runtime", "docker"]).await;
    let mut client = server.client.clone();
    client.image = IMAGE.to_owned();
    let [mut create, mut plain, mut run, mut exec] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(20) {
        let start = Instant::now();
        let sandbox = client.create_sandbox().await;
        client.run(Target::SandboxId(sandbox.clone()), "true").await;
        create.push(start.elapsed());
        client.delete_sandbox(sandbox).await;

        let start = Instant::now();
        let id = docker(&["run", "-d", "--network", "none", IMAGE, "/bin/busybox", "sleep", "1000"]);
        docker(&["exec", &id, "/bin/busybox", "true"]);
        plain.push(start.elapsed());
        docker(&["rm", "-f", &id]);
    }
    table.times(
        "docker: create a sandbox and run its first command",
        &create,
        Some(("docker run -d; docker exec", &plain)),
    );

    let sandbox = client.create_sandbox().await;
    let session = client.create_session(&sandbox).await.session_id;
    let id = docker(&["run", "-d", "--network", "none", IMAGE, "/bin/busybox", "sleep", "1000"]);
    for _ in 0..options.samples(50) {
        for _ in 0..20 {
            let start = Instant::now();
            client.run_in(&session, "true").await;
            run.push(start.elapsed());
        }
        exec.push(time_of(&["docker", "exec", &id, "/bin/busybox", "true"]));
    }
    table.times("docker: `Run(\"true\")` in a session", &run, Some(("docker exec", &exec)));
    docker(&["rm", "-f", &id]);
    client.delete_sandbox(sandbox).await;
    server.stop();
    docker(&["rmi", "-f", IMAGE]);
}

fn make_image() -> bool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/busybox");
    let import = format!("docker version >/dev/null && {script} | docker import - {IMAGE}");
    Command::new("sh").args(["-c", &import]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
