//! `sandshell run` gives commands to one session and behaves as a program that ran them should.

use crate::kit::{Options, Server, USUAL, host, server::BINARY, shared, token, v1, within};
use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env_remove("SANDSHELL_SERVER")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    let mut child = command(&[&["run"], arguments].concat()).spawn().expect("sandshell starts");
    // Read while it runs, so that much output does not block it.
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stdout = std::thread::spawn(move || {
        let mut all = Vec::new();
        out.read_to_end(&mut all).map(|_| all)
    });
    let stderr = std::thread::spawn(move || {
        let mut all = Vec::new();
        err.read_to_end(&mut all).map(|_| all)
    });
    let status = wait(&mut child, &format!("sandshell run {arguments:?}"));
    Output { status, stdout: stdout.join().unwrap().unwrap(), stderr: stderr.join().unwrap().unwrap() }
}

fn wait(child: &mut Child, what: &str) -> std::process::ExitStatus {
    within::ask_until(USUAL * 2, || child.try_wait().unwrap()).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("{what} did not end")
    })
}

#[track_caller]
fn expect(output: &Output, stdout: &[u8], stderr: &[u8], code: i32) {
    let right = output.stdout == stdout && output.stderr == stderr && output.status.code() == Some(code);
    assert!(
        right,
        "wanted code {code}, {:?} and {:?}; got {output:?}",
        crate::kit::show(stdout),
        crate::kit::show(stderr)
    );
}

#[test]
fn state_is_carried() {
    expect(&run(&["cd /usr", "pwd"]), b"/usr\n", b"", 0);
    expect(&run(&["export A=1; B=2; f() { echo fn; }", "echo $A $B; f", "cd /tmp", "pwd"]), b"1 2\nfn\n/tmp\n", b"", 0);
    expect(&run(&["exit 3", "echo on"]), b"on\n", b"", 0);
}

#[test]
fn the_last_ones_exit_code_is_its_own() {
    expect(&run(&["true"]), b"", b"", 0);
    expect(&run(&["(exit 7)"]), b"", b"", 7);
    expect(&run(&["false", "true"]), b"", b"", 0);
    expect(&run(&["true", "exit 4"]), b"", b"", 4);
    // What dash says of it is on stderr.
    assert_eq!(run(&["sh -c 'kill -9 $$'"]).status.code(), Some(137));
    expect(&run(&["kill -9 $$"]), b"", b"", 137);
}

