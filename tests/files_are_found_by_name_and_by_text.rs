//! Files of a sandbox are found by their names and by their text, within bounds, and only those that the user may read.

use crate::kit::{Runtime, Sandbox, errors::expect_error, v1, within};
use std::fmt::Write;
use tonic::Code;
use v1::file::Type;

crate::in_every_runtime!(
    names_are_found_by_what_is_known_of_them,
    a_part_of_the_names_says_that_there_are_more,
    lines_are_found_with_those_around_them,
    what_is_not_text_is_left_out,
    what_gitignore_names_is_left_out,
    searching_has_bounds,
    a_user_finds_what_it_may_read,
    nothing_is_followed_out_of_the_directory,
    a_search_ends_with_its_call,
    each_mistake_has_its_reason,
);

/// The paths that are found, without the directory, and whether there are more.
async fn find(s: &Sandbox, request: v1::FindRequest) -> (Vec<String>, bool) {
    let top = format!("{}/", request.path);
    within("what is found", async {
        let request = v1::FindRequest { sandbox_id: s.id.clone(), ..request };
        let mut found = s.clients.files.clone().find(request).await.unwrap().into_inner();
        let (mut paths, mut more) = (Vec::new(), false);
        while let Some(next) = found.message().await.unwrap() {
            assert!(!more, "the last says that there is more");
            more = next.limit_reached;
            paths.push(next.file.unwrap().path.strip_prefix(&top).unwrap().to_owned());
        }
        (paths, more)
    })
    .await
}

async fn try_search(s: &Sandbox, request: v1::SearchRequest) -> Result<Vec<v1::SearchResponse>, tonic::Status> {
    within("what is found", async {
        let request = v1::SearchRequest { sandbox_id: s.id.clone(), ..request };
        let mut found = s.clients.files.clone().search(request).await?.into_inner();
        let mut lines = Vec::new();
        while let Some(next) = found.message().await? {
            lines.push(next);
        }
        Ok(lines)
    })
    .await
}

async fn search(s: &Sandbox, path: &str, pattern: &str) -> Vec<v1::SearchResponse> {
    try_search(s, lines_with(path, pattern)).await.unwrap()
}

fn lines_with(path: &str, pattern: &str) -> v1::SearchRequest {
    v1::SearchRequest { path: path.into(), pattern: pattern.into(), ..Default::default() }
}

/// As `grep -n` prints it.
fn printed(lines: &[v1::SearchResponse]) -> Vec<String> {
    lines.iter().map(|line| format!("{}:{}:{}", line.path, line.line, line.text)).collect()
}

fn globs(globs: &[&str]) -> Vec<String> {
    globs.iter().map(|glob| (*glob).to_owned()).collect()
}

async fn names_are_found_by_what_is_known_of_them(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/a/b /tmp/t/c; cd /tmp/t; printf 12345 > a/five.rs; : > a/b/none.rs; : > c.txt; ln -s a l; mkfifo p; touch -d @1000 c.txt; cd - >/dev/null")
        .await
        .expect("", "", 0);
    let new = || v1::FindRequest { path: "/tmp/t".into(), ..Default::default() };
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let all = ["a", "a/b", "a/b/none.rs", "a/five.rs", "c", "c.txt", "l", "p"];
    for (request, expected) in [
        (new(), &all[..]),
        (v1::FindRequest { globs: globs(&["*.rs"]), ..new() }, &["a/b/none.rs", "a/five.rs"]),
        (v1::FindRequest { globs: globs(&["/a/*.rs", "c*"]), ..new() }, &["a/five.rs", "c", "c.txt"]),
        (v1::FindRequest { globs: globs(&["!a"]), ..new() }, &["c", "c.txt", "l", "p"]),
        (v1::FindRequest { globs: globs(&["*.rs", "!b/"]), ..new() }, &["a/five.rs"]),
        (v1::FindRequest { globs: globs(&["!*.rs", "!b"]), ..new() }, &["a", "c", "c.txt", "l", "p"]),
        (
            v1::FindRequest { types: vec![Type::Directory.into(), Type::Symlink.into()], ..new() },
            &["a", "a/b", "c", "l"],
        ),
        (v1::FindRequest { types: vec![Type::Other.into()], ..new() }, &["p"]),
        (v1::FindRequest { min_size_bytes: Some(5), ..new() }, &["a/five.rs"]),
        (v1::FindRequest { max_size_bytes: Some(4), ..new() }, &["a/b/none.rs", "c.txt"]),
        (v1::FindRequest { modified_before: time(1001), ..new() }, &["c.txt"]),
        (v1::FindRequest { modified_after: time(1001), globs: globs(&["c.*"]), ..new() }, &[]),
        (v1::FindRequest { max_depth: 1, ..new() }, &["a", "c", "c.txt", "l", "p"]),
        (v1::FindRequest { max_depth: 2, types: vec![Type::File.into()], ..new() }, &["a/five.rs", "c.txt"]),
    ] {
        assert_eq!(find(&s, request.clone()).await, (globs(expected), false), "{request:?}");
    }
    // Paths are told without a dot that the request has.
    s.run("mkdir /tmp/d && echo needle > /tmp/d/f").await.expect("", "", 0);
    let request = v1::FindRequest { sandbox_id: s.id.clone(), path: "/tmp/./d/.".into(), ..Default::default() };
    let mut found = s.clients.files.clone().find(request).await.unwrap().into_inner();
    assert_eq!(found.message().await.unwrap().unwrap().file.unwrap().path, "/tmp/d/f");
    assert_eq!(search(&s, "/tmp/./d/", "needle").await[0].path, "/tmp/d/f");
}

