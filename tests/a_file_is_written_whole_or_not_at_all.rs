//! Whoever reads a file sees the old one or the new one, whatever becomes of who writes it.

use crate::kit::{Dice, Runtime, Sandbox, errors::expect_error, host, token, v1::StatRequest, within::until};
use futures_util::future::join_all;
use std::time::Duration;
use tonic::Code;

crate::in_every_runtime!(
    it_is_old_until_it_is_new,
    a_client_that_is_gone_leaves_the_old_one,
    a_full_disk_leaves_the_old_one,
    what_is_wrong_in_the_middle_leaves_the_old_one,
    calls_that_others_cancel_end_none_of_anybodys,
    a_killed_program_for_files_is_replaced,
    what_takes_its_place_meanwhile_is_not_harmed,
    appended_bytes_are_there_as_they_come,
);

/// Names in a directory, also those that begin with a dot.
async fn names(s: &Sandbox, directory: &str) -> String {
    s.run(&format!("ls -A {directory}")).await.out()
}

async fn it_is_old_until_it_is_new(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/d/f", "old").await;
    let writing = s.start_write(s.open_file("/tmp/d/f")).await;
    let piece = vec![b'n'; 1 << 20];
    for _ in 0..8 {
        writing.send(&piece).await;
    }
    assert_eq!(s.read("/tmp/d/f").await, b"old");
    s.run("exec 9< /tmp/d/f; cat <&9").await.expect("old", "", 0);
    assert_eq!(names(&s, "/tmp/d").await, "f\n");
    assert_eq!(writing.finish().await.unwrap().size_bytes, 8 << 20);
    assert!(s.read("/tmp/d/f").await == piece.repeat(8));
    assert_eq!(names(&s, "/tmp/d").await, "f\n");
}

async fn a_client_that_is_gone_leaves_the_old_one(on: Runtime) {
    let (s, directory) = (on.sandbox().await, format!("/tmp/{}", token()));
    s.write(&format!("{directory}/f"), "old").await;
    for _ in 0..5 {
        for name in ["f", "new"] {
            let writing = s.start_write(s.open_file(&format!("{directory}/{name}"))).await;
            writing.send(b"a part of it").await;
            writing.send(b"another part of it").await;
            until("the draft", async || host::unnamed_files_in(&directory) == 1).await;
            writing.give_up().await;
            // It has no name, and nothing else may appear.
            until("the end of the draft", async || host::unnamed_files_in(&directory) == 0).await;
        }
    }
    assert_eq!(names(&s, &directory).await, "f\n");
    assert_eq!(s.read(&format!("{directory}/f")).await, b"old");
}

async fn a_full_disk_leaves_the_old_one(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir /dev/shm/d; printf old > /dev/shm/d/f").await.expect("", "", 0);
    // A memory file system with a limit is in every sandbox.
    let fill = "dd if=/dev/zero of=/dev/shm/fill bs=64k 2>/dev/null; rm -f /dev/shm/none; df -P /dev/shm | tail -1 | tr -s ' ' | cut -d ' ' -f 4";
    assert_eq!(s.run(fill).await.out().trim(), "0");
    let full = s.try_write(s.open_file("/dev/shm/d/f"), &vec![b'n'; 1 << 20]).await.unwrap_err();
    expect_error(&full, Code::ResourceExhausted, "NO_SPACE");
    assert_eq!(s.read("/dev/shm/d/f").await, b"old");
    assert_eq!(names(&s, "/dev/shm/d").await, "f\n");
    s.run("rm /dev/shm/fill").await;
    s.write("/dev/shm/d/f", "new").await;
    assert_eq!(s.read("/dev/shm/d/f").await, b"new");
}

