//! `sandshell cp` of directories, and `sandshell run --workspace`: a project goes in, is worked on, and comes out.

use crate::kit::{
    Options, Sandbox, Server,
    cli::{prints, refuses, sandshell},
    create_sandbox, v1,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

async fn sandbox() -> (Server, Sandbox) {
    let server = Server::start(Options::default());
    let s = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    (server, s)
}

/// The words of `cp`.
fn cp<'a>(url: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["cp", "--server", url], arguments].concat()
}

/// A small project.
fn project(at: &Path) {
    fs::create_dir_all(at.join("src/empty")).unwrap();
    fs::create_dir_all(at.join("target")).unwrap();
    fs::write(at.join("src/main"), "#!/bin/sh\necho built\n").unwrap();
    fs::set_permissions(at.join("src/main"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(at.join("target/out"), "of here").unwrap();
    fs::write(at.join("notes.log"), "log").unwrap();
    fs::write(at.join(".gitignore"), "target/\n*.log\n").unwrap();
    symlink("src/main", at.join("link")).unwrap();
    symlink("/usr/bin/python3", at.join("python")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_goes_in_and_comes_out() {
    let (server, s) = sandbox().await;
    let (url, here) = (server.url(), tempfile::tempdir().unwrap());
    let (from, to) = (here.path().join("from"), here.path().join("to"));
    project(&from);
    let (from_text, to_text) = (from.to_str().unwrap(), to.to_str().unwrap());
    let inside = format!("{}:/tmp/new/project", s.id);
    prints(&cp(&url, &["-r", from_text, &inside]));
    let tree = "cd /tmp/new/project; find . | sort; stat -c %a src/main; readlink python; cd - >/dev/null";
    let all = ".\n./.gitignore\n./link\n./notes.log\n./python\n./src\n./src/empty\n./src/main\n./target\n./target/out\n750\n/usr/bin/python3\n";
    s.run(tree).await.expect(all, "", 0);
    // What comes out is a stranger's: a link that leads out of the directory is told, and all else comes.
    refuses(&cp(&url, &[&inside, to_text]), &["1 entry was left out", "python", "leads out"]);
    assert_eq!(fs::read(to.join("src/main")).unwrap(), fs::read(from.join("src/main")).unwrap());
    assert_eq!(fs::metadata(to.join("src/main")).unwrap().permissions().mode() & 0o777, 0o750);
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("src/main"));
    assert!(to.join("src/empty").is_dir() && to.join("target/out").exists());
    assert!(fs::symlink_metadata(to.join("python")).is_err());
    // A part of it.
    s.run("rm -r /tmp/new").await;
    prints(&cp(&url, &["--gitignore", "--exclude", "link", from_text, &inside]));
    let part = ".\n./.gitignore\n./python\n./src\n./src/empty\n./src/main\n750\n/usr/bin/python3\n";
    s.run(tree).await.expect(part, "", 0);
    let again = here.path().join("again");
    prints(&cp(&url, &["--exclude", "/python", "--exclude", ".git*", &inside, again.to_str().unwrap()]));
    assert_eq!(fs::read_dir(&again).unwrap().count(), 1);
    // What is not there, or is no place for a directory.
    refuses(&cp(&url, &[&format!("{}:/tmp/none", s.id), to_text]), &["/tmp/none", "was not found"]);
    s.write("/tmp/file", "x").await;
    refuses(&cp(&url, &[from_text, &format!("{}:/tmp/file", s.id)]), &["/tmp/file"]);
    refuses(&cp(&url, &["--exclude", "a{b", from_text, &inside]), &["--exclude", "a{b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_sandbox_writes_nothing_elsewhere() {
    let (server, s) = sandbox().await;
    let (url, here) = (server.url(), tempfile::tempdir().unwrap());
    let (to, outside) = (here.path().join("to"), here.path().join("outside"));
    fs::create_dir(&to).unwrap();
    fs::create_dir(&outside).unwrap();
    // A link of ours where the sandbox has a directory, and one of the sandbox's that leads to it.
    symlink(&outside, to.join("d")).unwrap();
    let evil = format!(
        "mkdir -p /tmp/t/d; printf evil > /tmp/t/d/f; ln -s {} /tmp/t/l; printf x > /tmp/t/x",
        outside.display()
    );
    s.run(&evil).await.expect("", "", 0);
    refuses(&["cp", "--server", &url, &format!("{}:/tmp/t", s.id), to.to_str().unwrap()], &["l: it"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // The directory of the sandbox is in the place of our link.
    assert_eq!(fs::read(to.join("d/f")).unwrap(), b"evil");
    assert_eq!(fs::read(to.join("x")).unwrap(), b"x");
}

#[test]
fn a_project_is_worked_on_in_a_run() {
    let here = tempfile::tempdir().unwrap();
    let (project_at, out) = (here.path().join("project"), here.path().join("out"));
    project(&project_at);
    let (project_text, out_text) = (project_at.to_str().unwrap(), out.to_str().unwrap());
    let said = prints(&[
        "run",
        "--workspace",
        project_text,
        "--export",
        out_text,
        "pwd; ls -A; ./link",
        "echo more >> src/main; echo new > new; mkdir target; echo of there > target/out; rm link",
    ]);
    assert_eq!(said, "/workspace\n.gitignore\nlink\npython\nsrc\nbuilt\n");
    assert_eq!(fs::read_to_string(out.join("src/main")).unwrap(), "#!/bin/sh\necho built\nmore\n");
    assert_eq!(fs::read_to_string(out.join("new")).unwrap(), "new\n");
    assert!(!out.join("target").exists(), "what .gitignore names stays");
    assert!(!out.join("src/empty").exists(), "what has not changed stays");
    // Into the project itself, with all that is ignored; the exit code is the command's.
    let again = sandshell(&[
        "run",
        "--workspace",
        project_text,
        "--ignored",
        "--export",
        project_text,
        "cat target/out; echo of there > target/out; exit 7",
    ]);
    assert_eq!((again.status.code(), again.stdout.as_slice()), (Some(7), &b"of here"[..]), "{again:?}");
    assert_eq!(fs::read_to_string(project_at.join("target/out")).unwrap(), "of there\n");
    assert_eq!(fs::read_to_string(project_at.join("notes.log")).unwrap(), "log");
    // An archive.
    let archive = here.path().join("out.tar.gz");
    prints(&["run", "--export", archive.to_str().unwrap(), "cd /workspace; mkdir d; echo x > d/f"]);
    let listed = std::process::Command::new("tar").arg("-tzf").arg(&archive).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.ends_with("d/\nd/f\n"), "{listed}");
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 3, "no drafts are left");
}

#[test]
fn the_code_of_a_command_that_failed_is_told_although_something_is_left_out() {
    let here = tempfile::tempdir().unwrap();
    let out = here.path().join("deep/out");
    for (command, code) in
        [("ln -s /etc/passwd link; echo x >f; exit 3", 3), ("ln -s /etc/passwd link; echo x >f", 125)]
    {
        let ended = sandshell(&["run", "--export", out.to_str().unwrap(), command]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert!(said.contains("1 entry was left out") && said.contains("link: it"), "{said}");
        assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "x\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_archive_has_is_named() {
    let (server, s) = sandbox().await;
    let (url, here) = (server.url(), tempfile::tempdir().unwrap());
    let at = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    s.run("mkdir -p /tmp/q/a/no; cd /tmp/q/a; mkfifo fifo no/other; echo k >kept; mkdir -p .git \"$(printf 'x\\033[31m')/.git\"; mkfifo .git/fifo").await;
    let inside = format!("{}:/tmp/./q", s.id);
    let copied = sandshell(&cp(&url, &["--exclude", "no", &inside, &at("q")]));
    let said = String::from_utf8_lossy(&copied.stderr);
    assert_eq!(copied.status.code(), Some(125), "{said}");
    assert!(said.contains("1 entry was left out") && said.contains("a/fifo: it is a FIFO"), "{said}");
    assert!(said.contains("x\\u{1b}[31m/.git") && !said.contains('\x1b'), "a name does nothing to a terminal: {said}");
    assert_eq!(fs::read_to_string(at("q/a/kept")).unwrap(), "k\n");
    // And of an archive.
    let run = ["run", "--server", &url, "--export", &at("q.tar"), "mkfifo /workspace/fifo"];
    let output = sandshell(&run);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(125) && said.contains("fifo: it is a FIFO"), "{said}");
    assert!(Path::new(&at("q.tar")).exists());
    // Nor is one here waited for.
    let made = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
    assert!(made.success());
    let refused = sandshell(&cp(&url, &[&at("fifo"), &format!("{}:/tmp/fifo", s.id)]));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(125) && said.contains("neither a regular file nor a directory"), "{said}");
}

/// Git runs what a repository's configuration and hooks say, so what a sandbox has written there stays in it unless that is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_a_sandbox_runs_nothing_here() {
    let (server, s) = sandbox().await;
    let (url, here) = (server.url(), tempfile::tempdir().unwrap());
    let at = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(at("p/sub/.git/hooks")).unwrap();
    fs::create_dir_all(at("p/.git")).unwrap();
    fs::write(at("p/.git/config"), "ours").unwrap();
    let plant = "echo x >sub/made; echo evil | tee .git/config sub/.git/hooks/post-checkout >sub/.git/config; echo evil >.git/new";
    let run = ["run", "--server", &url, "--workspace", &at("p"), "--export", &at("p"), "--ignored", plant];
    let output = sandshell(&run);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(".git, sub/.git stay in the sandbox"), "{said}");
    assert_eq!(fs::read_to_string(at("p/sub/made")).unwrap(), "x\n");
    assert_eq!(fs::read_to_string(at("p/.git/config")).unwrap(), "ours");
    // One that has not changed is not spoken of.
    let output =
        sandshell(&["run", "--server", &url, "--workspace", &at("p"), "--export", &at("p"), "--ignored", "true"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(!Path::new(&at("p/.git/new")).exists() && fs::read_dir(at("p/sub/.git")).unwrap().count() == 1);
    // The same of what is copied, and of archives.
    s.run("mkdir -p /tmp/q/a/.git; cd /tmp/q; echo k >a/kept; echo evil >a/.git/config; echo 'gitdir: /x' >.git").await;
    let inside = format!("{}:/tmp/q", s.id);
    let copied = sandshell(&cp(&url, &[&inside, &at("q")]));
    let said = String::from_utf8_lossy(&copied.stderr);
    assert!(copied.status.success() && said.contains(".git, a/.git stay in the sandbox"), "{said}");
    assert!(Path::new(&at("q/a/kept")).exists());
    assert!(!Path::new(&at("q/a/.git")).exists() && !Path::new(&at("q/.git")).exists());
    prints(&cp(&url, &["--git", &inside, &at("r")]));
    assert_eq!(fs::read_to_string(at("r/a/.git/config")).unwrap(), "evil\n");
    // Whoever names the repository itself wants it.
    prints(&cp(&url, &[&format!("{inside}/a/.git"), &at("t")]));
    assert_eq!(fs::read_to_string(at("t/config")).unwrap(), "evil\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_directory_and_no_archive_is_refused() {
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("file");
    fs::write(&file, "x").unwrap();
    refuses(&["run", "--workspace", file.to_str().unwrap(), "true"], &["is no directory"]);
    refuses(&["run", "--workspace", "/none", "true"], &["/none", "No such file"]);
    // Before anything is done for which there would be no place.
    let below = file.join("out");
    let nowhere = here.path().join("none/out.tar");
    refuses(&["run", "--export", file.to_str().unwrap(), "echo done"], &["--export", "is no directory"]);
    refuses(&["run", "--export", below.to_str().unwrap(), "echo done"], &["--export", "ot a directory"]);
    refuses(&["run", "--export", nowhere.to_str().unwrap(), "echo done"], &["--export", "none; make it first"]);
    refuses(&["run", "--export", "out.zip", "true"], &["--export", ".tar.gz"]);
    refuses(&["run", "--export", "-", "true"], &["--export", "is no directory"]);
    refuses(&["run", "--export", "out.patch", "true"], &["--export", "git diff"]);
}
