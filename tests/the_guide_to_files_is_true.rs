//! What `docs/files.md` shows works as it stands there.

use crate::kit::{create_sandbox, guide, python::run_script, shared, v1};
use std::{fs, path::Path};

/// A project with something to build. Its compiler is a shell, so that any sandbox can.
fn project(at: &Path) {
    fs::create_dir(at).unwrap();
    fs::write(at.join("hello.c"), "#!/bin/sh\necho Hello\n").unwrap();
    fs::write(at.join("Makefile"), "hello: hello.c\n\tinstall -m 755 hello.c hello\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_command_line() {
    let s = create_sandbox(shared(), v1::CreateSandboxRequest::default()).await;
    let here = tempfile::tempdir().unwrap();
    project(&here.path().join("project"));
    let said = tokio::task::block_in_place(|| {
        guide::run(include_str!("../docs/files.md"), shared(), here.path(), &[("SANDBOX", &s.id)])
    });
    assert!(said[0].contains("Hello\n") && said[0].contains("/workspace/project/hello.c"), "{said:?}");
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
