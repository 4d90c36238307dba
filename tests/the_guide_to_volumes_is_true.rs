//! What `docs/volumes.md` shows for a shell works as it stands there.

use crate::kit::{
    Options, Runtime, Server,
    cli::{prints, refuses},
    create_sandbox, guide,
    volumes::{create_volume, named, with_volumes},
};

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

/// What cannot be deleted is told, and what a sandbox has is shown to machines.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_used_is_shown_and_stays() {
    let server = Server::start(Options::default());
    create_volume(&server, named("data")).await;
    let sandbox = create_sandbox(&server, with_volumes(Runtime::Linux, &[("data", "/data:ro")])).await;
    let url = server.url();
    tokio::task::block_in_place(|| {
        refuses(&["volume", "rm", "data", "--server", &url], &["data", &sandbox.id, "is in use"]);
        refuses(&["volume", "rm", "none", "--server", &url], &["none", "was not found"]);
        let shown = prints(&["volume", "show", "data", "--server", &url]);
        assert!(shown.contains(&format!("used by   {} at /data, reads\n", sandbox.id)), "{shown}");
        let shown = prints(&["ps", "--json", "--server", &url]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        let volume = &shown[0]["volumes"][0];
        assert!(volume["volume"] == "data" && volume["path"] == "/data" && volume["read_only"] == true, "{shown}");
    });
}