async fn a_part_of_the_names_says_that_there_are_more(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/d; cd /tmp/t/d; i=0; while [ $i -lt 700 ]; do : > $i; i=$((i+1)); done; cd - >/dev/null")
        .await;
    let new = |max_results| v1::FindRequest { path: "/tmp/t".into(), max_results, ..Default::default() };
    let (all, more) = find(&s, new(0)).await;
    assert_eq!((all.len(), more), (701, false));
    assert_eq!(find(&s, new(701)).await, (all.clone(), false));
    assert_eq!(find(&s, new(700)).await, (all[..700].to_vec(), true));
    assert_eq!(find(&s, new(1)).await, (vec!["d".to_owned()], true));
}

async fn lines_are_found_with_those_around_them(on: Runtime) {
    let s = on.sandbox().await;
    let text = "one\ntwo\nthree one\nfour\r\nfive\nsix\nseven one one\n";
    s.write("/tmp/t/a", text).await;
    s.write("/tmp/t/d/b", "No one.\nONE\n").await;
    let found = search(&s, "/tmp/t", "one").await;
    assert_eq!(
        printed(&found),
        ["/tmp/t/a:1:one", "/tmp/t/a:3:three one", "/tmp/t/a:7:seven one one", "/tmp/t/d/b:1:No one."]
    );
    assert_eq!((found[2].column, found[2].match_bytes), (7, 3));
    let request = v1::SearchRequest { context_lines: 2, ..lines_with("/tmp/t/a", "one$") };
    let found = try_search(&s, request).await.unwrap();
    let around: Vec<_> = found.iter().map(|line| (line.before.join(","), line.after.join(","))).collect();
    let expected = [("", "two,three one"), ("one,two", "four,five"), ("five,six", "")];
    assert_eq!(around, expected.map(|(before, after)| (before.to_owned(), after.to_owned())));
    for (request, expected) in [
        (v1::SearchRequest { ignore_case: true, ..lines_with("/tmp/t/d", "^one") }, &["/tmp/t/d/b:2:ONE"][..]),
        (v1::SearchRequest { literal: true, ..lines_with("/tmp/t", "one.") }, &["/tmp/t/d/b:1:No one."]),
        (v1::SearchRequest { globs: globs(&["b"]), ..lines_with("/tmp/t", "o") }, &["/tmp/t/d/b:1:No one."]),
        (v1::SearchRequest { globs: globs(&["!/d/"]), ..lines_with("/tmp/t", "four") }, &["/tmp/t/a:4:four"]),
        (v1::SearchRequest { globs: globs(&["!d"]), ..lines_with("/tmp/t", "one.*one.*one|No one") }, &[]),
        (v1::SearchRequest { globs: globs(&["*", "!d/"]), ..lines_with("/tmp/t", "One|one\\.") }, &[]),
        (v1::SearchRequest { globs: globs(&["d/"]), ..lines_with("/tmp/t", "one") }, &["/tmp/t/d/b:1:No one."]),
        (lines_with("/tmp/t", "four$"), &["/tmp/t/a:4:four"]),
        (lines_with("/tmp/t/a", r"\bt\w+ o"), &["/tmp/t/a:3:three one"]),
        (lines_with("/tmp/t", "nothing"), &[]),
    ] {
        assert_eq!(printed(&try_search(&s, request.clone()).await.unwrap()), expected, "{request:?}");
    }
}

