//! Starting: a sandbox with its first command, a session, and what else starts an isolated command.

use crate::{
    Options,
    report::{Samples, Table},
    server::Server,
};
use sandshell::api::v1::{CreateVolumeRequest, DeleteVolumeRequest, exec_start::Target};
use std::{process::Command, time::Instant};

/// The same namespaces as a sandbox has, and nothing else of it: no own root file system, no limits, no seccomp.
const BWRAP: &[&str] = &[
    "bwrap",
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "true",
];

pub(crate) async fn measure(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.client.clone();
    let [mut direct, mut with_volume, mut with_session, mut session, mut delete, mut bwrap] =
        std::array::from_fn(|_| Samples::default());
    let volume = CreateVolumeRequest { name: "bench".to_owned(), ..Default::default() };
    client.volumes.create_volume(volume).await.unwrap();
    for _ in 0..options.samples(200) {
        let start = Instant::now();
        let sandbox = client.create_sandbox().await;
        client.run(Target::SandboxId(sandbox.clone()), "true").await;
        direct.push(start.elapsed());

        let start = Instant::now();
        client.create_session(&sandbox).await;
        session.push(start.elapsed());

        let start = Instant::now();
        client.delete_sandbox(sandbox).await;
        delete.push(start.elapsed());

        let start = Instant::now();
        let sandbox = client.create_sandbox().await;
        let first = client.create_session(&sandbox).await;
        client.run_in(&first.session_id, "true").await;
        with_session.push(start.elapsed());
        client.delete_sandbox(sandbox).await;

        let start = Instant::now();
        let sandbox = client.create_sandbox_with("bench").await;
        client.run(Target::SandboxId(sandbox.clone()), "true").await;
        with_volume.push(start.elapsed());
        client.delete_sandbox(sandbox).await;

        bwrap.push(time_of(BWRAP));
    }
    client.volumes.delete_volume(DeleteVolumeRequest { volume: "bench".to_owned() }).await.unwrap();
    let beside = Some(("bwrap … true", &bwrap));
    table.times("create a sandbox and run its first command", &direct, beside);
    table.times("create a sandbox with a volume and run its first command", &with_volume, Some(("without", &direct)));
    table.times("create a sandbox and a session, and run its first command", &with_session, beside);
    table.times("create a session", &session, None);
    table.times("delete a sandbox", &delete, None);
}

/// The last of all measurements: the files are removed behind, which takes seconds, and would be beside what comes after.
pub(crate) async fn delete_full(server: &Server, options: &Options, table: &mut Table) {
    let mut client = server.client.clone();
    let [mut delete, mut empty] = std::array::from_fn(|_| Samples::default());
    for _ in 0..options.samples(10) {
        let sandbox = client.create_sandbox().await;
        client.run(Target::SandboxId(sandbox.clone()), "true").await;
        let start = Instant::now();
        client.delete_sandbox(sandbox).await;
        empty.push(start.elapsed());

        let sandbox = client.create_sandbox().await;
        let fill = "for d in range(100):\n os.mkdir(f'{d}')\n for f in range(1000): open(f'{d}/{f}', 'w').close()";
        client.execute(&sandbox, &["python3", "-c", &format!("import os\n{fill}")]).await;
        let start = Instant::now();
        client.delete_sandbox(sandbox).await;
        delete.push(start.elapsed());
    }
    table.times("delete a sandbox with 100,000 files", &delete, Some(("an empty one", &empty)));
}

/// How long a program takes from start to end.
pub(crate) fn time_of(program: &[&str]) -> std::time::Duration {
    let start = Instant::now();
    let status = Command::new(program[0]).args(&program[1..]).status().unwrap();
    assert!(status.success(), "{program:?}: {status}");
    start.elapsed()
}
