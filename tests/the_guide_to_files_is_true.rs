//! What `docs/files.md` shows works as it stands there.

use crate::kit::{cli::program, create_sandbox, python::run_script, server::BINARY, shared, v1};
use std::{fs, path::Path, process::Command};

/// A project with something to build. Its compiler is a shell, so that any sandbox can.
fn project(at: &Path) {
    fs::create_dir(at).unwrap();
    fs::write(at.join("hello.c"), "#!/bin/sh\necho Hello\n").unwrap();
    fs::write(at.join("Makefile"), "hello: hello.c\n\tinstall -m 755 hello.c hello\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_command_line() {
    let guide = include_str!("../docs/files.md");
    let text: Vec<_> = guide.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    let s = create_sandbox(shared(), v1::CreateSandboxRequest::default()).await;
    let here = tempfile::tempdir().unwrap();
    project(&here.path().join("project"));
    let binaries = Path::new(BINARY).parent().unwrap().display().to_string();
    let mut shell = Command::new("sh");
    // The environment that a program of ours gets in tests, with what the guide takes for granted.
    for (name, value) in program(&[]).get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.args(["-exc", &text.concat()]).current_dir(&here);
    shell.env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap()));
    shell.env("SANDBOX", &s.id).env("SANDSHELL_SERVER", shared().url());
    let out = shell.output().unwrap();
    let said = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said:?}");
    assert!(said.0.contains("Hello\n") && said.0.contains("/workspace/project/hello.c"), "{said:?}");
    for made in ["changed/hello", "changed.tar.gz", "project/hello", "copy/hello.c"] {
        assert!(here.path().join(made).exists(), "{made}: {said:?}");
    }
    assert!(!here.path().join("changed/Makefile").exists(), "what has not changed does not come out");
}

#[test]
fn from_python() {
    let here = tempfile::tempdir().unwrap();
    let at = here.path().join("project");
    project(&at);
    let out = run_script("guide.py", &[shared().address(), at.to_str().unwrap()]);
    assert!(out.ends_with("all fine\n"), "{out}");
}
