//! What a client writes into a sandbox is there, byte for byte, for its programs; and the other way round.

use crate::kit::{Dice, Runtime, errors::expect_error, v1};
use tonic::Code;
use v1::{ReadRequest, StatRequest, file::Type};

crate::in_every_runtime!(
    every_byte_arrives,
    a_part_can_be_read,
    a_program_and_a_client_see_the_same,
    relative_paths_begin_where_programs_do,
    names_may_be_anything,
    what_is_no_file_is_refused_at_once,
    files_of_the_kernel_can_be_read,
    each_mistake_has_its_reason,
);

async fn every_byte_arrives(on: Runtime) {
    let s = on.sandbox().await;
    let mut dice = Dice::new();
    let all: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let random: Vec<u8> = (0..3 << 20).map(|_| dice.below(256) as u8).collect();
    for (name, data) in [("empty", &[][..]), ("one", b"\0"), ("all", &all), ("large", &random)] {
        let path = format!("/tmp/{name}");
        let file = s.write(&path, data).await;
        assert_eq!((file.size_bytes, file.mode, file.r#type()), (data.len() as i64, 0o644, Type::File), "{file:?}");
        assert_eq!(file.path, path);
        assert!(s.read(&path).await == data, "{name} comes back as it was");
        s.run(&format!("wc -c < {path}")).await.expect(format!("{}\n", data.len()), "", 0);
    }
}

async fn a_part_can_be_read(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/f", "0123456789").await;
    for (offset, length, expected) in
        [(0, 4, "0123"), (3, 0, "3456789"), (8, 5, "89"), (10, 0, ""), (99, 0, ""), (-3, 2, "78")]
    {
        let request =
            ReadRequest { offset, length, sandbox_id: s.id.clone(), path: "/tmp/f".into(), ..Default::default() };
        let (file, data) = s.try_read(request).await.unwrap();
        assert_eq!((String::from_utf8(data).unwrap().as_str(), file.size_bytes), (expected, 10), "from {offset}");
    }
}

async fn a_program_and_a_client_see_the_same(on: Runtime) {
    let s = on.sandbox().await;
    s.run("umask 022; printf 'of a program' > /tmp/f; chmod 751 /tmp/f; ln -s f /tmp/l; touch -d @1234567890.5 /tmp/f")
        .await;
    assert_eq!(s.read("/tmp/l").await, b"of a program");
    let file = s.stat("/tmp/f").await.unwrap();
    assert_eq!((file.mode, file.owner.as_str(), file.group.as_str(), file.uid), (0o751, "root", "root", 0));
    assert_eq!(file.modify_time, Some(prost_types::Timestamp { seconds: 1_234_567_890, nanos: 500_000_000 }));
    let link = s.stat("/tmp/l").await.unwrap();
    assert_eq!((link.r#type(), link.link_target.as_str()), (Type::Symlink, "f"));
    let follow = StatRequest { sandbox_id: s.id.clone(), path: "/tmp/l".into(), ..Default::default() };
    let followed = s.clients.files.clone().stat(follow).await.unwrap().into_inner();
    assert_eq!((followed.r#type(), followed.etag, followed.path.as_str()), (Type::File, file.etag.clone(), "/tmp/l"));
    s.run("printf x >> /tmp/f").await;
    assert_ne!(s.stat("/tmp/f").await.unwrap().etag, file.etag, "a change shows");
    // Through the link, which stays one; the mode stays too.
    s.write("/tmp/l", "of a client").await;
    s.run("cat /tmp/f; stat -c ' %a' /tmp/f; readlink /tmp/l").await.expect("of a client 751\nf\n", "", 0);
}

async fn relative_paths_begin_where_programs_do(on: Runtime) {
    let s = on.sandbox().await;
    let file = s.write("here", "x").await;
    let directory = s.run("pwd").await.out();
    assert_eq!(file.path, format!("{}/here", directory.trim().trim_end_matches('/')));
    s.run("cat here").await.expect("x", "", 0);
}

async fn names_may_be_anything(on: Runtime) {
    let s = on.sandbox().await;
    let long = "n".repeat(255);
    for name in ["a b", "new\nline", "q'u\"o`te$", "-rf", "ž", &long] {
        s.write(&format!("/tmp/d/{name}"), "x").await;
    }
    let names: Vec<_> = s.list("/tmp/d", false, 0).await.into_iter().map(|file| file.path).collect();
    let expected = ["-rf", "a b", "new\nline", &long, "q'u\"o`te$", "ž"].map(|name| format!("/tmp/d/{name}"));
    assert_eq!(names, expected, "in order of their bytes");
    // Names that are no text.
    s.run(r"mkdir /tmp/raw; printf secret > /tmp/raw/$(printf '\377\376x')").await;
    let [file] = s.list("/tmp/raw", false, 0).await.try_into().unwrap();
    assert_eq!(
        (file.raw_path.as_ref(), file.path.as_str()),
        (&b"/tmp/raw/\xff\xfex"[..], "/tmp/raw/\u{fffd}\u{fffd}x")
    );
    let request = ReadRequest { sandbox_id: s.id.clone(), raw_path: file.raw_path.clone(), ..Default::default() };
    assert_eq!(s.try_read(request).await.unwrap().1, b"secret");
    let request = v1::RemoveRequest { sandbox_id: s.id.clone(), raw_path: file.raw_path, ..Default::default() };
    s.clients.files.clone().remove(request).await.unwrap();
    assert_eq!(s.list("/tmp/raw", false, 0).await, []);
    // As deep as a path can be.
    let deep = format!("/tmp/{}", ["d".repeat(200).as_str()].repeat(20).join("/"));
    assert!(deep.len() < 4090);
    let open = v1::WriteOpen { parents: true, ..s.open_file(&format!("{deep}/f")) };
    s.try_write(open, b"deep").await.unwrap();
    assert_eq!(s.read(&format!("{deep}/f")).await, b"deep");
}

async fn what_is_no_file_is_refused_at_once(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkfifo /tmp/fifo; ln -s /dev/zero /tmp/zero; ln -s loop /tmp/loop").await;
    for (path, reason) in [
        ("/tmp", "IS_A_DIRECTORY"),
        ("/tmp/fifo", "NOT_A_FILE"),
        ("/tmp/zero", "NOT_A_FILE"),
        ("/dev/null", "NOT_A_FILE"),
        ("/tmp/loop", "TOO_MANY_LINKS"),
    ] {
        let request = ReadRequest { sandbox_id: s.id.clone(), path: path.into(), ..Default::default() };
        let refused = s.try_read(request).await.unwrap_err();
        expect_error(&refused, Code::FailedPrecondition, reason);
        assert!(refused.message().contains(path), "{refused:?}");
        let refused = s.try_write(s.open_file(path), b"x").await.unwrap_err();
        expect_error(&refused, Code::FailedPrecondition, reason);
    }
}

async fn files_of_the_kernel_can_be_read(on: Runtime) {
    let s = on.sandbox().await;
    let text = String::from_utf8(s.read("/proc/self/status").await).unwrap();
    assert!(text.starts_with("Name:") && text.contains("\nUid:"), "{text}");
    assert!(!s.read("/proc/cpuinfo").await.is_empty());
}

async fn each_mistake_has_its_reason(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/f", "x").await;
    let read = |path: &str| {
        let (s, path) = (s.clone(), path.to_owned());
        async move {
            let request = ReadRequest { sandbox_id: s.id.clone(), path, ..Default::default() };
            s.try_read(request).await.unwrap_err()
        }
    };
    expect_error(&read("/tmp/none").await, Code::NotFound, "FILE_NOT_FOUND");
    expect_error(&read("/tmp/f/below").await, Code::FailedPrecondition, "NOT_A_DIRECTORY");
    let long = format!("/tmp/{}", "n".repeat(256));
    expect_error(&read(&long).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    let exclusive = v1::WriteOpen { exclusive: true, ..s.open_file("/tmp/f") };
    expect_error(&s.try_write(exclusive, b"y").await.unwrap_err(), Code::AlreadyExists, "ALREADY_EXISTS");
    let orphan = s.try_write(s.open_file("/tmp/no/such/f"), b"y").await.unwrap_err();
    expect_error(&orphan, Code::NotFound, "FILE_NOT_FOUND");
    let wrong = v1::WriteOpen { if_etag: "other".into(), ..s.open_file("/tmp/f") };
    expect_error(&s.try_write(wrong, b"y").await.unwrap_err(), Code::FailedPrecondition, "ETAG_MISMATCH");
    let right = v1::WriteOpen { if_etag: s.stat("/tmp/f").await.unwrap().etag, ..s.open_file("/tmp/f") };
    s.try_write(right, b"z").await.unwrap();
    assert_eq!(s.read("/tmp/f").await, b"z");
    let of_nobody = ReadRequest { sandbox_id: "sbx-none".into(), path: "/x".into(), ..Default::default() };
    expect_error(&s.try_read(of_nobody).await.unwrap_err(), Code::NotFound, "SANDBOX_NOT_FOUND");
}
