//! What is in a volume is there for the next sandbox, as it was left; and who may have it at the same time is certain.

use crate::kit::{
    Runtime, create_sandbox,
    errors::{expect_bad_fields, expect_error},
    host, token, v1,
    volumes::{create_volume, delete_volume, get_volume, mount, named, prints, refused, volumes, with_volumes},
    within,
};
use futures_util::future::join_all;
use tonic::Code;

crate::in_every_runtime!(
    a_writer_finds_what_the_one_before_has_written,
    either_one_writes_or_many_read,
    of_those_who_come_at_the_same_moment_one_writes,
    shared_ones_are_written_by_many,
    one_that_is_used_cannot_be_deleted,
    requests_that_cannot_be_are_refused,
);

/// Owners, modes, links, times and what is special.
const WRITE: &str = "set -e; cd /data
echo content >file; chown 1234:2345 file; chmod 640 file; touch -d '2001-02-03 04:05:06 UTC' file
mkdir -p deep/er; ln -s ../file deep/link; ln file deep/hard; mkfifo pipe; chown 65534:0 pipe; echo '#!/bin/sh' >run
echo 'echo ran' >>run; chmod 4755 run; chown 70000:70000 deep 2>/dev/null || true";
const LOOK: &str =
    "cd /data; stat -c '%n %u:%g %a %h %F %Y' file run deep/link pipe; readlink deep/link; cat deep/link; ./run";

async fn a_writer_finds_what_the_one_before_has_written(on: Runtime) {
    let (server, name) = (on.shared(), token());
    let volume = create_volume(server, named(&name)).await;
    assert!(volume.volume_id.starts_with("vol-") && volume.name == name && volume.used_by.is_empty(), "{volume:?}");
    // By its name, and at a path that the image does not have.
    let first = create_sandbox(server, with_volumes(on, &[(&name, "/data")])).await;
    let told = v1::VolumeMount { volume_id: volume.volume_id.clone(), ..mount(&name, "/data") };
    assert_eq!(first.described.volumes, [told]);
    let used = get_volume(server, &name).await.expect("it is there").used_by;
    let wanted = v1::VolumeUse { sandbox_id: first.id.clone(), path: "/data".to_owned(), read_only: false };
    assert_eq!(used, [wanted]);
    assert_eq!(prints(&first, "ls -A /data; stat -c '%u:%g' /data").await, "0:0\n", "it is empty, and root's");
    prints(&first, WRITE).await;
    let seen = prints(&first, LOOK).await;
    assert!(seen.contains("file 1234:2345 640 2 regular file 981173106\n") && seen.ends_with("ran\n"), "{seen}");
    first.delete().await;
    // By its id, and below directories that the image does not have either.
    let second = create_sandbox(server, with_volumes(on, &[(&volume.volume_id, "/workspace/a/b")])).await;
    let look = LOOK.replace("/data", "/workspace/a/b");
    assert_eq!(prints(&second, &look).await, seen);
    assert_eq!(prints(&second, "stat -c '%u:%g %a' /workspace/a").await, "0:0 755\n");
    // Nothing else of the first one is there, and devices have no effect: where containers can make none, this is left to that.
    prints(&second, "test ! -e /data").await;
    if on == Runtime::Linux {
        prints(&second, "grep ' /workspace/a/b ' /proc/mounts | grep nodev").await;
    }
    // Files of the service go there too.
    let open =
        v1::WriteOpen { sandbox_id: second.id.clone(), path: "/workspace/a/b/file".into(), ..Default::default() };
    let messages = [v1::write_request::Request::Open(open), v1::write_request::Request::Data("new".into())];
    let messages = messages.map(|request| v1::WriteRequest { request: Some(request) });
    second.clients.files.clone().write(tokio_stream::iter(messages)).await.expect("it is written");
    second.delete().await;
    let third = create_sandbox(server, with_volumes(on, &[(&name, "/data:ro")])).await;
    assert_eq!(prints(&third, "cat /data/file").await, "new");
    third.delete().await;
    delete_volume(server, &name).await.expect("it is deleted");
    expect_error(&get_volume(server, &name).await.expect_err("it is gone"), Code::NotFound, "VOLUME_NOT_FOUND");
    // The name is free, and means an empty one.
    create_volume(server, named(&name)).await;
    let last = create_sandbox(server, with_volumes(on, &[(&name, "/data")])).await;
    assert_eq!(prints(&last, "ls -A /data").await, "");
}

