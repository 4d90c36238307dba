//! `sandshell edit` and `sandshell watch`: a file of a sandbox in an editor here, and changes there as lines here.

use crate::kit::{
    Runtime, Sandbox,
    cli::{program, sandshell, sandshell_with},
    within,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};
use tokio::io::{AsyncBufReadExt, BufReader};

crate::in_every_runtime!(
    an_edited_file_is_written_back,
    what_was_changed_meanwhile_is_not_overwritten,
    what_is_not_changed_is_not_written,
    a_new_file_is_made,
    changes_are_lines,
);

/// A script that is the editor: it gets the file as `$1`, and `$here` is where it may leave things.
fn editor(here: &Path, script: &str) -> PathBuf {
    let path = here.join("editor");
    fs::write(&path, format!("#!/bin/sh\nset -e\nhere={}\n{script}\n", here.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Edits a file with a script, and everything temporary in `here/tmp`.
async fn edit(on: Runtime, s: &Sandbox, path: &str, here: &Path, script: &str) -> Output {
    let editor = editor(here, script).display().to_string();
    let temporary = here.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let (url, file, temporary) = (on.shared().url(), format!("{}:{path}", s.id), temporary.display().to_string());
    let run = move || {
        // VISUAL goes before EDITOR, and may have arguments.
        let visual = format!("{editor} --wait");
        let environment = [("VISUAL", visual.as_str()), ("EDITOR", "false"), ("TMPDIR", temporary.as_str())];
        sandshell_with(&["edit", "--server", &url, &file], &environment)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn left(here: &Path) -> Vec<PathBuf> {
    fs::read_dir(here.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

async fn an_edited_file_is_written_back(on: Runtime) {
    let (s, here) = (on.sandbox().await, tempfile::tempdir().unwrap());
    s.run("printf 'one\\ntwo\\n' > '/tmp/a b.txt'; chmod 640 '/tmp/a b.txt'; chown nobody '/tmp/a b.txt'").await;
    let script = r#"test "$1" = --wait; basename "$2" > "$here/name"; stat -c %a "$2" "$(dirname "$2")" > "$here/modes"; sed -i s/two/2/ "$2""#;
    let done = edit(on, &s, "/tmp/a b.txt", here.path(), script).await;
    assert!(done.status.success() && done.stdout.is_empty(), "{done:?}");
    assert_eq!(s.read("/tmp/a b.txt").await, b"one\n2\n");
    s.run("stat -c '%a %U' '/tmp/a b.txt'").await.expect("640 nobody\n", "", 0);
    assert_eq!(fs::read_to_string(here.path().join("name")).unwrap(), "a b.txt\n", "editors go by the name");
    assert_eq!(fs::read_to_string(here.path().join("modes")).unwrap(), "600\n700\n", "nobody else may read it");
    assert_eq!(left(here.path()), Vec::<PathBuf>::new());
}

async fn what_was_changed_meanwhile_is_not_overwritten(on: Runtime) {
    let (s, here) = (on.sandbox().await, tempfile::tempdir().unwrap());
    s.write("/tmp/f", "old").await;
    // The editor waits until the file inside has been changed.
    let script = r#"echo mine > "$2"; : > "$here/open"; while ! [ -e "$here/changed" ]; do sleep 0.02; done"#;
    let changed = async {
        within::until("the editor", async || here.path().join("open").exists()).await;
        s.run("echo theirs > /tmp/f").await;
        fs::write(here.path().join("changed"), "").unwrap();
    };
    let (done, ()) = tokio::join!(edit(on, &s, "/tmp/f", here.path(), script), changed);
    assert_eq!(done.status.code(), Some(125), "{done:?}");
    assert_eq!(s.read("/tmp/f").await, b"theirs\n");
    let left = left(here.path());
    let copy = left[0].join("f");
    assert_eq!(fs::read(&copy).unwrap(), b"mine\n");
    assert!(String::from_utf8_lossy(&done.stderr).contains(copy.to_str().unwrap()), "{done:?}");
    assert_eq!(left.len(), 1);
    // An editor that fails has perhaps not written all.
    let done = edit(on, &s, "/tmp/f", here.path(), r#"echo half > "$2"; exit 3"#).await;
    assert_eq!((done.status.code(), s.read("/tmp/f").await), (Some(125), b"theirs\n".to_vec()), "{done:?}");
}

async fn what_is_not_changed_is_not_written(on: Runtime) {
    let (s, here) = (on.sandbox().await, tempfile::tempdir().unwrap());
    let before = s.write("/tmp/f", "x").await;
    let done = edit(on, &s, "/tmp/f", here.path(), r#"touch "$2""#).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(s.stat("/tmp/f").await.unwrap().etag, before.etag);
    let done = edit(on, &s, "/tmp/f", here.path(), "exit 1").await;
    assert_eq!(done.status.code(), Some(125), "{done:?}");
    let done = edit(on, &s, "/tmp", here.path(), ": > \"$here/opened\"").await;
    assert_eq!(done.status.code(), Some(125), "{done:?}");
    assert!(!here.path().join("opened").exists(), "a directory is not opened");
    assert_eq!(left(here.path()), Vec::<PathBuf>::new());
}

async fn a_new_file_is_made(on: Runtime) {
    let (s, here) = (on.sandbox().await, tempfile::tempdir().unwrap());
    let done = edit(on, &s, "/tmp/new", here.path(), r#"printf y > "$2""#).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(s.read("/tmp/new").await, b"y");
    let done = edit(on, &s, "/tmp/empty", here.path(), r#": > "$2""#).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(s.read("/tmp/empty").await, b"", "the editor has written it");
    let done = edit(on, &s, "/tmp/none", here.path(), ":").await;
    assert!(done.status.success() && s.stat("/tmp/none").await.is_err(), "{done:?}");
}

async fn changes_are_lines(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir /tmp/t").await;
    let (url, directory) = (on.shared().url(), format!("{}:/tmp/t", s.id));
    let watch = |more: &[&str]| {
        let command = program(&[&["watch", "--server", &url, &directory], more].concat());
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        (BufReader::new(child.stdout.take().unwrap()).lines(), child)
    };
    let ((mut lines, mut plain), (mut objects, mut json)) = (watch(&[]), watch(&["--recursive", "--json"]));
    assert_eq!(within("armed", lines.next_line()).await.unwrap().unwrap(), "armed");
    assert_eq!(within("armed", objects.next_line()).await.unwrap().unwrap(), r#"{"event":"armed"}"#);
    s.run("mkdir /tmp/t/d; mv /tmp/t/d '/tmp/t/a\nb'").await.expect("", "", 0);
    let renamed = serde_json::json!({
        "event": "renamed", "path": "/tmp/t/a\nb", "old_path": "/tmp/t/d", "is_directory": true,
    });
    // Which directory was moved can be seen as long as it is there; of one that is gone again two changes may be told.
    loop {
        let line = within("the new name", objects.next_line()).await.unwrap().expect("the new name is told");
        if serde_json::from_str::<serde_json::Value>(&line).unwrap() == renamed {
            break;
        }
    }
    s.run("rm -r /tmp/t").await.expect("", "", 0);
    let mut said = Vec::new();
    while let Some(line) = within("a line", lines.next_line()).await.unwrap() {
        said.push(line);
    }
    assert_eq!(
        said,
        ["created /tmp/t/d/", "renamed /tmp/t/d/ -> /tmp/t/a\\nb/", "removed /tmp/t/a\\nb/", "removed /tmp/t/"]
    );
    let mut told = Vec::new();
    while let Some(line) = within("a line", objects.next_line()).await.unwrap() {
        told.push(serde_json::from_str::<serde_json::Value>(&line).unwrap());
    }
    let gone = |path: &str| serde_json::json!({ "event": "removed", "path": path, "is_directory": true });
    assert_eq!(told, [gone("/tmp/t/a\nb"), gone("/tmp/t")]);
    assert!(within("the end", plain.wait()).await.unwrap().success(), "the directory is gone");
    assert!(within("the end", json.wait()).await.unwrap().success());
    let refused = sandshell(&["watch", "--server", &url, &format!("{}:/tmp/none", s.id)]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("/tmp/none"), "{refused:?}");
}