#[test]
fn each_command_is_an_object_for_machines() {
    let got = run(&["--json", "cd /usr; echo o; echo e >&2; (exit 3)", "printf '\\377'", "kill -9 $$"]);
    let all: Vec<serde_json::Value> =
        String::from_utf8_lossy(&got.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(all.len() == 3 && got.status.code() == Some(137), "{got:?}");
    let first = &all[0];
    assert_eq!((&first["stdout"], &first["stderr"]), (&"o\n".into(), &"e\n".into()));
    assert_eq!((&first["exit_code"], &first["reason"]), (&3.into(), &"exited".into()));
    assert_eq!(first["working_directory"], "/usr");
    assert!(first["duration_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{first}");
    let (sandbox, session, command) = (&first["sandbox_id"], &first["session_id"], &first["command_id"]);
    let begins = |id: &serde_json::Value, with: &serde_json::Value| {
        id.as_str().is_some_and(|id| id.starts_with(&format!("{}/", with.as_str().unwrap_or("?"))))
    };
    assert!(begins(session, sandbox) && begins(command, session), "{first}");
    assert_eq!(first["stdout_truncated"], false);
    assert_eq!(all[1]["stdout"], "\u{fffd}");
    assert_eq!((&all[2]["shell_exited"], &all[2]["signal"]), (&true.into(), &9.into()));
    // More than is kept of it.
    let got = run(&["--json", "head -c 17000000 /dev/zero | tr '\\0' x"]);
    let only: serde_json::Value = serde_json::from_slice(&got.stdout).expect("JSON");
    assert_eq!((only["stdout"].as_str().map(str::len), &only["stdout_truncated"]), (Some(16 << 20), &true.into()));
    assert_eq!(only["exit_code"], 0);
}

#[test]
fn outputs_are_apart_and_exact() {
    expect(&run(&["echo o; echo e >&2", "printf x"]), b"o\nx", b"e\n", 0);
    expect(&run(&[r"printf '\000\377\r\n\033[31m'"]), b"\0\xff\r\n\x1b[31m", b"", 0);
    let all = crate::kit::expected::seq(500_000);
    expect(&run(&["seq 1 500000"]), &all, b"", 0);
}

#[test]
fn output_is_live() {
    let mut child = command(&["run", "echo first; sleep 1000"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first", "while the command still runs");
    assert!(child.try_wait().unwrap().is_none());
    host::signal(child.id(), libc::SIGINT);
    let status = wait(&mut child, "an interrupted run");
    assert!(!status.success(), "{status}");
}

/// A private server goes with the command, in whichever way that ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_left_of_a_private_server() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let word = token();
        let mut child =
            command(&["run", &format!("echo up; sh -c 'trap \"\" INT TERM HUP; while :; do sleep 0.2; done' {word}")])
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        host::signal(child.id(), signal);
        // A person who is asked to wait presses again.
        std::thread::sleep(Duration::from_millis(100));
        host::signal(child.id(), signal);
        tokio::task::spawn_blocking(move || wait(&mut child, "a signalled run")).await.unwrap();
        within::until("the end of all that it started", async || {
            host::with_argument(&word).into_iter().all(|pid| host::arguments(pid).contains("sandshell run"))
        })
        .await;
    }
    let word = token();
    run(&[&format!("setsid sh -c 'sleep 1000; :' {word} &")]);
    assert_eq!(host::with_argument(&word).len(), 0);
}

#[test]
fn an_interrupt_cancels_the_command_that_runs() {
    let mut child = command(&["run", "echo up; sleep 1000; echo no", "echo next"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    host::signal(child.id(), libc::SIGINT);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    wait(&mut child, "an interrupted run");
    assert!(!rest.contains("no\n"), "{rest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_named_server_is_used_and_left_as_it_was() {
    let server = Server::start(Options::default());
    for address in [server.url(), server.address().to_owned()] {
        let output = tokio::task::spawn_blocking(move || run(&["--server", &address, "cd /usr", "pwd; (exit 5)"]))
            .await
            .unwrap();
        expect(&output, b"/usr\n", b"", 5);
    }
    let listed = server
        .connect()
        .await
        .sandboxes
        .list_sandboxes(v1::ListSandboxesRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(listed.sandboxes.is_empty(), "its sandbox was left there: {listed:?}");
}

#[test]
fn mistakes_are_told() {
    for (arguments, named) in [
        (&["--image", "nosuch", "true"][..], "nosuch"),
        (&["--image", "/no/such/root", "true"], "/no/such/root"),
        (&["--server", "http://127.0.0.1:1", "true"], "127.0.0.1:1"),
        (&["--shell", "fish", "true"], "fish"),
        (&["--server", shared().address(), "--image", "nosuch", "true"], "nosuch"),
        (&["--nonsense", "true"], "--nonsense"),
        (&[], "COMMAND"),
    ] {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
        assert!(said.contains(named), "{arguments:?} should name {named}: {said}");
        assert!(!said.contains("panicked") && said.lines().count() < 20, "{said}");
    }
}

#[test]
fn a_shell_that_is_not_there_is_named() {
    let output = command(&["shell", "--server", &shared().url(), "--shell", "my fish"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(127), "{said}");
    assert!(said.contains("there is no \"my fish\" in this sandbox; it has ") && said.contains("/bash"), "{said}");
}

#[test]
fn a_reader_that_leaves_ends_it() {
    let mut child = command(&["run", "yes"]).spawn().unwrap();
    let mut some = [0; 100];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    drop(child.stdout.take());
    wait(&mut child, "a run whose reader left");
}

#[test]
fn a_time_out_and_variables_can_be_given() {
    let output = run(&["--timeout", "1", "echo up; sleep 1000; echo no"]);
    assert!(output.stdout == b"up\n" && !output.status.success(), "{output:?}");
    expect(
        &run(&["--env", "A=x y", "--shell", "bash", "echo \"$A\"; echo ${BASH_VERSION:+bash}"]),
        b"x y\nbash\n",
        b"",
        0,
    );
}

/// Not on a terminal, `shell` reads commands from its input.
#[test]
fn a_shell_takes_commands_from_a_pipe() {
    let mut child = command(&["shell"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"cd /usr\npwd\nexit 5\n").unwrap();
    let status = wait(&mut child, "a shell with a script");
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!((out.as_str(), status.code()), ("/usr\n", Some(5)));
}