async fn what_is_not_text_is_left_out(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/t/binary", b"needle\0\n").await;
    s.write("/tmp/t/latin", b"needle \xe9\n").await;
    s.write("/tmp/t/utf16", "\u{feff}needle\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()).await;
    s.write("/tmp/t/long", ["x".repeat(5 << 20).as_str(), " needle\n"].concat()).await;
    s.write("/tmp/t/wide", [" needle", &"x".repeat(5000), "\n"].concat()).await;
    s.run("mkfifo /tmp/t/fifo; ln -s latin /tmp/t/link").await;
    let found = search(&s, "/tmp/t", "needle").await;
    let names: Vec<_> = found.iter().map(|line| (line.path.as_str(), line.text.len(), line.is_cut)).collect();
    assert_eq!(names, [("/tmp/t/latin", 10, false), ("/tmp/t/utf16", 6, false), ("/tmp/t/wide", 1024, true)]);
}

async fn what_gitignore_names_is_left_out(on: Runtime) {
    let s = on.sandbox().await;
    s.write("/tmp/t/.gitignore", "target\n*.log\n").await;
    for path in ["target/a", "b.log", "src/c", "src/target/d", ".git/e", ".hidden"] {
        s.write(&format!("/tmp/t/{path}"), "needle\n").await;
    }
    let paths = |found: Vec<v1::SearchResponse>| found.into_iter().map(|line| line.path).collect::<Vec<_>>();
    assert_eq!(paths(search(&s, "/tmp/t", "needle").await), ["/tmp/t/.hidden", "/tmp/t/src/c"]);
    let all = try_search(&s, v1::SearchRequest { ignored: true, ..lines_with("/tmp/t", "needle") }).await.unwrap();
    assert_eq!(paths(all).len(), 6);
    let request = |ignored| v1::FindRequest { path: "/tmp/t".into(), ignored, types: vec![1], ..Default::default() };
    assert_eq!(find(&s, request(None)).await.0.len(), 7);
    assert_eq!(find(&s, request(Some(false))).await.0, [".git/e", ".gitignore", ".hidden", "src/c"]);
}

async fn searching_has_bounds(on: Runtime) {
    let s = on.sandbox().await;
    let mut text = String::new();
    for number in 0..5000 {
        writeln!(text, "needle {number}").unwrap();
    }
    s.write("/tmp/t/a", &text).await;
    s.write("/tmp/t/b", "needle\n").await;
    let request = |max_matches| v1::SearchRequest { max_matches, ..lines_with("/tmp/t", "needle") };
    for (most, expected, more) in [(0, 1000, true), (5000, 5000, true), (5001, 5001, false), (1, 1, true)] {
        let found = try_search(&s, request(most)).await.unwrap();
        let says: Vec<_> = found.iter().map(|line| line.limit_reached).collect();
        assert_eq!((found.len(), says.last()), (expected, Some(&more)), "at most {most}");
        assert!(says[..says.len() - 1].iter().all(|more| !more));
    }
    // More than is sent of one file.
    let wide = format!("needle {}\n", "x".repeat(1000)).repeat(6000);
    s.write("/tmp/t/a", &wide).await;
    let found = try_search(&s, request(100_000)).await.unwrap();
    assert!((4000..6000).contains(&found.len()), "{}", found.len());
    let [.., last, other] = &found[..] else { panic!("two lines") };
    assert!(last.more_in_file && last.path == "/tmp/t/a" && other.path == "/tmp/t/b" && !other.more_in_file);
}

async fn a_user_finds_what_it_may_read(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/closed; cd /tmp/t; echo needle > open; echo needle > secret; chmod 600 secret; echo needle > closed/f; chmod 700 closed; cd - >/dev/null").await;
    let found = try_search(&s, v1::SearchRequest { user: "nobody".into(), ..lines_with("/tmp/t", "needle") });
    assert_eq!(printed(&found.await.unwrap()), ["/tmp/t/open:1:needle"]);
    let request = v1::FindRequest { path: "/tmp/t".into(), user: "nobody".into(), ..Default::default() };
    assert_eq!(find(&s, request).await.0, ["closed", "open", "secret"]);
}

async fn nothing_is_followed_out_of_the_directory(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/d /tmp/outside; echo needle > /tmp/outside/f; ln -s /tmp/outside /tmp/t/l; ln -s . /tmp/t/loop; ln -s /tmp/outside/f /tmp/t/f; ln -s t /tmp/way").await;
    assert_eq!(search(&s, "/tmp/t", "needle").await, []);
    let request = v1::FindRequest { path: "/tmp/t".into(), ..Default::default() };
    assert_eq!(find(&s, request).await.0, ["d", "f", "l", "loop"]);
    // The path itself may be a link.
    let request = v1::FindRequest { path: "/tmp/way".into(), ..Default::default() };
    assert_eq!(find(&s, request).await.0, ["d", "f", "l", "loop"]);
}

async fn a_search_ends_with_its_call(on: Runtime) {
    let s = on.sandbox().await;
    // More than can be searched while the test lasts, in little room: one file with many names.
    let make = "mkdir -p /tmp/t/huge; cd /tmp/t; printf 'a\\n' > a; yes 'hay and hay' | head -c 32M > huge/0; i=1; while [ $i -lt 1000 ]; do ln huge/0 huge/$i; i=$((i+1)); done; cd - >/dev/null";
    s.run(make).await.expect("", "", 0);
    // As many as work at one time, and more.
    for _ in 0..40 {
        let request = v1::SearchRequest { sandbox_id: s.id.clone(), ..lines_with("/tmp/t/huge", "needle") };
        let mut files = s.clients.files.clone();
        let call = tokio::spawn(async move {
            let mut found = files.search(request).await?.into_inner();
            found.message().await
        });
        tokio::task::yield_now().await;
        call.abort();
        let _ = call.await;
    }
    assert_eq!(printed(&search(&s, "/tmp/t/a", "a").await), ["/tmp/t/a:1:a"]);
}

async fn each_mistake_has_its_reason(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir /tmp/t; mkfifo /tmp/t/fifo; : > /tmp/t/f").await;
    for (request, code, reason) in [
        (lines_with("/tmp/none", "x"), Code::NotFound, "FILE_NOT_FOUND"),
        (lines_with("/tmp/t/fifo", "x"), Code::FailedPrecondition, "NOT_A_FILE"),
        (lines_with("/tmp/t", "("), Code::InvalidArgument, "INVALID_ARGUMENT"),
        (lines_with("/tmp/t", "a\\nb"), Code::InvalidArgument, "INVALID_ARGUMENT"),
        (lines_with("/tmp/t", "(x{1000}){1000}"), Code::InvalidArgument, "INVALID_ARGUMENT"),
        (lines_with("/tmp/t", ""), Code::InvalidArgument, "INVALID_ARGUMENT"),
        (
            v1::SearchRequest { globs: globs(&["a{b"]), ..lines_with("/tmp/t", "x") },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
        ),
        (
            v1::SearchRequest { globs: globs(&["*.[ch"]), ..lines_with("/tmp/t", "x") },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
        ),
    ] {
        expect_error(&try_search(&s, request).await.unwrap_err(), code, reason);
    }
    for (path, code, reason) in
        [("/tmp/none", Code::NotFound, "FILE_NOT_FOUND"), ("/tmp/t/f", Code::FailedPrecondition, "NOT_A_DIRECTORY")]
    {
        let request = v1::FindRequest { sandbox_id: s.id.clone(), path: path.into(), ..Default::default() };
        expect_error(&s.clients.files.clone().find(request).await.unwrap_err(), code, reason);
    }
}
