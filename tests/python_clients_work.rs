//! Clients in another language: one with stubs made from the proto files, one that knows nothing beforehand, and our own.

use crate::kit::{
    python::{run_script, test_client},
    shared,
};

/// Its own tests, in `clients/python/tests`.
#[test]
fn the_client_of_this_project() {
    let out = test_client(shared().address(), env!("CARGO_BIN_EXE_sandshell"));
    assert!(out.contains(" passed in ") && !out.contains("skipped"), "{out}");
}

#[test]
fn with_stubs_from_the_proto_files() {
    let out = run_script("client.py", &[shared().address()]);
    assert!(out.ends_with("all fine\n"), "{out}");
}

#[test]
fn by_reflection_alone() {
    let out = run_script("reflection.py", &[shared().address()]);
    assert!(out.ends_with("all fine\n"), "{out}");
}

/// The programs of `docs/grpc.md` and `docs/code.md`, as they stand there.
#[test]
fn the_guides_to_stubs_are_true() {
    let out = run_script("stub_guides.py", &[shared().address(), "grpc.md", "code.md"]);
    let said = [
        "hello world from /tmp\n",
        "1\n2\n3\nexit code 0\n",
        "hello Ada\n",
        "again: hello Ada\n",
        "21 [",
        "all fine\n",
    ];
    let mut rest = out.as_str();
    for part in said {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("{part:?} is not, or not in its place, in: {out}")).1;
    }
}
