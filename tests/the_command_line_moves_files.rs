//! `sandshell cp`, `cat` and `ls`: files of a sandbox from the command line.

use crate::kit::{
    Options, Server,
    cli::{program, sandshell},
    create_sandbox, host, v1,
};
use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    process::Stdio,
};

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

/// As with cp(1): a copy takes the place of a file, and of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn devices_pipes_and_links_stay_what_they_are() {
    let server = Server::start(Options::default());
    let (s, url) = (create_sandbox(&server, v1::CreateSandboxRequest::default()).await, server.url());
    s.run("printf new >/tmp/f; head -c 1M /dev/zero >/tmp/large").await.expect("", "", 0);
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    let cp = |target: &str| sandshell(&["cp", "--server", &url, &format!("{}:/tmp/f", s.id), target]);
    let is_special = |name: &str| !fs::symlink_metadata(at(name)).unwrap().is_file();

    host::fifo(&at("pipe"));
    let reader = std::thread::spawn({
        let pipe = at("pipe");
        move || fs::read(pipe).unwrap()
    });
    assert!(cp(&at("pipe")).status.success());
    assert_eq!(reader.join().unwrap(), b"new");
    assert!(is_special("pipe"));

    host::device(&at("null"), 1, 3);
    assert!(cp(&at("null")).status.success() && is_special("null"));

    fs::create_dir(at("elsewhere")).unwrap();
    fs::write(at("elsewhere/real"), "old").unwrap();
    symlink("elsewhere/real", at("link")).unwrap();
    assert!(cp(&at("link")).status.success());
    assert!(is_special("link") && fs::read(at("elsewhere/real")).unwrap() == b"new");
    symlink("nothing", at("dangling")).unwrap();
    let refused = cp(&at("dangling"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is a symbolic link to nothing"), "{refused:?}");
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 5);

    // Who has seen enough is no failure.
    let mut cat = program(&["cat", "--server", &url, &format!("{}:/tmp/large", s.id)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(cat.stdout.take());
    let output = cat.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
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
