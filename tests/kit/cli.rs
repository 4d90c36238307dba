//! `sandshell` as somebody at a terminal uses it.

use super::{
    server::BINARY,
    within::{USUAL, ask_until},
};
use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::{self, JoinHandle},
};

/// Runs `sandshell` and waits for its end, which must come by itself. Nothing of our own environment names a server.
pub fn sandshell(arguments: &[&str]) -> Output {
    sandshell_with(arguments, &[])
}

/// The same, with more environment.
pub fn sandshell_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = program(arguments);
    command.envs(environment.iter().copied());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sandshell starts");
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let status = wait(&mut child, arguments);
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// `sandshell` with these arguments, to be started.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for name in ["SANDSHELL_SERVER", "SANDSHELL_KEY", "SANDSHELL_CA", "SANDSHELL_DATABASE"] {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs `sandshell`, which must succeed, and gives what it printed.
#[track_caller]
pub fn prints(arguments: &[&str]) -> String {
    let output = sandshell(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`sandshell {arguments:?}` failed; it said: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// What `sandshell doctor` says of the data directory of the `linux` runtime: to machines, and to people.
#[track_caller]
pub fn doctor(data_dir: &Path) -> (serde_json::Value, String) {
    let arguments = ["doctor", "--runtime", "linux", "--data-dir", data_dir.to_str().expect("a plain path")];
    let said = prints(&[&arguments[..], &["--json"]].concat());
    let said = serde_json::from_str::<serde_json::Value>(&said).expect("JSON");
    (said[0]["data"].clone(), prints(&arguments))
}

/// Runs `sandshell`, which must fail and say all of these words on stderr only.
#[track_caller]
pub fn refuses(arguments: &[&str], named: &[&str]) {
    let output = sandshell(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "`sandshell {arguments:?}` ended well");
    for word in named {
        assert!(said.contains(word), "`sandshell {arguments:?}` should name {word:?}, and says: {said}");
    }
    assert!(output.stdout.is_empty(), "complaints go to stderr");
    assert!(!said.contains("panicked"), "{said}");
}

/// A new key of a tenant, in the database of this data directory.
#[track_caller]
pub fn make_key(data_dir: &Path, tenant: &str) -> String {
    let key = prints(&["key", "create", "--tenant", tenant, "--data-dir", data_dir.to_str().unwrap()]);
    let key = key.strip_suffix('\n').expect("a line");
    assert!(key.starts_with("ssk_") && !key.contains(char::is_whitespace), "nothing but the key: {key:?}");
    key.to_owned()
}

fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("a pipe");
    thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).expect("what it said");
        all
    })
}

fn wait(child: &mut Child, arguments: &[&str]) -> std::process::ExitStatus {
    ask_until(USUAL, || child.try_wait().unwrap()).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("`sandshell {arguments:?}` did not end by itself")
    })
}