async fn either_one_writes_or_many_read(on: Runtime) {
    let (server, name) = (on.shared(), token());
    create_volume(server, named(&name)).await;
    let writer = create_sandbox(server, with_volumes(on, &[(&name, "/data")])).await;
    prints(&writer, "echo 1 >/data/file").await;
    for path in ["/data", "/data:ro"] {
        let status = refused(server, with_volumes(on, &[(&name, path)])).await;
        expect_error(&status, Code::FailedPrecondition, "VOLUME_IN_USE");
        assert!(status.message().contains(&writer.id) && status.message().contains(&name), "{status:?}");
    }
    writer.delete().await;
    let readers = [(); 2].map(|()| with_volumes(on, &[(&name, "/data:ro")]));
    let readers = join_all(readers.map(|request| create_sandbox(server, request))).await;
    for reader in &readers {
        assert_eq!(prints(reader, "cat /data/file").await, "1\n");
        for write in
            ["echo 2 >/data/file", "touch /data/new", "rm /data/file", "chmod 777 /data", "mv /data/file /tmp/x"]
        {
            let got = reader.run(write).await;
            assert!(got.exit_code() != 0 && got.err().contains("Read-only"), "`{write}`: {got:?}");
        }
        let got = reader.run("mount -o remount,rw /data || mount -o bind,remount,rw /data").await;
        assert_ne!(got.exit_code(), 0, "{got:?}");
    }
    let status = refused(server, with_volumes(on, &[(&name, "/data")])).await;
    expect_error(&status, Code::FailedPrecondition, "VOLUME_IN_USE");
    readers[0].delete().await;
    expect_error(
        &refused(server, with_volumes(on, &[(&name, "/data")])).await,
        Code::FailedPrecondition,
        "VOLUME_IN_USE",
    );
    readers[1].delete().await;
    let writer = create_sandbox(server, with_volumes(on, &[(&name, "/data")])).await;
    // One whose agent ended by itself lets go of it too.
    if on == Runtime::Linux {
        let word = token();
        prints(&writer, &format!("echo {word} >/{word}")).await;
        host::signal(host::agent_with_file(&format!("/{word}")), libc::SIGKILL);
        within::until("an end that is noticed", async || {
            get_volume(server, &name).await.is_ok_and(|volume| volume.used_by.is_empty())
        })
        .await;
        let next = create_sandbox(server, with_volumes(on, &[(&name, "/data")])).await;
        assert_eq!(prints(&next, "cat /data/file").await, "1\n");
    }
}

async fn of_those_who_come_at_the_same_moment_one_writes(on: Runtime) {
    let (server, name) = (on.shared(), token());
    create_volume(server, named(&name)).await;
    let mut clients = server.connect().await.sandboxes;
    let request = with_volumes(on, &[(&name, "/data")]);
    let tries = (0..4).map(|_| {
        let (mut client, request) = (clients.clone(), request.clone());
        async move { client.create_sandbox(request).await }
    });
    let (made, refused): (Vec<_>, Vec<_>) =
        within("four answers", join_all(tries)).await.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 3), "{made:?}");
    for status in refused.into_iter().filter_map(Result::err) {
        expect_error(&status, Code::FailedPrecondition, "VOLUME_IN_USE");
    }
    for sandbox in made.into_iter().flatten() {
        let sandbox_id = sandbox.into_inner().sandbox_id;
        clients.delete_sandbox(v1::DeleteSandboxRequest { sandbox_id }).await.expect("it is deleted");
    }
}

