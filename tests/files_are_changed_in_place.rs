//! Directories and files are listed, made, moved, copied, removed and edited where they are.

use crate::kit::{Runtime, Sandbox, errors::expect_error, v1};
use tonic::{Code, Status};
use v1::{CopyRequest, File, MakeDirectoryRequest, MoveRequest, RemoveRequest, SetAttributesRequest};

crate::in_every_runtime!(
    a_tree_is_listed_page_by_page,
    a_page_goes_on_where_the_last_one_ended,
    things_are_moved,
    trees_are_copied,
    things_are_removed,
    directories_are_made,
    attributes_are_set,
    attributes_are_set_nowhere_else,
    text_is_replaced,
    a_text_that_is_not_there_changes_nothing,
    a_text_that_would_become_too_long_is_refused,
    each_refusal_says_why,
);

fn paths(files: &[File]) -> Vec<&str> {
    files.iter().map(|file| file.path.as_str()).collect()
}

async fn a_tree_is_listed_page_by_page(on: Runtime) {
    let s = on.sandbox().await;
    s.run(
        "mkdir -p /tmp/d/a/b /tmp/d/a.c; touch /tmp/d/a/b/x /tmp/d/a/y /tmp/d/a.c/z /tmp/d/b; ln -s /tmp/d /tmp/d/a/up",
    )
    .await;
    let expected = ["a", "a/b", "a/b/x", "a/up", "a/y", "a.c", "a.c/z", "b"].map(|path| format!("/tmp/d/{path}"));
    for page_size in [0, 1, 2, 3, 8, 1000] {
        assert_eq!(paths(&s.list("/tmp/d", true, page_size).await), expected, "in pages of {page_size}");
    }
    assert_eq!(paths(&s.list("/tmp/d", false, 2).await), ["/tmp/d/a", "/tmp/d/a.c", "/tmp/d/b"]);
    let request = v1::ListRequest {
        sandbox_id: s.id.clone(),
        path: "/tmp/d".into(),
        recursive: true,
        page_size: 2,
        ..Default::default()
    };
    let page = s.clients.files.clone().list(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.total_size, 8);
    let wrong = v1::ListRequest { page_token: "x".into(), ..request.clone() };
    expect_error(&s.clients.files.clone().list(wrong).await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT");
    let file = v1::ListRequest { path: "/tmp/d/b".into(), ..request };
    expect_error(&s.clients.files.clone().list(file).await.unwrap_err(), Code::FailedPrecondition, "NOT_A_DIRECTORY");
}

async fn a_page_goes_on_where_the_last_one_ended(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/d; cd /tmp/d; mkdir b; touch a b/1 b/2 b/3 c").await;
    let mut request = v1::ListRequest {
        sandbox_id: s.id.clone(),
        path: "/tmp/d".into(),
        recursive: true,
        page_size: 3,
        ..Default::default()
    };
    let first = s.clients.files.clone().list(request.clone()).await.unwrap().into_inner();
    assert_eq!(paths(&first.files), ["/tmp/d/a", "/tmp/d/b", "/tmp/d/b/1"]);
    // What was listed last is gone, and something new is before it and behind it.
    s.run("cd /tmp/d; rm b/1; touch a0 b/0 b/11").await;
    request.page_token = first.next_page_token;
    let second = s.clients.files.clone().list(request).await.unwrap().into_inner();
    assert_eq!(paths(&second.files), ["/tmp/d/b/11", "/tmp/d/b/2", "/tmp/d/b/3"]);
}

async fn try_move(s: &Sandbox, from: &str, to: &str, overwrite: bool) -> Result<File, Status> {
    let (path, new_path) = (from.into(), to.into());
    let request = MoveRequest { sandbox_id: s.id.clone(), path, new_path, overwrite, ..Default::default() };
    s.clients.files.clone().r#move(request).await.map(tonic::Response::into_inner)
}

async fn things_are_moved(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/d/f", "x").await;
    s.write("/tmp/d/g", "y").await;
    assert_eq!(try_move(&s, "/tmp/d/f", "/tmp/d/h", false).await.unwrap().path, "/tmp/d/h");
    expect_error(
        &try_move(&s, "/tmp/d/h", "/tmp/d/g", false).await.unwrap_err(),
        Code::AlreadyExists,
        "ALREADY_EXISTS",
    );
    try_move(&s, "/tmp/d/h", "/tmp/d/g", true).await.unwrap();
    assert_eq!((s.read("/tmp/d/g").await, paths(&s.list("/tmp/d", false, 0).await).len()), (b"x".to_vec(), 1));
    expect_error(&try_move(&s, "/tmp/d/none", "/tmp/d/i", true).await.unwrap_err(), Code::NotFound, "FILE_NOT_FOUND");
    expect_error(
        &try_move(&s, "/tmp/d", "/tmp/d/e", true).await.unwrap_err(),
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    // To another file system, with everything that it has.
    s.run("cd /tmp/d; mkdir e; ln -s g e/l; printf z > e/f; chmod 640 e/f; chmod 2750 e; touch -d @1000000000 e/f e")
        .await;
    try_move(&s, "/tmp/d/e", "/dev/shm/e", false).await.unwrap();
    let seen = s.run("cd /dev/shm/e; stat -c '%a %Y' . f; readlink l; cat f; ls /tmp/d").await;
    seen.expect("2750 1000000000\n640 1000000000\ng\nzg\n", "", 0);
}

async fn trees_are_copied(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/d/e; cd /tmp/d; printf x > e/f; chmod 751 e/f; ln -s f e/l; mkfifo e/p; touch -d @1000000000 e/f").await;
    let copy = |to: &str, recursive, overwrite| {
        let (path, new_path) = ("/tmp/d/e".into(), to.into());
        let request =
            CopyRequest { sandbox_id: s.id.clone(), path, new_path, recursive, overwrite, ..Default::default() };
        let mut files = s.clients.files.clone();
        async move { files.copy(request).await.map(tonic::Response::into_inner) }
    };
    expect_error(&copy("/tmp/c", false, false).await.unwrap_err(), Code::FailedPrecondition, "IS_A_DIRECTORY");
    copy("/tmp/c", true, false).await.unwrap();
    s.run("cd /tmp/c; stat -c '%a %Y' f; readlink l; ls; cat f").await.expect("751 1000000000\nf\nf\nl\nx", "", 0);
    expect_error(&copy("/tmp/c", true, false).await.unwrap_err(), Code::AlreadyExists, "ALREADY_EXISTS");
    expect_error(&copy("/tmp/d/e/in", true, false).await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT");
    let (path, new_path) = ("/tmp/d/e/f".into(), "/tmp/c/f".into());
    let file = CopyRequest { sandbox_id: s.id.clone(), path, new_path, ..Default::default() };
    let refused = s.clients.files.clone().copy(file.clone()).await.unwrap_err();
    expect_error(&refused, Code::AlreadyExists, "ALREADY_EXISTS");
    s.run("printf new > /tmp/d/e/f").await;
    s.clients.files.clone().copy(CopyRequest { overwrite: true, ..file }).await.unwrap();
    assert_eq!(s.read("/tmp/c/f").await, b"new");
}

async fn things_are_removed(on: Runtime) {
    let s = on.sandbox().await;
    let remove = |path: &str, recursive, missing_ok| {
        let request =
            RemoveRequest { sandbox_id: s.id.clone(), path: path.into(), recursive, missing_ok, ..Default::default() };
        let mut files = s.clients.files.clone();
        async move { files.remove(request).await }
    };
    s.run(
        "mkdir -p /tmp/d/e /tmp/keep; touch /tmp/d/e/f /tmp/keep/f; ln -s /tmp/keep /tmp/d/l; ln -s /tmp/keep /tmp/l",
    )
    .await;
    expect_error(&remove("/tmp/d", false, false).await.unwrap_err(), Code::FailedPrecondition, "DIRECTORY_NOT_EMPTY");
    remove("/tmp/d", true, false).await.unwrap();
    // A link goes, also with a slash behind its name, and what it leads to stays.
    remove("/tmp/l/", true, false).await.unwrap();
    s.run("ls /tmp/keep; ls -d /tmp/d /tmp/l 2>/dev/null").await.expect("f\n", "", 2);
    expect_error(&remove("/tmp/d", true, false).await.unwrap_err(), Code::NotFound, "FILE_NOT_FOUND");
    remove("/tmp/d", true, true).await.unwrap();
    for path in ["/", "/tmp/.."] {
        expect_error(&remove(path, true, false).await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    s.run("echo alive").await.expect("alive\n", "", 0);
}

async fn directories_are_made(on: Runtime) {
    let s = on.sandbox().await;
    let make = |path: &str, parents, mode| {
        let request =
            MakeDirectoryRequest { sandbox_id: s.id.clone(), path: path.into(), parents, mode, ..Default::default() };
        let mut files = s.clients.files.clone();
        async move { files.make_directory(request).await.map(tonic::Response::into_inner) }
    };
    expect_error(&make("/tmp/a/b", false, None).await.unwrap_err(), Code::NotFound, "FILE_NOT_FOUND");
    assert_eq!(make("/tmp/a/b", true, Some(0o1777)).await.unwrap().mode, 0o1777);
    assert_eq!(make("/tmp/a/b", true, None).await.unwrap().mode, 0o1777, "it was there");
    expect_error(&make("/tmp/a/b", false, None).await.unwrap_err(), Code::AlreadyExists, "ALREADY_EXISTS");
    s.run("touch /tmp/f; stat -c %a /tmp/a").await.expect("755\n", "", 0);
    expect_error(&make("/tmp/f", true, None).await.unwrap_err(), Code::AlreadyExists, "ALREADY_EXISTS");
}

async fn attributes_are_set(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/d/e; touch /tmp/d/f /tmp/d/e/g /tmp/outside; ln -s /tmp/outside /tmp/d/l").await;
    let request = SetAttributesRequest { sandbox_id: s.id.clone(), path: "/tmp/d".into(), ..Default::default() };
    let set = |request: SetAttributesRequest| {
        let mut files = s.clients.files.clone();
        async move { files.set_attributes(request).await.map(tonic::Response::into_inner) }
    };
    let time = Some(prost_types::Timestamp { seconds: 1_000_000_000, nanos: 7 });
    let file =
        set(SetAttributesRequest { path: "/tmp/d/f".into(), mode: Some(0o600), modify_time: time, ..request.clone() })
            .await
            .unwrap();
    assert_eq!((file.mode, file.modify_time), (0o600, time));
    let recursive =
        SetAttributesRequest { recursive: true, owner: "nobody".into(), group: "7".into(), ..request.clone() };
    let directory = set(recursive).await.unwrap();
    assert_eq!((directory.owner.as_str(), directory.gid), ("nobody", 7));
    s.run("cd /tmp; stat -c '%U %g' d d/f d/e/g outside").await.expect("nobody 7\nnobody 7\nnobody 7\nroot 0\n", "", 0);
    let unknown = set(SetAttributesRequest { owner: "nosuch".into(), ..request.clone() }).await.unwrap_err();
    expect_error(&unknown, Code::InvalidArgument, "INVALID_ARGUMENT");
    expect_error(&set(request).await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT");
}

/// Whoever owns a directory can put a link in the place of another one at any moment.
async fn attributes_are_set_nowhere_else(on: Runtime) {
    let s = on.sandbox().await;
    // Many files, so that there is time for a swap while their directory is gone through.
    let fill = "for d in /tmp/d/x/sub /tmp/precious/sub; do mkdir -p $d; i=0; while [ $i -lt 2000 ]; do : > $d/$i; i=$((i+1)); done; done";
    s.run(fill).await.expect("", "", 0);
    let swap = "( while [ -e /tmp/d ]; do \
            mv /tmp/d/x /tmp/y; ln -s /tmp/precious /tmp/d/x; rm /tmp/d/x; mv /tmp/y /tmp/d/x; done ) >/dev/null 2>&1 &";
    let session = s.session("").await;
    session.run(swap).await.expect("", "", 0);
    let mut done = 0;
    for _ in 0..80 {
        let request = SetAttributesRequest {
            sandbox_id: s.id.clone(),
            path: "/tmp/d".into(),
            recursive: true,
            mode: Some(0o777),
            owner: "nobody".into(),
            ..Default::default()
        };
        // What is being moved may not be found; that is no matter here.
        done += usize::from(s.clients.files.clone().set_attributes(request).await.is_ok());
    }
    session.close().await;
    s.run("find /tmp/precious -user nobody -o -perm 777").await.expect("", "", 0);
    assert!(done > 0, "none succeeded, so nothing was tried");
    s.run("stat -c %U /tmp/d").await.expect("nobody\n", "", 0);
}

async fn text_is_replaced(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/f", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\ntwo\n").await;
    s.run("chmod 751 /tmp/f; chown nobody /tmp/f").await;
    let done = s.replace("/tmp/f", "four\nfive", "4\n5", false).await.unwrap();
    assert_eq!(done.replacements, 1);
    let expected =
        "--- /tmp/f\n+++ /tmp/f\n@@ -1,8 +1,8 @@\n one\n two\n three\n-four\n-five\n+4\n+5\n six\n seven\n eight\n";
    assert_eq!(done.diff, expected);
    let file = done.file.unwrap();
    assert_eq!((file.mode, file.owner.as_str()), (0o751, "nobody"), "what it was");
    let many = s.replace("/tmp/f", "two", "2", false).await.unwrap_err();
    expect_error(&many, Code::FailedPrecondition, "TEXT_NOT_UNIQUE");
    assert!(many.message().contains("2 times, at lines 2, 10"), "{many:?}");
    assert_eq!(s.replace("/tmp/f", "two", "", true).await.unwrap().replacements, 2);
    assert_eq!(s.read("/tmp/f").await, b"one\n\nthree\n4\n5\nsix\nseven\neight\nnine\n\n");
    // Bytes that are no text stay as they are.
    s.run(r"printf 'a\377b\0c' > /tmp/g").await;
    s.replace("/tmp/g", "c", "d", false).await.unwrap();
    assert_eq!(s.read("/tmp/g").await, b"a\xffb\0d");
}

async fn a_text_that_is_not_there_changes_nothing(on: Runtime) {
    let s = on.sandbox().await;
    let text = "fn main() {\n    let total = 1;\n    print(total);\n}\n";
    let etag = s.write("/tmp/f", text).await.etag;
    let space = s.replace("/tmp/f", "let  total = 1;\nprint(total);", "x", false).await.unwrap_err();
    expect_error(&space, Code::FailedPrecondition, "TEXT_NOT_FOUND");
    assert!(space.message().contains("line 2 begins the same text with other white space"), "{space:?}");
    let near = s.replace("/tmp/f", "let totals = 2;", "x", true).await.unwrap_err();
    assert!(near.message().contains("line 2 is nearest"), "{near:?}");
    expect_error(&s.replace("/tmp/none", "x", "y", false).await.unwrap_err(), Code::NotFound, "FILE_NOT_FOUND");
    assert_eq!(s.stat("/tmp/f").await.unwrap().etag, etag);
}

async fn a_text_that_would_become_too_long_is_refused(on: Runtime) {
    let s = on.sandbox().await;
    let etag = s.write("/tmp/f", "a".repeat(1 << 20)).await.etag;
    let refused = s.replace("/tmp/f", "a", &"b".repeat(100_000), true).await.unwrap_err();
    expect_error(&refused, Code::ResourceExhausted, "FILE_TOO_LARGE");
    assert_eq!(s.stat("/tmp/f").await.unwrap().etag, etag);
    // What fits is replaced, and its diff is bounded.
    let done = s.replace("/tmp/f", "a", &"b".repeat(16), true).await.unwrap();
    assert_eq!((done.replacements, done.file.unwrap().size_bytes), (1 << 20, 16 << 20));
    assert!(done.diff.len() <= 256 << 10, "{} bytes", done.diff.len());
    // Places that overlap are several.
    s.write("/tmp/g", "aaa\r\nb\r\n").await;
    let several = s.replace("/tmp/g", "aa", "x", false).await.unwrap_err();
    expect_error(&several, Code::FailedPrecondition, "TEXT_NOT_UNIQUE");
    let ends = s.replace("/tmp/g", "aaa\nb", "x", false).await.unwrap_err();
    assert!(ends.message().contains("CRLF"), "{ends:?}");
    // By a link: what it leads to is changed, and the answer has the path that was asked for.
    s.run("ln -s g /tmp/l").await;
    assert_eq!(s.replace("/tmp/l", "b", "c", false).await.unwrap().file.unwrap().path, "/tmp/l");
    assert_eq!(s.write("/tmp/l", "new").await.path, "/tmp/l");
    s.run("test -L /tmp/l && cat /tmp/g").await.expect("new", "", 0);
}

async fn each_refusal_says_why(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/full/d /tmp/d; touch /tmp/f /tmp/one; ln /tmp/one /tmp/two; mkdir -p /workspace").await;
    let says = |status: &Status, code, reason, word: &str| {
        expect_error(status, code, reason);
        assert!(status.message().contains(word), "{word}: {status:?}");
    };
    // Of two names of one file the old one goes.
    try_move(&s, "/tmp/one", "/tmp/two", true).await.unwrap();
    s.run("ls /tmp/one /tmp/two 2>/dev/null").await.expect("/tmp/two\n", "", 2);
    try_move(&s, "/tmp/two", "/tmp/./two", true).await.unwrap();
    s.stat("/tmp/two").await.unwrap();
    let full = try_move(&s, "/tmp/d", "/tmp/full", true).await.unwrap_err();
    says(&full, Code::FailedPrecondition, "DIRECTORY_NOT_EMPTY", "only an empty one is replaced");
    let missing = try_move(&s, "/tmp/f", "/tmp/no/such/f", false).await.unwrap_err();
    says(&missing, Code::NotFound, "FILE_NOT_FOUND", "\"/tmp/no\" was not found; set `parents`");
    let make = |path: &str, parents| {
        let request =
            MakeDirectoryRequest { sandbox_id: s.id.clone(), path: path.into(), parents, ..Default::default() };
        let mut files = s.clients.files.clone();
        async move { files.make_directory(request).await }
    };
    let missing = make("/tmp/no/such", false).await.unwrap_err();
    says(&missing, Code::NotFound, "FILE_NOT_FOUND", "\"/tmp/no\" was not found; set `parents`");
    says(&make("/tmp/f/d", true).await.unwrap_err(), Code::FailedPrecondition, "NOT_A_DIRECTORY", "/tmp/f");
    let info = tonic_types::StatusExt::get_details_error_info(&missing).unwrap();
    assert_eq!(info.metadata.get("path").map(String::as_str), Some("/tmp/no"));
    // What is no entry of a directory, and what the system holds.
    let remove = |path: &str| {
        let request =
            RemoveRequest { sandbox_id: s.id.clone(), path: path.into(), recursive: true, ..Default::default() };
        let mut files = s.clients.files.clone();
        async move { files.remove(request).await }
    };
    s.run("touch /dev/shm/kept").await;
    says(&remove(".").await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT", "no name of its own");
    says(&remove("/dev/shm").await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT", "mount");
    s.stat("/dev/shm/kept").await.unwrap();
    let held = try_move(&s, "/dev/shm", "/dev/other", false).await.unwrap_err();
    says(&held, Code::InvalidArgument, "INVALID_ARGUMENT", "mount");
    let offset =
        v1::ReadRequest { sandbox_id: s.id.clone(), path: "/tmp/f".into(), offset: i64::MAX, ..Default::default() };
    says(&s.try_read(offset).await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT", "beyond");
    // An owner with a group.
    let set = |owner: &str, group: &str| {
        let (path, owner, group) = ("/tmp/f".into(), owner.into(), group.into());
        let request = SetAttributesRequest { sandbox_id: s.id.clone(), path, owner, group, ..Default::default() };
        let mut files = s.clients.files.clone();
        async move { files.set_attributes(request).await.map(tonic::Response::into_inner) }
    };
    let file = set("nobody:7", "").await.unwrap();
    assert_eq!((file.owner.as_str(), file.gid), ("nobody", 7));
    says(&set("nobody:7", "8").await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT", "group");
    // What is deeper than a path may be is listed all the same.
    let names = |many| vec!["n".repeat(250); many].join("/");
    let (first, second) = (names(15), names(5));
    s.run(&format!(
        "cd /tmp && mkdir -p deep/{first} && cd deep/{first} && mkdir -p {second} && : > {second}/end; cd /"
    ))
    .await
    .expect("", "", 0);
    assert_eq!(s.list("/tmp/deep", true, 0).await.len(), 21);
}
