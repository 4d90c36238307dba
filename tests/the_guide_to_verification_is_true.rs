//! What `docs/verification.md` shows works as it stands there, with the example dataset.

use crate::kit::{Options, Server, cli::program, create_sandbox, guide, v1};
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_line_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let catalog = root.join("examples/datasets").display().to_string();
    let server = Server::start(Options { args: vec!["--catalog".to_owned(), catalog], ..Options::default() });
    let sample = Some(v1::SampleSource { sample_id: "shell-rotate".into(), ..Default::default() });
    let sandbox = create_sandbox(&server, v1::CreateSandboxRequest { sample, ..Default::default() }).await;
    let here = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root.join("examples"), here.path().join("examples")).unwrap();
    let said = tokio::task::block_in_place(|| {
        guide::run(include_str!("../docs/verification.md"), &server, here.path(), &[("SANDBOX", &sandbox.id)])
    });
    for part in
        ["not done yet", "no success: failed: ", "\nsuccess\n6 passed, 0 failed", "\"is_success\":false", "it fails\n"]
    {
        assert!(said[0].contains(part), "{part:?}: {said:?}");
    }
    assert!(said[1].contains(" is being prepared\n") && said[1].contains(" runs\n"), "{said:?}");
}

/// The exit code says of each way in which a verification ends what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_exit_code_is_0_for_success_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let catalog = root.join("examples/datasets").display().to_string();
    let server = Server::start(Options { args: vec!["--catalog".to_owned(), catalog], ..Options::default() });
    let sample = root.join("examples/datasets/first-steps/shell-rotate");
    let patch = sample.join("reference.patch").display().to_string();
    let url = server.url();
    for (more, code) in [
        (&["--patch", &patch][..], 0),
        (&[], 1),
        (&["--patch", "/no/such/file"], 125),
        (&["--patch", "/etc/hostname"], 1),
    ] {
        let arguments = [&["verify", "--server", &url, "--sample", "shell-rotate", "--quiet"], more].concat();
        let out = tokio::task::spawn_blocking({
            let mut command = program(&arguments);
            move || command.output()
        });
        let out = out.await.unwrap().unwrap();
        assert_eq!(out.status.code(), Some(code), "{more:?}: {out:?}");
    }
}
