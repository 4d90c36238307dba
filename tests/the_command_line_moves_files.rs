//! `sandshell cp`, `cat` and `ls`: files of a sandbox from the command line.

use crate::kit::{
    Options, Server,
    cli::{program, sandshell},
    create_sandbox, v1,
};
use std::{fs, io::Write, os::unix::fs::PermissionsExt, process::Stdio};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_in_and_comes_out() {
    let server = Server::start(Options::default());
    let (s, url, here) = (
        create_sandbox(&server, v1::CreateSandboxRequest::default()).await,
        server.url(),
        tempfile::tempdir().unwrap(),
    );
    let (source, target) = (here.path().join("source"), here.path().join("target"));
    let data: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    fs::write(&source, &data).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o750)).unwrap();
    let inside = format!("{}:/tmp/new/f", s.id);
    let cp = |arguments: &[&str]| sandshell(&[&["cp", "--server", &url], arguments].concat());
    let refused = cp(&[source.to_str().unwrap(), &inside]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("/tmp/new\" was not found"), "{refused:?}");
    assert!(cp(&["--parents", source.to_str().unwrap(), &inside]).status.success());
    assert_eq!(s.stat("/tmp/new/f").await.unwrap().mode, 0o750);
    assert!(cp(&[&inside, target.to_str().unwrap()]).status.success());
    assert!(fs::read(&target).unwrap() == data);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o750);
    assert!(sandshell(&["cat", "--server", &url, &inside]).stdout == data);
    assert!(cp(&[&inside, "-"]).stdout == data);
    // What is not there leaves what is here.
    assert_eq!(cp(&[&format!("{}:/tmp/none", s.id), target.to_str().unwrap()]).status.code(), Some(125));
    assert!(fs::read(&target).unwrap() == data);
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 2);
    let mut fed =
        program(&["cp", "--server", &url, "-", &format!("{}:/tmp/fed", s.id)]).stdin(Stdio::piped()).spawn().unwrap();
    fed.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert!(fed.wait().unwrap().success());
    assert_eq!(s.read("/tmp/fed").await, b"from a pipe");
    for wrong in [[source.to_str().unwrap(), target.to_str().unwrap()], [&inside, &inside], ["/", &inside]] {
        assert_eq!(cp(&wrong).status.code(), Some(125), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_listed() {
    let server = Server::start(Options::default());
    let (s, url) = (create_sandbox(&server, v1::CreateSandboxRequest::default()).await, server.url());
    s.run("mkdir -p /tmp/d/e; cd /tmp/d; printf x > e/f; ln -s e l").await.expect("", "", 0);
    let directory = format!("{}:/tmp/d", s.id);
    let table = String::from_utf8(sandshell(&["ls", "--server", &url, "-r", &directory]).stdout).unwrap();
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert_eq!((lines[1][0], lines[1].last()), ("d0755", Some(&"/tmp/d/e")), "{table}");
    assert_eq!((lines[2][0], lines[2][3]), ("-0644", "1"), "{table}");
    assert!(table.lines().nth(3).unwrap().ends_with("/tmp/d/l -> e"), "{table}");
    let listed = sandshell(&["ls", "--server", &url, "--json", &directory]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    assert_eq!((&listed[0]["type"], &listed[1]["link_target"]), (&"directory".into(), &"e".into()), "{listed}");
}
