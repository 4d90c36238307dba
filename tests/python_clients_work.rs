//! Clients in another language: one with stubs made from the proto files, and one that knows nothing beforehand.

use crate::kit::{python::run_script, shared};

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
