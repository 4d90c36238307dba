//! `serve` starts only where it is safe, and says what is wrong otherwise.

use crate::kit::{Options, Server, server::BINARY};
use std::{
    io::Read,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Runs `sandshell` and waits for its end, which must come by itself.
fn sandshell(arguments: &[&str]) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sandshell starts");
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let mut said = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut said);
            panic!("`sandshell {arguments:?}` did not end by itself; it said: {said}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[track_caller]
fn refuses(arguments: &[&str], named: &[&str]) {
    let output = sandshell(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "`sandshell {arguments:?}` ended well");
    for word in named {
        assert!(said.contains(word), "`sandshell {arguments:?}` should name {word:?}, and says: {said}");
    }
    assert!(output.stdout.is_empty(), "complaints go to stderr");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn an_address_that_others_can_reach() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        refuses(&["serve", "--listen", address, "--data-dir", dir], &["--insecure"]);
    }
}

#[test]
fn options_that_make_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    refuses(&["serve", "--listen", "nowhere", "--data-dir", data], &["nowhere"]);
    refuses(&["serve", "--listen", "127.0.0.1:99999", "--data-dir", data], &["99999"]);
    refuses(&["serve", "--runtime", "nosuch", "--data-dir", data], &["nosuch", "linux"]);
    refuses(&["serve", "--config", "/no/such/file", "--data-dir", data], &["/no/such/file"]);
    refuses(&["serve", "--image-root", "/no/such/root", "--data-dir", data], &["/no/such/root"]);
    refuses(&["serve", "--data-dir", "/proc/nowhere"], &["/proc/nowhere"]);
    refuses(&["nonsense"], &["nonsense"]);
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "nonsense = 1\nlisten = 5\n").unwrap();
    // Every mistake at once.
    refuses(&["serve", "--config", config.to_str().unwrap(), "--data-dir", data], &["nonsense", "listen"]);
}

#[test]
fn a_data_directory_in_use() {
    let first = Server::start(Options::default());
    let dir = first.data_dir().to_str().unwrap().to_owned();
    refuses(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir], &[&dir]);
    // Free again, once that server has stopped.
    let own = tempfile::tempdir().unwrap();
    let options = Options { data_dir: Some(own.path().join("data")), ..Default::default() };
    Server::start(options.clone()).stop();
    Server::start(options).stop();
}

#[test]
fn a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    refuses(&["serve", "--listen", &address, "--data-dir", dir.path().to_str().unwrap()], &[&address]);
}

#[test]
fn what_it_is_and_can_do_is_told() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["run", "--help"], &["shell", "--help"], &["--version"]] {
        let output = sandshell(arguments);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}");
    }
    let help = String::from_utf8_lossy(&sandshell(&["--help"]).stdout).into_owned();
    for name in ["serve", "run", "shell"] {
        assert!(help.contains(name), "{help}");
    }
    assert!(!help.contains("agent"), "the agent is not for people: {help}");
}
