//! Keys are made, listed and revoked on the command line, and a server that runs goes by them at once.

use crate::kit::{
    Options, Server,
    cli::{make_key, prints, refuses, sandshell, sandshell_with},
    errors::expect_error,
    raw::keyed,
    v1,
    within::until,
};
use std::{fs, path::Path};
use tonic::{Code, Status};

async fn list(server: &Server, key: Option<&str>) -> Result<(), Status> {
    let request = v1::ListSandboxesRequest::default();
    let mut sandboxes = server.connect().await.sandboxes;
    let answer = match key {
        Some(key) => sandboxes.list_sandboxes(keyed(request, key)).await,
        None => sandboxes.list_sandboxes(request).await,
    };
    answer.map(drop)
}

/// `sandshell key list`, as words.
fn keys(data: &str, more: &[&str]) -> Vec<Vec<String>> {
    let printed = prints(&[&["key", "list", "--data-dir", data], more].concat());
    printed.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// All bytes of all files in a directory.
fn bytes(dir: &Path) -> Vec<u8> {
    let files = fs::read_dir(dir).unwrap().flatten().filter(|entry| entry.path().is_file());
    files.flat_map(|entry| fs::read(entry.path()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn from_the_first_to_the_last() {
    let server = Server::start(Options::default());
    let data = server.data_dir().to_str().unwrap();
    list(&server, None).await.expect("nobody has a key");

    let blue = make_key(server.data_dir(), "blue");
    list(&server, Some(&blue)).await.expect("the key is right");
    until("a refusal", async || list(&server, None).await.is_err()).await;
    let refused = list(&server, None).await.unwrap_err();
    expect_error(&refused, Code::Unauthenticated, "UNAUTHENTICATED");

    let red = prints(&["key", "create", "--tenant", "red", "--name", "laptop", "--data-dir", data]);
    let red = red.trim_end();
    list(&server, Some(red)).await.expect("the key is right");
    let all = keys(data, &[]);
    assert_eq!(all[0], ["ID", "TENANT", "NAME", "CREATED", "REVOKED"]);
    assert_eq!(all.len(), 3, "{all:?}");
    let found = keys(data, &["--tenant", "red"]);
    assert_eq!((found.len(), &found[1][1..3], found[1][4].as_str()), (2, &["red".into(), "laptop".into()][..], "-"));
    let id = &found[1][0];
    assert!(red.starts_with(&format!("ssk_{id}_")), "{id}");

    prints(&["key", "revoke", id, "--data-dir", data]);
    let refused = list(&server, Some(red)).await.expect_err("the key was revoked");
    expect_error(&refused, Code::Unauthenticated, "UNAUTHENTICATED");
    list(&server, Some(&blue)).await.expect("the key is right");
    assert_ne!(keys(data, &["--tenant", "red"])[1][4], "-");

    // Without any key that is not revoked it stays closed, for the next server too.
    prints(&["key", "revoke", &blue, "--data-dir", data]);
    list(&server, None).await.expect_err("closed for good");
    list(&server, Some(&blue)).await.expect_err("the key was revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_secret_is_nowhere() {
    // Without the file system of the sandboxes, whose file seems as large as the disk: all files are read here.
    let args = ["--log", "trace", "--max-pool-bytes", "0"].map(str::to_owned).to_vec();
    let server = Server::start(Options { args, ..Default::default() });
    let key = make_key(server.data_dir(), "blue");
    let secret = key.rsplit('_').next().unwrap();
    list(&server, Some(&key)).await.expect("the key is right");
    list(&server, Some(&key[..key.len() - 1])).await.expect_err("half a key");
    let kept = bytes(server.data_dir());
    let holds = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("blue"), "the files of the database were read");
    assert!(!holds(secret), "the database has the secret");
    until("the calls in the log", async || server.log().matches("ListSandboxes").count() > 1).await;
    let log = server.log();
    assert!(!log.contains(&secret[..32]), "the log has the secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_command_line_shows_a_key_and_never_prints_it() {
    let server = Server::start(Options::default());
    let key = make_key(server.data_dir(), "blue");
    let secret = key.rsplit('_').next().unwrap();
    let url = server.url();
    let run = ["run", "--server", &url, "echo ran"];
    until("a refusal", async || list(&server, None).await.is_err()).await;

    let none = sandshell(&run);
    let said = String::from_utf8_lossy(&none.stderr);
    assert!(none.status.code() == Some(125) && said.contains("SANDSHELL_KEY") && said.contains("--key"), "{said}");
    let empty = sandshell_with(&run, &[("SANDSHELL_KEY", ""), ("SANDSHELL_CA", "")]);
    assert_eq!(empty.stderr, none.stderr, "empty variables count as none");
    let by_environment = sandshell_with(&run, &[("SANDSHELL_KEY", &key)]);
    assert_eq!((by_environment.stdout.as_slice(), by_environment.status.code()), (&b"ran\n"[..], Some(0)));
    let by_option = sandshell(&[&run[..], &["--key", &key]].concat());
    assert_eq!(by_option.stdout, b"ran\n");

    let wrong = format!("{key}\nx");
    for output in [
        sandshell_with(&["run", "--help"], &[("SANDSHELL_KEY", &key)]),
        sandshell_with(&["run", "--server", &url], &[("SANDSHELL_KEY", &key)]),
        sandshell(&[&run[..], &["--key", &wrong]].concat()),
        sandshell(&[&run[..], &["--key", &key[..key.len() - 1]]].concat()),
        sandshell_with(&["run", "--server", "http://127.0.0.1:1", "true"], &[("SANDSHELL_KEY", &key)]),
    ] {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.is_empty() && !said.contains(&secret[..32]), "{said}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    refuses(&["key", "list", "--data-dir", nowhere], &[nowhere, "no database"]);
    refuses(&["tenant", "list", "--data-dir", nowhere], &[nowhere, "no database"]);
    assert!(!Path::new(nowhere).exists(), "only a new key makes a database");

    make_key(dir.path(), "blue");
    let data = dir.path().to_str().unwrap();
    refuses(&["key", "revoke", "0123456789ab", "--data-dir", data], &["0123456789ab", "not found"]);
    refuses(&["key", "revoke", "blue", "--data-dir", data], &["key id", "key list"]);
    refuses(&["key", "list", "--tenant", "nobody", "--data-dir", data], &["tenant", "nobody", "not found"]);
    refuses(&["tenant", "limit", "nobody", "--max-sessions", "1", "--data-dir", data], &["nobody", "not found"]);
    for name in ["", "Blue", "a_b", &"x".repeat(64)] {
        refuses(&["key", "create", "--tenant", name, "--data-dir", data], &["tenant", "1 to 63"]);
    }
    refuses(&["tenant", "limit", "blue", "--data-dir", data], &["--max-sandboxes"]);
    refuses(&["tenant", "limit", "blue", "--max-sandboxes", "many", "--data-dir", data], &["many", "none"]);
    refuses(&["tenant", "limit", "blue", "--max-requests-per-second", "0", "--data-dir", data], &["1 or more"]);
    // It wins over the directory, as with `serve`.
    let output = sandshell(&["key", "list", "--data-dir", data, "--database", "postgres://u:secret@127.0.0.1:1/d"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("127.0.0.1:1") && !said.contains("secret"), "{said}");
}
