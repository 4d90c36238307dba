//! What an image holds in the places where a sandbox's own file systems are mounted cannot lead its set-up to the host.

use crate::kit::{Options, Server, v1};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// A root file system with nothing but busybox.
fn image(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("these tests need: apt-get install busybox-static");
    for name in ["sh", "ls", "cat", "mount"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

fn server(roots: &Path) -> Server {
    Server::start(Options { args: vec!["--image-root".into(), roots.display().to_string()], ..Options::default() })
}

/// Everybody may write to the directories that the links lead to, so only the way there is in question.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn links_stay_inside() {
    let roots = tempfile::tempdir().unwrap();
    fs::set_permissions(roots.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = server(roots.path());
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path();
    fs::set_permissions(outside, fs::Permissions::from_mode(0o777)).unwrap();
    let up = "../../../../../../../../../..".to_owned();
    let place = outside.display().to_string();
    for (number, link) in
        [up.clone() + &place, place.clone(), up.clone(), "..".to_owned(), format!("/proc/1/root{place}")]
            .into_iter()
            .enumerate()
    {
        for name in ["run", "tmp", "dev", "proc", "workspace", "etc", "sys"] {
            let root = roots.path().join(format!("{name}-{number}"));
            image(&root);
            symlink(&link, root.join(name)).unwrap();
            if name == "etc" || name == "run" {
                // So that the link leads somewhere inside too, and set-up gets further.
                fs::create_dir_all(root.join(place.trim_start_matches('/'))).unwrap();
            }
            let before: Vec<_> = fs::read_dir("/").unwrap().flatten().map(|entry| entry.file_name()).collect();
            let request = v1::CreateSandboxRequest { image: root.display().to_string(), ..Default::default() };
            let mut clients = server.connect().await;
            match clients.sandboxes.create_sandbox(request).await {
                Ok(sandbox) => {
                    let sandbox_id = sandbox.into_inner().sandbox_id;
                    let request = v1::DeleteSandboxRequest { sandbox_id };
                    clients.sandboxes.delete_sandbox(request).await.expect("it is deleted");
                }
                Err(refused) => {
                    let message = refused.message();
                    assert_ne!(refused.code(), tonic::Code::Internal, "/{name} -> {link}: {refused:?}");
                    assert!(
                        message.contains(&root.display().to_string()) && message.contains(&format!("/{name}")),
                        "/{name} -> {link}: {message}"
                    );
                }
            }
            assert_eq!(fs::read_dir(outside).unwrap().count(), 0, "/{name} -> {link} led to the host");
            let after: Vec<_> = fs::read_dir("/").unwrap().flatten().map(|entry| entry.file_name()).collect();
            assert_eq!(before, after, "/{name} -> {link} led to the host");
        }
    }
}

/// What cannot be used is told in words that name the image and the place.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_place_that_cannot_be_used_is_named() {
    let roots = tempfile::tempdir().unwrap();
    let server = server(roots.path());
    for name in ["run", "dev", "proc"] {
        let root = roots.path().join(name);
        image(&root);
        fs::write(root.join(name), "a file\n").unwrap();
        let request = v1::CreateSandboxRequest { image: root.display().to_string(), ..Default::default() };
        let refused =
            server.connect().await.sandboxes.create_sandbox(request).await.expect_err("a file is no directory");
        let message = refused.message();
        assert!(message.contains(&root.display().to_string()) && message.contains(&format!("/{name}")), "{refused:?}");
        assert_ne!(refused.code(), tonic::Code::Internal, "{refused:?}");
    }
}