async fn what_is_wrong_in_the_middle_leaves_the_old_one(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/d/f", "old").await;
    let writing = s.start_write(s.open_file("/tmp/d/f")).await;
    writing.send(b"a part").await;
    writing.open_again(s.open_file("/tmp/d/f")).await;
    expect_error(&writing.finish().await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT");
    // Changed by somebody else meanwhile.
    let etag = s.stat("/tmp/d/f").await.unwrap().etag;
    let writing = s.start_write(crate::kit::v1::WriteOpen { if_etag: etag, ..s.open_file("/tmp/d/f") }).await;
    writing.send(b"mine").await;
    s.run("printf theirs > /tmp/d/f").await;
    expect_error(&writing.finish().await.unwrap_err(), Code::FailedPrecondition, "ETAG_MISMATCH");
    assert_eq!(s.read("/tmp/d/f").await, b"theirs");
    assert_eq!(names(&s, "/tmp/d").await, "f\n");
}

/// All calls for the files of a sandbox share a connection to it.
async fn calls_that_others_cancel_end_none_of_anybodys(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/d/f", "old").await;
    let writing = s.start_write(s.open_file("/tmp/d/f")).await;
    writing.send(b"n").await;
    let mut dice = Dice::new();
    for _ in 0..30 {
        // Few enough of each client that its own connection goes on.
        let clients = [on.shared().connect().await, on.shared().connect().await, on.shared().connect().await];
        let calls = clients.iter().cycle().take(300).map(|client| {
            let (mut files, path) = (client.files.clone(), "/tmp/d/f".to_owned());
            let request = StatRequest { sandbox_id: s.id.clone(), path, ..StatRequest::default() };
            let moment = Duration::from_micros(dice.below(16_000));
            async move { tokio::time::timeout(moment, files.stat(request)).await }
        });
        join_all(calls.collect::<Vec<_>>()).await;
    }
    writing.send(b"ew").await;
    writing.finish().await.expect("it is written");
    assert_eq!(s.read("/tmp/d/f").await, b"new");
}

async fn a_killed_program_for_files_is_replaced(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/d/f", "old").await;
    let writing = s.start_write(s.open_file("/tmp/d/f")).await;
    writing.send(b"a part").await;
    let kill = r#"for p in /proc/[0-9]*; do case "$(tr '\0' ' ' < $p/cmdline 2>/dev/null)" in "sandshell files "*) kill -9 ${p#/proc/};; esac; done"#;
    s.run(kill).await.expect("", "", 0);
    let lost = writing.finish().await.unwrap_err();
    expect_error(&lost, Code::Unavailable, "SANDBOX_UNREACHABLE");
    assert!(lost.message().contains("the program in it that works on files has ended"), "{lost:?}");
    until("another to be there", async || s.stat("/tmp/d/f").await.is_ok()).await;
    assert_eq!(s.read("/tmp/d/f").await, b"old");
    s.write("/tmp/d/f", "new").await;
    assert_eq!(s.read("/tmp/d/f").await, b"new");
}

async fn appended_bytes_are_there_as_they_come(on: Runtime) {
    let s = on.sandbox().await;
    let append = |path: &str| crate::kit::v1::WriteOpen { append: true, ..s.open_file(path) };
    s.try_write(append("/tmp/log"), b"one\n").await.unwrap();
    let writing = s.start_write(append("/tmp/log")).await;
    writing.send(b"two\n").await;
    until("the second line", async || s.read("/tmp/log").await == b"one\ntwo\n").await;
    s.run("echo three >> /tmp/log").await;
    writing.send(b"four\n").await;
    assert_eq!(writing.finish().await.unwrap().size_bytes, 19);
    assert_eq!(s.read("/tmp/log").await, b"one\ntwo\nthree\nfour\n");
}

/// A directory, a link and a FIFO that come to the name while a file is written stay what they are, or the new file replaces a link by
/// itself; what a link leads to is never written.
async fn what_takes_its_place_meanwhile_is_not_harmed(on: Runtime) {
    let (s, directory) = (on.sandbox().await, format!("/tmp/{}", token()));
    let file = format!("{directory}/f");
    s.run(&format!("mkdir {directory}; echo other > {directory}/other")).await.expect("", "", 0);
    for (made, kept) in
        [("mkdir f; echo in > f/in", "cat f/in"), ("ln -s other f", "cat other"), ("mkfifo f", "cat other")]
    {
        s.write(&file, "old").await;
        let writing = s.start_write(s.open_file(&file)).await;
        writing.send(b"new").await;
        // What the name leads to is decided when the file is opened.
        until("the draft", async || host::unnamed_files_in(&directory) == 1).await;
        s.run(&format!("cd {directory}; rm f; {made}")).await.expect("", "", 0);
        let ended = writing.finish().await;
        let is_directory = made.starts_with("mkdir");
        match ended {
            Err(status) => expect_error(
                &status,
                Code::FailedPrecondition,
                if is_directory { "IS_A_DIRECTORY" } else { "NOT_A_FILE" },
            ),
            Ok(_) => {
                assert!(!is_directory, "a directory was replaced by a file");
                assert_eq!(s.read(&file).await, b"new", "after `{made}`");
            }
        }
        let expected = if is_directory { "in\n" } else { "other\n" };
        s.run(&format!("cd {directory}; {kept}")).await.expect(expected, "", 0);
        assert!(!names(&s, &directory).await.contains(".tmp"), "no draft is left");
        s.run(&format!("rm -rf {file}")).await.expect("", "", 0);
    }
}
