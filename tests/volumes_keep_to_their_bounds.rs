//! A volume takes no more than it may, belongs to one tenant, and leads nowhere else: neither an image's links nor a directory of the host
//! that the operator did not allow.

use crate::kit::{
    Options, Runtime, Server,
    cli::{make_key, prints as run_program},
    create_sandbox,
    errors::{expect_bad_fields, expect_error},
    raw::keyed,
    shared, token, v1,
    volumes::{create_volume, delete_volume, get_volume, mount, named, prints, refused, volumes, with_volumes},
    within,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
};
use tonic::Code;
use v1::CreateVolumeRequest;

const MIB: i64 = 1 << 20;
const LINUX: Runtime = Runtime::Linux;

fn sized(name: &str, bytes: i64) -> CreateVolumeRequest {
    CreateVolumeRequest { size_bytes: Some(bytes), ..named(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_the_size_holds_and_others_go_on() {
    let server = shared();
    let [small, other] = [token(), token()];
    create_volume(server, sized(&small, 8 * MIB)).await;
    let volume = create_volume(server, named(&other)).await;
    assert_eq!(volume.size_bytes, Some(10 << 30), "the server's default");
    let sandbox = create_sandbox(server, with_volumes(LINUX, &[(&small, "/data"), (&other, "/other")])).await;
    let many = "import os
made = 0
try:
    while made < 200_000:
        os.close(os.open('/data/' + str(made).rjust(240, 'x'), os.O_CREAT | os.O_WRONLY)); made += 1
except OSError as error:
    print(made < 100_000); raise SystemExit(error.strerror)";
    for write in [
        "dd if=/dev/zero of=/data/f bs=1M count=64",
        "fallocate -l 64M /data/f",
        &format!("/usr/bin/python3 -c \"{many}\""),
    ] {
        let got = sandbox.run(write).await;
        let said = got.err();
        assert!(got.exit_code() != 0, "{write}: {got:?}");
        assert!(said.contains("quota exceeded") || said.contains("No space left"), "{write}: {said}");
        prints(&sandbox, "head -c 1M /dev/zero >/other/f && head -c 1M /dev/zero >/workspace/f").await;
        prints(&sandbox, "find /data -mindepth 1 -delete && head -c 2M /dev/zero >/data/g && rm /data/g").await;
    }
    // What is in a volume is not the sandbox's own.
    prints(&sandbox, "head -c 4M /dev/urandom >/data/f; head -c 24M /dev/urandom >/other/f; sync").await;
    let request = v1::GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
    let stats = sandbox.clients.sandboxes.clone().get_sandbox_stats(request).await.expect("measured").into_inner();
    assert!(stats.disk_bytes.is_some_and(|bytes| bytes < 8 * MIB), "{stats:?}");
    within::until("what was written is counted", async || {
        get_volume(server, &other).await.is_ok_and(|v| v.used_bytes.is_some_and(|bytes| bytes >= 24 * MIB))
    })
    .await;
    let used = get_volume(server, &small).await.expect("it is there").used_bytes;
    assert!(used.is_some_and(|bytes| (4 * MIB..=8 * MIB).contains(&bytes)), "{used:?}");
    sandbox.delete().await;
    for name in [small, other] {
        delete_volume(server, &name).await.expect("it is deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_another_tenant_does_not_exist() {
    let server = Server::start(Options::default());
    let (blue, red) = (make_key(server.data_dir(), "blue"), make_key(server.data_dir(), "red"));
    let data = server.data_dir().to_str().unwrap();
    let (mut client, mut sandboxes) = (volumes(&server).await, server.connect().await.sandboxes);
    let volume = client.create_volume(keyed(named("data"), &blue)).await.expect("a volume").into_inner();
    for word in ["data", &volume.volume_id] {
        let get = v1::GetVolumeRequest { volume: word.to_owned() };
        let status = client.get_volume(keyed(get, &red)).await.expect_err("it is another's");
        expect_error(&status, Code::NotFound, "VOLUME_NOT_FOUND");
        let delete = v1::DeleteVolumeRequest { volume: word.to_owned() };
        let status = client.delete_volume(keyed(delete, &red)).await.expect_err("it is another's");
        expect_error(&status, Code::NotFound, "VOLUME_NOT_FOUND");
        let request = with_volumes(LINUX, &[(word, "/data")]);
        let status = sandboxes.create_sandbox(keyed(request, &red)).await.expect_err("it is another's");
        expect_error(&status, Code::NotFound, "VOLUME_NOT_FOUND");
    }
    let listed =
        client.list_volumes(keyed(v1::ListVolumesRequest::default(), &red)).await.expect("a list").into_inner();
    assert!(listed.volumes.is_empty() && listed.total_size == 0, "{listed:?}");
    // The same name is another volume's, and a limit is the tenant's own.
    run_program(&["tenant", "limit", "red", "--max-volumes", "1", "--data-dir", data]);
    let mut asked = named("data");
    within::until("the limit", async || {
        // Whose the key is, and what they may have, is remembered for a second.
        let made = client.create_volume(keyed(asked.clone(), &red)).await;
        asked = named(&token());
        made.is_err_and(|status| {
            expect_error(&status, Code::ResourceExhausted, "TOO_MANY_VOLUMES");
            true
        })
    })
    .await;
    client.create_volume(keyed(named("more"), &blue)).await.expect("others have no limit");
}

/// A root file system with nothing but busybox.
fn image(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("these tests need: apt-get install busybox-static");
    for name in ["sh", "ls", "cat", "mkdir", "touch"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn links_of_an_image_lead_nowhere() {
    let (roots, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::set_permissions(roots.path(), fs::Permissions::from_mode(0o755)).unwrap();
    open_to_all(outside.path());
    let args = vec!["--image-root".into(), roots.path().display().to_string()];
    let server = Server::start(Options { args, ..Options::default() });
    let name = token();
    create_volume(&server, named(&name)).await;
    let up = format!("../../../../../../../../..{}", outside.path().display());
    for (number, link) in
        [&outside.path().display().to_string(), &up, "/bin", "bin", "..", "/proc/1/root"].into_iter().enumerate()
    {
        let root = roots.path().join(number.to_string());
        image(&root);
        symlink(link, root.join("data")).unwrap();
        for path in ["/data", "/data/below"] {
            let request =
                v1::CreateSandboxRequest { image: root.display().to_string(), ..with_volumes(LINUX, &[(&name, path)]) };
            let status = refused(&server, request).await;
            expect_error(&status, Code::FailedPrecondition, "VOLUME_UNUSABLE");
            assert!(status.message().contains("make /data (a link is there"), "{link}: {status:?}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{link} led to the host");
        }
        let request =
            v1::CreateSandboxRequest { image: root.display().to_string(), ..with_volumes(LINUX, &[(&name, "/a/b")]) };
        let sandbox = create_sandbox(&server, request).await;
        prints(&sandbox, "touch /a/b/file").await;
        assert!(!root.join("a").exists(), "an image is not changed");
        sandbox.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn directories_of_the_host_are_those_that_the_operator_allows() {
    const OWNER: u32 = 12_345;
    let top = tempfile::tempdir().unwrap();
    let top = top.path().canonicalize().unwrap();
    let (allowed, secret) = (top.join("allowed"), top.join("secret"));
    for path in [&allowed.join("one/two"), &allowed.join("roots"), &secret] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(secret.join("file"), "secret").unwrap();
    symlink(&secret, allowed.join("link")).unwrap();
    for path in [allowed.join("one"), allowed.join("one/two")] {
        chown(path, Some(OWNER), Some(OWNER)).unwrap();
    }
    let args = vec!["--allow-bind".into(), allowed.display().to_string()];
    let server = Server::start(Options { args, ..Options::default() });
    let mut client = volumes(&server).await;
    let ask = |name: &str, directory: &Path| CreateVolumeRequest {
        host_directory: directory.display().to_string(),
        ..named(name)
    };
    for outside in [secret.clone(), allowed.join("link"), allowed.join("../secret"), top.join("none"), "/".into()] {
        let status = client.create_volume(ask("no", &outside)).await.expect_err("it is outside");
        expect_error(&status, Code::FailedPrecondition, "NOT_ALLOWED");
    }
    let status = client.create_volume(ask("no", &allowed.join("none"))).await.expect_err("there is nothing");
    expect_bad_fields(&status, &["host_directory"]);
    let limited = CreateVolumeRequest { size_bytes: Some(MIB), ..ask("no", &allowed.join("one")) };
    expect_bad_fields(&client.create_volume(limited).await.expect_err("nobody limits it"), &["size_bytes"]);

    let volume = create_volume(&server, ask("one", &allowed.join("one"))).await;
    assert_eq!((volume.host_directory.as_str(), volume.size_bytes), (allowed.join("one").to_str().unwrap(), None));
    for overlapping in [allowed.clone(), allowed.join("one/two")] {
        expect_bad_fields(
            &client.create_volume(ask("no", &overlapping)).await.expect_err("they overlap"),
            &["host_directory"],
        );
    }
    let sandbox = create_sandbox(&server, with_volumes(LINUX, &[("one", "/data")])).await;
    assert_eq!(prints(&sandbox, "echo new >/data/file; stat -c %u:%g /data /data/file").await, "0:0\n0:0\n");
    let meta = fs::metadata(allowed.join("one/file")).expect("it is on the host");
    assert_eq!((meta.uid(), meta.gid()), (OWNER, OWNER), "it belongs to whom the directory belongs");
    let status = client.delete_volume(v1::DeleteVolumeRequest { volume: "one".into() }).await.expect_err("it is used");
    expect_error(&status, Code::FailedPrecondition, "VOLUME_IN_USE");
    sandbox.delete().await;
    // What belongs to root can be read. Whoever may write there could leave programs that run as root.
    create_volume(&server, ask("roots", &allowed.join("roots"))).await;
    let status = refused(&server, with_volumes(LINUX, &[("roots", "/data")])).await;
    expect_error(&status, Code::FailedPrecondition, "VOLUME_UNUSABLE");
    assert!(status.message().contains("root") && status.message().contains("read_only"), "{status:?}");
    let reader = create_sandbox(&server, with_volumes(LINUX, &[("roots", "/data:ro")])).await;
    assert_ne!(reader.run("ls /data && touch /data/x").await.exit_code(), 0);
    reader.delete().await;
    // A link that takes its place later leads nowhere.
    fs::rename(allowed.join("one"), allowed.join("moved")).unwrap();
    symlink(&secret, allowed.join("one")).unwrap();
    let status = refused(&server, with_volumes(LINUX, &[("one", "/data")])).await;
    expect_error(&status, Code::FailedPrecondition, "VOLUME_UNUSABLE");
    fs::remove_file(allowed.join("one")).unwrap();
    fs::rename(allowed.join("moved"), allowed.join("one")).unwrap();
    delete_volume(&server, "one").await.expect("it is deleted");
    assert_eq!(fs::read_to_string(allowed.join("one/file")).expect("only the name is"), "new\n");
}

/// Without root there are volumes too; what is weaker is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_ordinary_user_has_volumes_without_sizes() {
    const USER: u32 = 1000;
    let host = tempfile::tempdir().unwrap();
    open_to_all(host.path());
    let args = vec!["--allow-bind".into(), host.path().display().to_string()];
    let server = Server::start(Options { uid: Some(USER), args, ..Default::default() });
    let status = volumes(&server).await.create_volume(sized("data", 16 * MIB)).await.expect_err("nobody limits it");
    expect_error(&status, Code::FailedPrecondition, "NOT_SUPPORTED_BY_HOST");
    assert!(status.message().contains("size_bytes"), "{status:?}");
    // What was refused is not there.
    assert_eq!(create_volume(&server, named("data")).await.size_bytes, None);
    let bind = CreateVolumeRequest { host_directory: host.path().display().to_string(), ..named("host") };
    create_volume(&server, bind).await;
    let both = [("data", "/data"), ("host", "/mnt/host")];
    let writer = create_sandbox(&server, with_volumes(LINUX, &both)).await;
    prints(&writer, "echo 1 >/data/file; ln -s file /data/link; chmod 600 /data/file; echo 2 >/mnt/host/file").await;
    assert_eq!(fs::metadata(host.path().join("file")).expect("it is on the host").uid(), USER);
    writer.delete().await;
    let readers = [("data", "/deep/data:ro"), ("host", "/data:ro")];
    let reader = create_sandbox(&server, with_volumes(LINUX, &readers)).await;
    assert_eq!(
        prints(&reader, "stat -c '%u %a' /deep/data/file; cat /deep/data/link /data/file").await,
        "0 600\n1\n2\n"
    );
    for path in ["/deep/data", "/data"] {
        let got = reader.run(&format!("touch {path}/new")).await;
        assert!(got.exit_code() != 0 && got.err().contains("Read-only"), "{got:?}");
    }
    reader.delete().await;
    for name in ["data", "host"] {
        delete_volume(&server, name).await.expect("it is deleted");
    }
    assert!(host.path().join("file").exists());
}

/// Without a file system of its own, the server keeps volumes in its directory, where nobody limits them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_pool_volumes_are_directories() {
    let args = vec!["--max-pool-bytes".to_owned(), "0".to_owned()];
    let server = Server::start(Options { args, ..Default::default() });
    let status = volumes(&server).await.create_volume(sized("data", 16 * MIB)).await.expect_err("nobody limits it");
    expect_error(&status, Code::FailedPrecondition, "NOT_SUPPORTED_BY_HOST");
    create_volume(&server, named("data")).await;
    for round in 0..2 {
        let sandbox = create_sandbox(&server, with_volumes(LINUX, &[("data", "/data")])).await;
        prints(&sandbox, "echo 1 >/data/file; chown 1234:5 /data/file").await;
        assert_eq!(prints(&sandbox, "stat -c %u:%g /data /data/file").await, "0:0\n1234:5\n", "{round}");
        sandbox.delete().await;
    }
    delete_volume(&server, "data").await.expect("it is deleted");
    assert_eq!(fs::read_dir(server.data_dir().join("volumes")).unwrap().count(), 0);
    let request = v1::CreateSandboxRequest { volumes: vec![mount("data", "/data")], ..Default::default() };
    expect_error(&refused(&server, request).await, Code::NotFound, "VOLUME_NOT_FOUND");
}
