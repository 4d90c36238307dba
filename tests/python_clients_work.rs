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
