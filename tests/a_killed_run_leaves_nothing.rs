//! `sandshell run` that is killed, and so cannot clear up, leaves nothing all the same.

use crate::kit::{Runtime, cli::program, docker::shared_docker, host, token, within};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

crate::in_every_runtime!(whenever_it_is_killed, before_it_has_a_sandbox);

/// A run in a temporary directory of its own, which prints a line when its command has begun.
fn run(on: Runtime, dir: &Path, word: &str) -> std::process::Child {
    let mut command = program(&["run", "--image", &on.image()]);
    command.args(on.options().args).envs(on.options().env).env("TMPDIR", dir);
    command.arg(format!("echo up; sh -c 'sleep 1000; :' {word} & sleep 1000"));
    command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().expect("sandshell starts")
}

/// Waits until nothing of a run is left, wherever one looks.
async fn expect_nothing(dir: &Path, word: &str, instance: Option<String>) {
    within::until("the end of its processes", async || host::with_argument(word).is_empty()).await;
    let name = dir.to_string_lossy().into_owned();
    within::until("the end of its helpers", async || host::with_argument(&name).is_empty()).await;
    let left: Vec<_> = fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(host::mounts_with(&name), [""; 0]);
    if let Some(instance) = instance {
        assert_eq!(host::cgroups_with(&instance), [""; 0]);
        let filter = format!("label=sandshell.instance={instance}");
        assert_eq!(shared_docker().run(&["ps", "-aq", "--filter", &filter]), "");
    }
}

/// The word of a run towards the rest of the host, which all that it makes there bears.
fn instance(dir: &Path) -> Option<String> {
    let own = fs::read_dir(dir).ok()?.flatten().next()?.path();
    ["instance", "docker/instance"].iter().find_map(|file| fs::read_to_string(own.join(file)).ok())
}

async fn whenever_it_is_killed(on: Runtime) {
    let (dir, word) = (tempfile::tempdir().expect("a directory"), token());
    let mut child = run(on, dir.path(), &word);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "up");
    let instance = instance(dir.path());
    assert!(instance.is_some(), "what it makes has a name");
    child.kill().expect("it ran");
    child.wait().expect("its end");
    expect_nothing(dir.path(), &word, instance).await;
}

async fn before_it_has_a_sandbox(on: Runtime) {
    for _ in 0..5 {
        let (dir, word) = (tempfile::tempdir().expect("a directory"), token());
        let mut child = run(on, dir.path(), &word);
        // Not a wait for something: any moment of its start.
        tokio::time::sleep(std::time::Duration::from_millis(u64::from(word.as_bytes()[0]))).await;
        let instance = instance(dir.path());
        child.kill().expect("it ran");
        child.wait().expect("its end");
        expect_nothing(dir.path(), &word, instance).await;
    }
}
