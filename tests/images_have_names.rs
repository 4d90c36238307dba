//! Images that the operator has named, and the list of those that there are.

use crate::kit::{
    Options, Runtime, Server, cli, create_sandbox,
    docker::{BUSYBOX, DEBIAN},
    errors::expect_bad_fields,
    v1::{CreateSandboxRequest, Image, ListImagesRequest, image::Kind, image_service_client::ImageServiceClient},
};
use std::{fs, path::Path};
use tonic::Code;

async fn list(server: &Server, page_size: i32) -> Vec<Image> {
    let mut client = ImageServiceClient::new(server.connect().await.channel);
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = client.list_images(ListImagesRequest { page_size, page_token }).await.expect("a page").into_inner();
        assert!(page_size == 0 || page.images.len() <= page_size as usize);
        all.extend(page.images);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            assert_eq!(page.total_size as usize, all.len());
            return all;
        }
    }
}

fn names(images: &[Image]) -> Vec<&str> {
    images.iter().map(|image| image.name.as_str()).collect()
}

/// A root file system that has a shell and nothing else.
fn make_root(directory: &Path) {
    fs::create_dir_all(directory.join("bin")).unwrap();
    fs::copy("/bin/busybox", directory.join("bin/sh")).unwrap();
    fs::write(directory.join("which"), directory.display().to_string()).unwrap();
}

#[tokio::test]
async fn on_linux_names_stand_for_the_host_and_for_directories() {
    let folder = tempfile::tempdir().unwrap();
    let folder_path = folder.path().canonicalize().unwrap();
    let (roots, hidden) = (folder_path.join("roots"), folder_path.join("hidden"));
    make_root(&roots.join("one"));
    make_root(&hidden);
    fs::create_dir_all(roots.join("no-root-file-system")).unwrap();
    let config = folder_path.join("serve.toml");
    let text = format!(
        "[image]\nspace = \"/no/such\"\nhidden = {{ source = {:?}, description = \"Only by name.\" }}\n",
        hidden.display().to_string()
    );
    fs::write(&config, text).unwrap();
    let args = ["--config", config.to_str().unwrap(), "--image-root", roots.to_str().unwrap(), "--image", "space=host"];
    let server = Server::start(Options { args: args.map(str::to_owned).to_vec(), ..Options::default() });

    let one = roots.join("one").display().to_string();
    for page_size in [0, 1, 3] {
        let images = list(&server, page_size).await;
        assert_eq!(names(&images), [one.as_str(), "hidden", "host", "space"]);
        let kinds: Vec<_> = images.iter().map(Image::kind).collect();
        assert_eq!(kinds, [Kind::Directory, Kind::Directory, Kind::Host, Kind::Host]);
        assert_eq!(images[1].description, "Only by name.");
        let defaults: Vec<_> = images.iter().filter(|image| image.is_default).collect();
        assert_eq!(defaults.len(), 1);
        assert_eq!(defaults[0].name, "host");
    }
    for (image, is) in [("hidden", hidden.display().to_string()), (&one, one.clone())] {
        let sandbox = create_sandbox(&server, CreateSandboxRequest { image: image.into(), ..Default::default() }).await;
        sandbox.run("read -r it </which || :; echo $it").await.expect(format!("{is}\n"), "", 0);
    }
    let sandbox = create_sandbox(&server, CreateSandboxRequest { image: "space".into(), ..Default::default() }).await;
    sandbox.run("test -x /usr/bin/env && pwd").await.expect("/workspace\n", "", 0);

    let request = |image: &str| CreateSandboxRequest { image: image.into(), ..Default::default() };
    let mut client = server.connect().await.sandboxes;
    let unknown = client.create_sandbox(request("spice")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("this server has named hidden, space"), "{unknown}");
    let outside = client.create_sandbox(request(hidden.to_str().unwrap())).await.unwrap_err();
    assert_eq!(outside.code(), Code::FailedPrecondition, "the path behind a name is not allowed by it: {outside}");

    let printed = cli::prints(&["image", "ls", "--server", server.address()]);
    let line = printed.lines().find(|line| line.starts_with("hidden ")).unwrap_or_else(|| panic!("{printed}"));
    assert!(line.contains("directory") && line.ends_with("Only by name."), "{line}");
    let json = cli::prints(&["image", "ls", "--json", "--server", server.address()]);
    let images: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(images[3]["name"], "space");
    assert_eq!(images[3]["kind"], "host");
}

#[tokio::test]
async fn on_docker_names_stand_for_references_and_what_the_daemon_has_is_listed() {
    let mut options = Runtime::Docker.options();
    options.args.extend(["--image", &format!("tools={DEBIAN}"), "--allow-image", BUSYBOX].map(str::to_owned));
    let server = Server::start(options);
    let images = list(&server, 0).await;
    assert_eq!(names(&images), [&format!("{BUSYBOX}:latest"), "tools"]);
    for image in &images {
        assert_eq!(image.kind(), Kind::Reference);
        assert!(image.size_bytes.is_some_and(|bytes| bytes > 100_000), "{image:?}");
        assert!(!image.is_default);
    }
    let request = |image: &str| CreateSandboxRequest { image: image.into(), ..Default::default() };
    let sandbox = create_sandbox(&server, request("tools")).await;
    sandbox.run("test -e /bin/zsh && echo it is").await.expect("it is\n", "", 0);
    let refused = server.connect().await.sandboxes.create_sandbox(request(DEBIAN)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "the reference behind a name is not allowed by it: {refused}");
}

#[tokio::test]
async fn mistakes_are_told() {
    let mut client = ImageServiceClient::new(crate::kit::shared().connect().await.channel);
    let wrong = ListImagesRequest { page_size: -1, page_token: "p1".into() };
    expect_bad_fields(&client.list_images(wrong).await.unwrap_err(), &["page_size", "page_token"]);

    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    for (image, reason) in [
        ("python", "needs a name and what it stands for"),
        ("a b=host", "letters, digits"),
        ("host=/tmp", "is taken"),
        ("x=debian:bookworm", "neither host nor the path of a directory"),
        ("x=/no/such/directory", "/no/such/directory"),
    ] {
        let output = cli::sandshell(&["serve", "--image", image, "--data-dir", data]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{image}: {said}");
    }
}
