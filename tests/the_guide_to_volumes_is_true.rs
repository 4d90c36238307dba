//! What `docs/volumes.md` shows for a shell works as it stands there.

use crate::kit::{Options, Server, guide};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_line_runs() {
    let server = Server::start(Options::default());
    let here = tempfile::tempdir().unwrap();
    let [said, _] =
        tokio::task::block_in_place(|| guide::run(include_str!("../docs/volumes.md"), &server, here.path(), &[]));
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("vol-") && lines[1] == "1" && lines[2].starts_with("NAME "), "{said}");
    assert!(lines[3].starts_with("data ") && lines[3].contains(" 64.0M ") && lines[3].ends_with(" 0"), "{said}");
    assert!(lines[4].contains("\"size_bytes\":67108864") && lines[4].contains("\"used_by\":[]"), "{said}");
    assert_eq!(lines[5..], ["data"], "{said}");
}
