//! The Docker runtime beside Docker itself, on a daemon that `DOCKER_HOST` names: the images are made on the spot.

use crate::{
    Options,
    create::time_of,
    hostile, processes,
    report::{Samples, Table},
    server::{Client, Server},
};
use bollard::{
    Docker,
    exec::{StartExecOptions, StartExecResults},
    models::{ContainerCreateBody, ExecConfig, HostConfig},
    query_parameters::{CreateContainerOptions, RemoveContainerOptionsBuilder},
};
use futures_util::StreamExt;
use sandshell::api::v1::exec_start::Target;
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const IMAGE: &str = "sandshell-bench/busybox";
/// One with Python.
const DEBIAN: &str = "sandshell-bench/debian";
const TRUE: [&str; 2] = ["/bin/busybox", "true"];

pub(crate) async fn measure(options: &Options, table: &mut Table) {
    let (itself, hostile) = (options.wants("docker"), options.wants("docker hostile"));
    if !itself && !hostile {
        return;
    }
    if !make_images() {
        eprintln!("  no Docker daemon answers (DOCKER_HOST): not measured");
        return;
    }
    let plain = Docker::connect_with_defaults().unwrap().negotiate_version().await.unwrap();
    let server = Server::start_with(&["--runtime", "docker"]).await;
    let mut client = server.client.clone();
    if itself {
        client.image = IMAGE.to_owned();
        creation(&mut client, &plain, options, table).await;
        commands(&mut client, &plain, options, table).await;
        memory(&mut client, options, table).await;
    }
    if hostile {
        client.image = DEBIAN.to_owned();
        hostile::measure(&server, client, "docker: ", options.quick, table).await;
    }
    server.stop();
    let removed = Command::new("docker").args(["rmi", "-f", IMAGE, DEBIAN]).stdout(Stdio::null()).status();
    assert!(removed.is_ok_and(|status| status.success()));
}

async fn creation(client: &mut Client, plain: &Docker, options: &Options, table: &mut Table) {
    let [mut ours, mut theirs] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(50) {
        let start = Instant::now();
        let sandbox = client.create_sandbox().await;
        client.run(Target::SandboxId(sandbox.clone()), "true").await;
        ours.push(start.elapsed());
        client.delete_sandbox(sandbox).await;

        let start = Instant::now();
        let container = start_container(plain).await;
        exec(plain, &container).await;
        theirs.push(start.elapsed());
        remove(plain, &container).await;
    }
    let beside = Some(("create, start, first exec by Docker's API", &theirs));
    table.times("docker: create a sandbox and run its first command", &ours, beside);
}

async fn commands(client: &mut Client, plain: &Docker, options: &Options, table: &mut Table) {
    let sandbox = client.create_sandbox().await;
    let session = client.create_session(&sandbox).await.session_id;
    let container = start_container(plain).await;
    let [mut run, mut docker_exec, mut api_exec] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(50) {
        for _ in 0..20 {
            let start = Instant::now();
            client.run_in(&session, "true").await;
            run.push(start.elapsed());
        }
        docker_exec.push(time_of(&[&["docker", "exec", &container][..], &TRUE].concat()));
        let start = Instant::now();
        exec(plain, &container).await;
        api_exec.push(start.elapsed());
    }
    table.times("docker: `Run(\"true\")` in a session", &run, Some(("docker exec", &docker_exec)));
    table.times("docker: the same", &run, Some(("an exec by Docker's API", &api_exec)));
    remove(plain, &container).await;
    client.delete_sandbox(sandbox).await;
}

/// What is in the containers; Docker's own processes are outside of them.
async fn memory(client: &mut Client, options: &Options, table: &mut Table) {
    let count = options.samples(50);
    let before = processes::in_sandboxes();
    let mut sandboxes = vec![client.create_sandbox().await];
    measure_each("docker: memory of an idle sandbox alone, beyond Docker's own (PSS)", &before, 1, table).await;
    for _ in 1..count {
        sandboxes.push(client.create_sandbox().await);
    }
    measure_each(&format!("docker: memory of each of {count}"), &before, count, table).await;
    for sandbox in &sandboxes {
        let session = client.create_session(sandbox).await.session_id;
        client.run_in(&session, "true").await;
    }
    measure_each(&format!("docker: memory of each of {count} with a shell"), &before, count, table).await;
    for sandbox in sandboxes {
        client.delete_sandbox(sandbox).await;
    }
}

async fn measure_each(what: &str, before: &processes::Pids, count: usize, table: &mut Table) {
    // They are idle once they had nothing to do for a while.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let inside: processes::Pids = processes::in_sandboxes().difference(before).copied().collect();
    let mib = processes::memory_kib(&inside) as f64 / count as f64 / 1024.0;
    let note = format!("{:.1} processes each", inside.len() as f64 / count as f64);
    table.number(what, &format!("{mib:.2} MiB"), &note);
}

fn make_images() -> bool {
    let (scripts, kept) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker"), env!("CARGO_TARGET_TMPDIR"));
    let import = format!(
        "docker version >/dev/null && {scripts}/busybox | docker import - {IMAGE} && \
         docker import \"$({scripts}/debian {kept})\" {DEBIAN}"
    );
    Command::new("sh").args(["-c", &import]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A container that waits, with as much network as a sandbox.
async fn start_container(docker: &Docker) -> String {
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec()),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    docker.start_container(&id, None).await.unwrap();
    id
}

async fn exec(docker: &Docker, container: &str) {
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(TRUE.map(str::to_owned).to_vec()),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(container, config).await.unwrap().id;
    match docker.start_exec(&id, None::<StartExecOptions>).await.unwrap() {
        // Its end is the command's.
        StartExecResults::Attached { mut output, .. } => while output.next().await.is_some() {},
        StartExecResults::Detached => panic!("not attached"),
    }
    assert_eq!(docker.inspect_exec(&id).await.unwrap().exit_code, Some(0));
}

async fn remove(docker: &Docker, container: &str) {
    let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    docker.remove_container(container, Some(force)).await.unwrap();
}
