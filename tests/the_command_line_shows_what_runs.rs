//! `sandshell ps`, `logs`, `stats`, `kill` and `rm`: what there is on a server, what it does, and its end.

use crate::kit::{
    Options, Sandbox, Server, Session,
    cli::{prints, refuses, sandshell},
    create_sandbox, v1, within,
};
use serde_json::Value;

/// A server with a sandbox that has the label `task=42`, one without labels, and a session in the first.
async fn kit() -> (Server, Sandbox, Sandbox, Session) {
    let server = Server::start(Options::default());
    let labels = [("task".to_owned(), "42".to_owned())].into();
    let labelled = create_sandbox(&server, v1::CreateSandboxRequest { labels, ..Default::default() }).await;
    let other = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let session = labelled.session("").await;
    (server, labelled, other, session)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&prints(&[arguments, &["--json"]].concat())).expect("JSON")
}

/// The words of each line.
fn words(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_sessions_and_commands_are_a_tree() {
    let (server, labelled, other, session) = kit().await;
    let url = server.url();
    let mut running = session.exec_text("cd /usr; echo up; sleep 1000\n: second line").await;
    running.until_out("up\n").await;
    let command = running.got.command_id.clone();
    let table = prints(&["ps", "--server", &url]);
    let lines = words(&table);
    assert_eq!(lines.len(), 5, "{table}");
    assert_eq!(
        (lines[1][0], lines[1][1], lines[1].last()),
        (labelled.id.as_str(), "running", Some(&"task=42")),
        "{table}"
    );
    assert_eq!((lines[2][0], lines[2][1]), (session.id.as_str(), "busy"), "{table}");
    assert_eq!((lines[3][0], lines[3][1]), (command.as_str(), "running"), "{table}");
    assert!(table.lines().nth(3).unwrap().ends_with(r"cd /usr; echo up; sleep 1000\n: second line"), "{table}");
    assert_eq!(lines[4][0], other.id, "{table}");
    // As deep as they are nested.
    let depth = |line: &str| line.len() - line.trim_start().len();
    assert_eq!(table.lines().map(depth).collect::<Vec<_>>(), [0, 0, 2, 4, 0], "{table}");

    let all = json(&["ps", "--server", &url]);
    assert_eq!(all.as_array().map(Vec::len), Some(2), "{all}");
    let first = &all[0];
    assert_eq!((&first["sandbox_id"], &first["labels"]["task"]), (&labelled.id.as_str().into(), &"42".into()));
    let shown = &first["sessions"][0];
    assert_eq!((&shown["session_id"], &shown["state"]), (&session.id.as_str().into(), &"busy".into()), "{all}");
    assert_eq!(shown["running_command"]["command_id"], command.as_str(), "{all}");
    assert_eq!((&all[1]["sessions"], &all[1]["problem"]), (&Value::Array(Vec::new()), &Value::Null), "{all}");

    // A part of it.
    for arguments in [&["ps", "--server", &url, "--label", "task=42"][..], &["ps", "--server", &url, &labelled.id]] {
        let table = prints(arguments);
        assert!(table.contains(&command) && !table.contains(&other.id), "{table}");
    }
    assert_eq!(words(&prints(&["ps", "--server", &url, "--label", "task=43"])).len(), 1);
    // The processes of a session, as before.
    assert!(prints(&["ps", "--server", &url, &session.id]).contains("sleep 1000"));
    refuses(&["ps", "--server", &url, "sbx-nope"], &["sandbox \"sbx-nope\" was not found"]);

    // A command is cancelled by its id.
    refuses(&["kill", "--server", &url, &session.id], &["give a PID", "sandshell ps"]);
    prints(&["kill", "--server", &url, &command]);
    assert_eq!(running.finish().await.reason(), v1::exited::Reason::Cancelled);
    assert!(prints(&["ps", "--server", &url, &labelled.id]).contains(" in /usr"));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_can_be_read_again_and_followed() {
    let (server, labelled, _, session) = kit().await;
    let url = server.url();
    let over = session.run("echo o; echo e >&2; (exit 3)").await.command_id;
    let logs = |more: &[&str]| sandshell(&[&["logs", "--server", &url], more].concat());
    let got = logs(&[&over]);
    assert_eq!((got.stdout.as_slice(), got.stderr.as_slice(), got.status.code()), (&b"o\n"[..], &b"e\n"[..], Some(0)));
    let got = logs(&["--follow", &over]);
    assert_eq!((got.stdout.as_slice(), got.status.code()), (&b"o\n"[..], Some(3)), "{got:?}");
    let object = json(&["logs", "--server", &url, &over]);
    assert_eq!((&object["stdout"], &object["stderr"], &object["exit_code"]), (&"o\n".into(), &"e\n".into(), &3.into()));
    assert_eq!(object["session_id"], session.id.as_str());
    // What a direct execution has printed.
    let direct = labelled.run("echo direct").await.command_id;
    assert_eq!(logs(&[&direct]).stdout, b"direct\n");

    // What runs shows what there is, and no more; and its end to those who wait for it.
    let running = session.exec_text("seq 100000; echo up >&2; read line </dev/tty; echo got $line; (exit 4)").await;
    let command = within::within("the id", async {
        loop {
            let id = session.get().await.running_command_id;
            if !id.is_empty() {
                return id;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    within::until("all that it prints", async || logs(&[&command]).stderr.ends_with(b"up\n")).await;
    assert!(logs(&[&command]).stdout == crate::kit::expected::seq(100_000));
    let object = json(&["logs", "--server", &url, &command]);
    assert_eq!((&object["exit_code"], &object["stderr"]), (&Value::Null, &"up\n".into()));
    let follower = {
        let (url, command) = (url.clone(), command.clone());
        tokio::task::spawn_blocking(move || sandshell(&["logs", "--server", &url, "-f", &command]))
    };
    running.stdin("answer\n").await;
    running.finish().await;
    let got = follower.await.unwrap();
    let (out, shown) = (String::from_utf8_lossy(&got.stdout), crate::kit::show(&got.stdout));
    assert!(out.contains("\n100000\n") && out.contains("got answer\n") && got.status.code() == Some(4), "{shown}");
    assert!(out.contains("answer\r\n"), "what was on its terminal: {shown}");

    // What its background processes print, when that is asked for.
    let started = session.run("(until [ -e go ]; do sleep 0.01; done; echo late) & echo soon").await.command_id;
    assert_eq!(logs(&["-f", &started]).stdout, b"soon\n");
    let follower = {
        let (url, started) = (url.clone(), started.clone());
        tokio::task::spawn_blocking(move || sandshell(&["logs", "--server", &url, "-f", "--background", &started]))
    };
    session.run("touch go").await;
    let got = follower.await.unwrap();
    assert_eq!((got.stdout.as_slice(), got.status.code()), (&b"soon\nlate\n"[..], Some(0)));
    refuses(&["logs", "--server", &url, &session.id], &["this is the id of a session", "SANDBOX/NAME/NUMBER"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn use_is_told() {
    let (server, labelled, other, session) = kit().await;
    let url = server.url();
    session.run("true").await.expect("", "", 0);
    let table = prints(&["stats", "--server", &url]);
    let lines = words(&table);
    assert_eq!((lines.len(), lines[1][0], lines[2][0]), (3, labelled.id.as_str(), other.id.as_str()), "{table}");
    assert_eq!(&lines[1][6..], ["1", "0", "1"], "{table}");
    let all = json(&["stats", "--server", &url, &labelled.id]);
    assert_eq!(
        (&all[0]["sandbox_id"], &all[0]["commands"], all[0]["sessions"].as_i64()),
        (&labelled.id.as_str().into(), &1.into(), Some(1))
    );
    assert!(all[0]["disk_bytes"].is_i64(), "{all}");
    assert_eq!(words(&prints(&["stats", "--server", &url, "--label", "task=42"])).len(), 2);
    // One that is not there does not hide the others.
    let got = sandshell(&["stats", "--server", &url, "sbx-nope", &other.id]);
    assert!(got.status.code() == Some(125) && String::from_utf8_lossy(&got.stdout).contains(&other.id), "{got:?}");
    assert!(String::from_utf8_lossy(&got.stderr).contains("sbx-nope"), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_and_sessions_are_removed() {
    let (server, labelled, other, session) = kit().await;
    let url = server.url();
    let rm = |more: &[&str]| sandshell(&[&["rm", "--server", &url], more].concat());
    let left = || json(&["ps", "--server", &url]).as_array().map(Vec::len);
    // A session alone.
    assert_eq!(rm(&[&session.id]).stdout, format!("{}\n", session.id).as_bytes());
    assert_eq!(json(&["ps", "--server", &url])[0]["sessions"], Value::Array(Vec::new()));
    // What cannot be removed keeps nothing else.
    let third = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let got = rm(&["sbx-nope", &third.id]);
    assert_eq!(
        (got.status.code(), got.stdout.as_slice()),
        (Some(125), format!("{}\n", third.id).as_bytes()),
        "{got:?}"
    );
    assert!(String::from_utf8_lossy(&got.stderr).contains("sbx-nope"), "{got:?}");
    let removed = json(&["rm", "--server", &url, &other.id]);
    assert_eq!((&removed[0]["id"], &removed[0]["removed"]), (&other.id.as_str().into(), &true.into()), "{removed}");
    assert_eq!(left(), Some(1));
    // By label, and all.
    let more = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    assert!(rm(&["--all", "--label", "task=43"]).stdout.is_empty());
    assert_eq!(rm(&["--all", "--label", "task=42"]).stdout, format!("{}\n", labelled.id).as_bytes());
    assert_eq!(rm(&["--all"]).stdout, format!("{}\n", more.id).as_bytes());
    assert_eq!(left(), Some(0));
    // Nothing is removed by chance.
    refuses(&["rm", "--server", &url], &["ID"]);
    refuses(&["rm", "--server", &url, "--label", "task=42"], &["--all"]);
    refuses(&["rm", "--server", &url, "--all", &more.id], &["--all"]);
    refuses(&["rm", "--server", &url, "sbx-1/2/3"], &["is a command", "sandshell kill"]);
}

#[test]
fn keys_tenants_and_runtimes_are_for_machines_too() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let key = crate::kit::cli::make_key(dir.path(), "blue");
    let keys = json(&["key", "list", "--data-dir", data]);
    let id = keys[0]["id"].as_str().expect("an id");
    assert!(key.contains(id) && !keys.to_string().contains(&key), "{keys}");
    assert_eq!((&keys[0]["tenant"], &keys[0]["revoke_time"]), (&"blue".into(), &Value::Null), "{keys}");
    prints(&["tenant", "limit", "blue", "--max-sandboxes", "7", "--data-dir", data]);
    let tenants = json(&["tenant", "list", "--data-dir", data]);
    let blue = tenants.as_array().unwrap().iter().find(|tenant| tenant["tenant"] == "blue").expect("blue");
    assert_eq!((&blue["max_sandboxes"], &blue["max_sessions"]), (&7.into(), &Value::Null), "{tenants}");
    let runtimes = json(&["doctor", "--runtime", "linux"]);
    assert_eq!((&runtimes[0]["runtime"], &runtimes[0]["works"]), (&"linux".into(), &true.into()), "{runtimes}");
    assert_eq!(
        (&runtimes[0]["error"], &runtimes[0]["can_limit"]["memory_bytes"]),
        (&Value::Null, &true.into()),
        "{runtimes}"
    );
}