async fn shared_ones_are_written_by_many(on: Runtime) {
    let (server, name, request_id) = (on.shared(), token(), token());
    let request = v1::CreateVolumeRequest {
        shared: true,
        labels: [("a".to_owned(), "b".to_owned())].into(),
        request_id: request_id.clone(),
        ..named(&name)
    };
    let volume = create_volume(server, request.clone()).await;
    assert!(volume.shared && volume.labels["a"] == "b", "{volume:?}");
    assert_eq!(create_volume(server, request.clone()).await, volume, "the same request");
    let other = v1::CreateVolumeRequest { shared: false, ..request };
    let status = volumes(server).await.create_volume(other).await.expect_err("another request");
    expect_error(&status, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    let one = create_sandbox(server, with_volumes(on, &[(&name, "/data")])).await;
    let two = create_sandbox(server, with_volumes(on, &[(&name, "/elsewhere")])).await;
    let three = create_sandbox(server, with_volumes(on, &[(&name, "/data:ro")])).await;
    prints(&one, "echo 1 >/data/file").await;
    prints(&two, "cat /elsewhere/file && echo 2 >>/elsewhere/file").await;
    assert_eq!(prints(&three, "cat /data/file").await, "1\n2\n");
    assert_eq!(get_volume(server, &name).await.expect("it is there").used_by.len(), 3);
}

async fn one_that_is_used_cannot_be_deleted(on: Runtime) {
    let (server, name) = (on.shared(), token());
    let volume = create_volume(server, named(&name)).await;
    let sandbox = create_sandbox(server, with_volumes(on, &[(&name, "/data:ro")])).await;
    for word in [&name, &volume.volume_id] {
        let status = delete_volume(server, word).await.expect_err("it is used");
        expect_error(&status, Code::FailedPrecondition, "VOLUME_IN_USE");
        assert!(status.message().contains(&sandbox.id), "{status:?}");
    }
    prints(&sandbox, "ls /data").await;
    sandbox.delete().await;
    delete_volume(server, &name).await.expect("it is deleted");
    expect_error(&delete_volume(server, &name).await.expect_err("it is gone"), Code::NotFound, "VOLUME_NOT_FOUND");
}

async fn requests_that_cannot_be_are_refused(on: Runtime) {
    let (server, name) = (on.shared(), token());
    create_volume(server, named(&name)).await;
    let status = volumes(server).await.create_volume(named(&name)).await.expect_err("the name is taken");
    expect_error(&status, Code::AlreadyExists, "ALREADY_EXISTS");
    let status = refused(server, with_volumes(on, &[(&name, "/data"), ("no-such", "/other")])).await;
    expect_error(&status, Code::NotFound, "VOLUME_NOT_FOUND");
    assert!(status.message().contains("no-such") && status.message().contains("volumes[1].volume"), "{status:?}");
    // What was refused has taken nothing.
    assert!(get_volume(server, &name).await.expect("it is there").used_by.is_empty());
    let twice = refused(server, with_volumes(on, &[(&name, "/data"), (&name, "/other:ro")])).await;
    expect_bad_fields(&twice, &["volumes[1].volume"]);
    let wrong = [(name.as_str(), "data"), ("", "/x"), ("a", "/proc/x"), ("b", "/x/y")];
    let wrong = refused(server, with_volumes(on, &wrong)).await;
    expect_bad_fields(&wrong, &["volumes[0].path", "volumes[1].volume", "volumes[2].path", "volumes[3].path"]);
    let elsewhere = v1::CreateVolumeRequest { host_directory: "/etc".into(), ..named(&token()) };
    let status = volumes(server).await.create_volume(elsewhere).await.expect_err("nothing is allowed");
    expect_error(&status, Code::FailedPrecondition, "NOT_ALLOWED");
    // Where there is a file, there can be no volume; nothing of the sandbox is left.
    let status = refused(server, with_volumes(on, &[(&name, "/etc/passwd/x")])).await;
    assert!(status.message().contains("/etc/passwd"), "{status:?}");
    assert!(get_volume(server, &name).await.expect("it is there").used_by.is_empty());
    let mut client = volumes(server).await;
    let page = client.list_volumes(v1::ListVolumesRequest { page_size: 1, ..Default::default() }).await;
    let page = page.expect("a page").into_inner();
    assert!(page.volumes.len() == 1 && page.total_size >= 1, "{page:?}");
}
