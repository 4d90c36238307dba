//! The options of `sandshell run`, `exec` and `shell` that say what the sandbox is to be, and how commands run in it.

use crate::kit::{
    Options, Server, USUAL,
    cli::{prints, program, refuses, sandshell},
    v1, within,
};
use std::{
    io::{Read, Write},
    process::{Output, Stdio},
};

/// What a program prints that reads this input.
fn fed(arguments: &[&str], input: &[u8]) -> Output {
    let mut child =
        program(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that reads nothing may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn a_run_reads_our_input() {
    let got = fed(&["run", "-i", "cat; (exit 3)"], b"a\0b\xff");
    assert_eq!((got.stdout.as_slice(), got.status.code()), (&b"a\0b\xff"[..], Some(3)), "{got:?}");
    // Of several commands the last one; those before it find their input at its end.
    let got = fed(&["run", "--stdin", "cat; cd /usr", "echo in $PWD; cat"], b"data\n");
    assert_eq!(got.stdout, b"in /usr\ndata\n", "{got:?}");
    let got = fed(&["run", "cat; echo nothing"], b"data\n");
    assert_eq!(got.stdout, b"nothing\n", "{got:?}");
    // More than anything between us holds, as it comes.
    let many = crate::kit::expected::seq(1_000_000);
    let feeding = many.clone();
    let mut child = program(&["run", "-i", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let feeder = std::thread::spawn(move || input.write_all(&feeding));
    let mut got = Vec::new();
    output.read_to_end(&mut got).unwrap();
    feeder.join().unwrap().unwrap();
    assert!(got == many && child.wait().unwrap().success());
}

/// It does not wait for an input that nobody ends.
#[test]
fn a_run_ends_with_its_command() {
    let mut child = program(&["run", "-i", "head -n 1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"first\nsecond\n").unwrap();
    let ended = within::ask_until(USUAL, || child.try_wait().unwrap());
    assert!(ended.is_some_and(|status| status.success()), "{:?}", child.kill());
    let mut got = String::new();
    child.stdout.take().unwrap().read_to_string(&mut got).unwrap();
    assert_eq!(got, "first\n");
    drop(input);
}

#[test]
fn commands_run_where_and_as_they_are_told() {
    let told = ["--cwd", "/usr", "--env", "A=x y", "--user", "nobody"];
    let text = "echo $PWD $A $(id -un)";
    assert_eq!(prints(&[&["run"][..], &told, &[text, text]].concat()), "/usr x y nobody\n/usr x y nobody\n");
    assert_eq!(prints(&[&["exec"][..], &told, &["sh", "-c", text]].concat()), "/usr x y nobody\n");
    let got = fed(&[&["shell"][..], &told].concat(), format!("{text}\n").as_bytes());
    assert_eq!(got.stdout, b"/usr x y nobody\n", "{got:?}");
    // The older name.
    assert_eq!(prints(&["exec", "--directory", "/usr", "pwd"]), "/usr\n");
    for timeout in ["0.5", "0.5s", "500ms"] {
        let got = sandshell(&["run", "--timeout", timeout, "sleep 1000"]);
        assert!(String::from_utf8_lossy(&got.stderr).contains("time was over"), "{got:?}");
    }
    refuses(&["run", "--timeout", "5 minutes", "true"], &["--timeout", "5m", "2h"]);
    refuses(&["run", "--cwd", "/no/such", "true"], &["/no/such"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_as_it_was_ordered_and_stays_when_asked() {
    let server = Server::start(Options::default());
    let url = server.url();
    let order = [
        "--memory",
        "64M",
        "--cpus",
        "0.5",
        "--processes",
        "50",
        "--label",
        "task=42",
        "--label",
        "who=me",
        "--ttl",
        "2h",
        "--network",
        "none",
        "--keep",
    ];
    for (command, work) in [("run", &["true"][..]), ("exec", &["true"]), ("shell", &[])] {
        let got = sandshell(&[&[command, "--server", &url][..], &order, work].concat());
        assert!(got.status.success(), "{got:?}");
        let request = v1::ListSandboxesRequest::default();
        let mut sandboxes = server.connect().await.sandboxes;
        let listed = sandboxes.list_sandboxes(request.clone()).await.unwrap().into_inner().sandboxes;
        let [sandbox] = listed.as_slice() else { panic!("{command}: {listed:?}") };
        let limits = sandbox.resources.unwrap_or_default();
        let limits = (limits.memory_bytes, limits.cpu_millis, limits.max_processes);
        assert_eq!(limits, (Some(64 << 20), Some(500), Some(50)), "{command}");
        assert_eq!((sandbox.labels["task"].as_str(), sandbox.labels["who"].as_str()), ("42", "me"));
        let (expires, created) = (sandbox.expire_time.unwrap(), sandbox.create_time.unwrap());
        // Its idle time would be over sooner, which `expire_time` then says.
        assert!(expires.seconds - created.seconds <= 7200, "{command}: {sandbox:?}");
        // It is said which one was kept, and how it goes.
        let id = &sandbox.sandbox_id;
        let said = String::from_utf8_lossy(&got.stderr).into_owned();
        assert!(said.contains(&format!("{id} is kept")) && said.contains(&format!("sandshell rm {id}")), "{said}");
        // It is worked in again, and left as it was.
        assert_eq!(prints(&["run", "--server", &url, "--sandbox", id, "echo again"]), "again\n");
        let sessions = |sandboxes: &str| sandboxes.matches("session_id").count();
        let before = sessions(&prints(&["ps", "--server", &url, "--json", id]));
        prints(&["run", "--server", &url, "--sandbox", id, "sleep 1000 &"]);
        assert_eq!(sessions(&prints(&["ps", "--server", &url, "--json", id])), before, "its session was closed");
        prints(&["run", "--server", &url, "--sandbox", id, "--keep", "sleep 1000 &"]);
        assert_eq!(sessions(&prints(&["ps", "--server", &url, "--json", id])), before + 1, "and this one was kept");
        prints(&["rm", "--server", &url, id]);
        assert!(sandboxes.list_sandboxes(request).await.unwrap().into_inner().sandboxes.is_empty());
    }
    // A time to live that is over sooner than the idle time.
    prints(&["run", "--server", &url, "--ttl", "90", "--keep", "true"]);
    let listed = server.connect().await.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await;
    let sandbox = listed.unwrap().into_inner().sandboxes.remove(0);
    assert_eq!(sandbox.expire_time.unwrap().seconds - sandbox.create_time.unwrap().seconds, 90);
    refuses(&["run", "--server", &url, "--network", "host", "true"], &["--allow-host-network"]);
}

#[test]
fn limits_hold_without_a_server_too() {
    assert_eq!(
        prints(&[
            "run",
            "--memory",
            "64M",
            "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
        ]),
        "67108864\n"
    );
    refuses(&["run", "--memory", "1X", "true"], &["--memory", "512M"]);
    refuses(&["run", "--memory", "1k", "true"], &["memory_bytes", "16777216"]);
    refuses(&["run", "--cpus", "0", "true"], &["--cpus", "1.5"]);
    refuses(&["run", "--label", "task", "true"], &["--label", "NAME=VALUE"]);
    // What nobody could find again is not kept.
    refuses(&["run", "--keep", "true"], &["--server"]);
    refuses(
        &["run", "--server", "127.0.0.1:1", "--sandbox", "sbx-1", "--memory", "64M", "true"],
        &["--memory", "--sandbox"],
    );
}
