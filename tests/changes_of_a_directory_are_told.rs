//! What changes in a directory of a sandbox is told to who watches it, in order; and what could not be told is said to be missing.

use crate::kit::{Runtime, Sandbox, errors::expect_error, v1, within};
use std::collections::BTreeSet;
use tonic::{Code, Status, Streaming};
use v1::{WatchRequest, WatchResponse, change::Kind, watch_response::Event};

crate::in_every_runtime!(
    each_change_is_told,
    renames_pair_up,
    what_appears_is_watched_too,
    a_large_tree_that_appears_is_told_whole,
    what_is_renamed_at_once_is_watched,
    ten_thousand_quick_changes_arrive,
    what_a_slow_client_misses_is_said,
    the_end_of_the_directory_is_the_end,
    watches_are_given_back,
    each_mistake_has_its_reason,
);

/// A watch.
struct Watch(Streaming<WatchResponse>);

/// One thing that it told: how, what, and what it was before.
type Told = (Kind, String, String);

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        within("a change", self.0.message()).await.expect("a stream").map(|told| told.event.expect("an event"))
    }

    /// The next change, with paths below the directory.
    async fn change(&mut self) -> Told {
        match self.next().await {
            Some(Event::Change(change)) => {
                let below = |path: &str| path.strip_prefix("/tmp/t").unwrap_or(path).trim_start_matches('/').to_owned();
                (change.kind(), below(&change.path), below(&change.old_path))
            }
            other => panic!("a change, and not {other:?}"),
        }
    }

    /// Changes until this one, without those that only say that something was modified.
    async fn until(&mut self, last: &str) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let change = self.change().await;
            let is_last = change.0 == Kind::Created && change.1 == last;
            if change.0 != Kind::Modified {
                all.push(change);
            }
            if is_last {
                return all;
            }
        }
    }
}

async fn try_watch(s: &Sandbox, path: &str, recursive: bool) -> Result<Watch, Status> {
    let request = WatchRequest { sandbox_id: s.id.clone(), path: path.into(), recursive, ..WatchRequest::default() };
    Ok(Watch(within("a watch", s.clients.files.clone().watch(request)).await?.into_inner()))
}

/// A watch of this directory that is armed.
async fn watch(s: &Sandbox, recursive: bool) -> Watch {
    let mut watch = try_watch(s, "/tmp/t", recursive).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Armed(v1::Armed {})));
    watch
}

fn told(kind: Kind, path: &str) -> Told {
    (kind, path.to_owned(), String::new())
}

async fn each_change_is_told(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/d; : > /tmp/t/old").await;
    let mut flat = watch(&s, false).await;
    let mut deep = watch(&s, true).await;
    s.run("cd /tmp/t; : > new; echo x >> old; chmod 600 old; rm old; mkdir e; echo y > d/below; rmdir e; : > last; cd - >/dev/null").await;
    let expected = [
        told(Kind::Created, "new"),
        told(Kind::Removed, "old"),
        told(Kind::Created, "e"),
        told(Kind::Removed, "e"),
        told(Kind::Created, "last"),
    ];
    assert_eq!(flat.until("last").await, expected);
    let mut with_below = expected.to_vec();
    with_below.insert(3, told(Kind::Created, "d/below"));
    assert_eq!(deep.until("last").await, with_below);
    // Contents, and attributes alone.
    s.run("echo x >> /tmp/t/new").await;
    assert_eq!(flat.change().await, told(Kind::Modified, "new"));
    s.run("chmod 640 /tmp/t/last").await;
    assert_eq!(flat.change().await, told(Kind::Modified, "last"));
    // A file that a client writes appears whole, and nothing else is seen of it. Then it has other contents.
    s.write("/tmp/t/written", "x").await;
    assert_eq!(flat.change().await, told(Kind::Created, "written"));
    s.write("/tmp/t/written", "y").await;
    assert_eq!(flat.change().await, told(Kind::Modified, "written"));
    s.replace("/tmp/t/written", "y", "z", false).await.unwrap();
    assert_eq!(flat.change().await, told(Kind::Modified, "written"));
    // A name that is no text.
    s.run(r"mkdir /tmp/t/$(printf '\377')").await;
    let Some(Event::Change(change)) = flat.next().await else { panic!("a change") };
    assert_eq!((change.raw_path.as_ref(), change.is_directory), (&b"/tmp/t/\xff"[..], true));
}

async fn renames_pair_up(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/a/b /tmp/t/c /tmp/aside; : > /tmp/t/a/b/f; : > /tmp/aside/in").await;
    let mut watch = watch(&s, true).await;
    s.run("cd /tmp/t; mv a/b/f c/g; mv a z; : > z/b/after; mv c/g /tmp/aside/out; mv /tmp/aside/in in; mv z/b /tmp/aside/b; : > /tmp/aside/b/unseen; : > last; cd - >/dev/null").await;
    let renamed = |path: &str, before: &str| (Kind::Renamed, path.to_owned(), before.to_owned());
    let expected = [
        renamed("c/g", "a/b/f"),
        renamed("z", "a"),
        told(Kind::Created, "z/b/after"),
        told(Kind::Removed, "c/g"),
        told(Kind::Created, "in"),
        told(Kind::Removed, "z/b"),
        told(Kind::Created, "last"),
    ];
    assert_eq!(watch.until("last").await, expected);
    // The last that is known of a move is its first half.
    s.run("mv /tmp/t/in /tmp/aside/in").await;
    assert_eq!(watch.change().await, told(Kind::Removed, "in"));
}

async fn what_appears_is_watched_too(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t /tmp/aside/x/y; : > /tmp/aside/x/y/f").await;
    let mut watch = watch(&s, true).await;
    // Made faster than anybody can look, and moved in whole.
    s.run("mkdir -p /tmp/t/a/b/c/d; : > /tmp/t/a/b/c/d/f; mv /tmp/aside/x /tmp/t/x; : > /tmp/t/last").await;
    let seen: BTreeSet<_> = watch.until("last").await.into_iter().map(|(_, path, _)| path).collect();
    for path in ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/f", "x", "x/y", "x/y/f"] {
        assert!(seen.contains(path), "{path}: {seen:?}");
    }
    s.run(": > /tmp/t/a/b/c/d/later; : > /tmp/t/x/y/later; : > /tmp/t/again").await;
    let later: Vec<_> = watch.until("again").await.into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(later, ["a/b/c/d/later", "x/y/later", "again"]);
}

async fn a_large_tree_that_appears_is_told_whole(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t /tmp/aside/x; cd /tmp/aside/x; i=0; while [ $i -lt 60 ]; do mkdir $i; j=0; while [ $j -lt 50 ]; do : > $i/$j; j=$((j+1)); done; i=$((i+1)); done; cd - >/dev/null")
        .await
        .expect("", "", 0);
    let mut watch = watch(&s, true).await;
    s.run("mv /tmp/aside/x /tmp/t/x; mv /tmp/t/x /tmp/t/y; : > /tmp/t/y/59/late; : > /tmp/t/last")
        .await
        .expect("", "", 0);
    // Perhaps some under both names.
    let told: BTreeSet<_> = watch.until("last").await.into_iter().map(|(_, path, _)| path).collect();
    let late = "59/late".to_owned();
    for path in (0..60).flat_map(|i| (0..50).map(move |j| format!("{i}/{j}"))).chain([late]) {
        assert!(told.contains(&format!("x/{path}")) || told.contains(&format!("y/{path}")), "{path}");
    }
}

async fn what_is_renamed_at_once_is_watched(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir /tmp/t").await;
    let mut watch = watch(&s, true).await;
    s.run(
        "cd /tmp/t; i=0; while [ $i -lt 200 ]; do mkdir -p a/b; mv a $i; i=$((i+1)); done; : > made; cd - >/dev/null",
    )
    .await
    .expect("", "", 0);
    watch.until("made").await;
    s.run("for d in /tmp/t/*/b; do : > $d/f; done; : > /tmp/t/last").await.expect("", "", 0);
    let told: BTreeSet<_> = watch.until("last").await.into_iter().map(|(_, path, _)| path).collect();
    for number in 0..200 {
        assert!(told.contains(&format!("{number}/b/f")), "{number}: {told:?}");
    }
}

async fn ten_thousand_quick_changes_arrive(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir /tmp/t").await;
    let mut watch = watch(&s, true).await;
    s.run("cd /tmp/t; i=0; while [ $i -lt 10000 ]; do : > $i; i=$((i+1)); done; cd - >/dev/null")
        .await
        .expect("", "", 0);
    let (mut seen, mut overflow) = (BTreeSet::new(), false);
    while seen.len() < 10_000 && !overflow {
        match watch.next().await.expect("more") {
            Event::Change(change) => drop(seen.insert(change.path)),
            Event::Overflow(_) => overflow = true,
            Event::Armed(_) => panic!("it is armed"),
        }
    }
    // Afterwards all is as before.
    s.run(": > /tmp/t/after").await;
    loop {
        if let Some(Event::Change(change)) = watch.next().await
            && change.path == "/tmp/t/after"
        {
            break;
        }
    }
}

async fn what_a_slow_client_misses_is_said(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/left /tmp/t/here").await;
    let mut watch = watch(&s, true).await;
    // Nobody takes anything meanwhile. Long names fill what may be under way soon.
    let many = "cd /tmp/t; n=$(printf '%0200d' 0); i=0; while [ $i -lt 60000 ]; do echo >> $n; echo >> x$n; i=$((i+1)); done; mkdir -p late/d; mv left /tmp/left; mv here there; cd - >/dev/null";
    s.run(many).await.expect("", "", 0);
    let mut told = 0;
    loop {
        match watch.next().await.expect("more") {
            Event::Overflow(_) => break,
            _ => told += 1,
        }
        assert!(told <= 200_000, "{told} changes were held for nobody");
    }
    // Directories that were made or renamed meanwhile are watched, and those that were moved away are not.
    s.run(": > /tmp/left/f; : > /tmp/t/there/f; : > /tmp/t/late/d/f").await;
    let mut seen = BTreeSet::new();
    while !seen.contains("/tmp/t/late/d/f") {
        match watch.next().await.expect("more") {
            Event::Change(change) => drop(seen.insert(change.path)),
            Event::Overflow(_) | Event::Armed(_) => {}
        }
    }
    assert!(seen.contains("/tmp/t/there/f") && !seen.contains("/tmp/t/left/f"), "{seen:?}");
}

async fn the_end_of_the_directory_is_the_end(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t/d").await;
    let mut watch = watch(&s, true).await;
    s.run("rm -r /tmp/t").await;
    assert_eq!(watch.change().await, told(Kind::Removed, "d"));
    assert_eq!(watch.change().await, told(Kind::Removed, ""));
    assert_eq!(watch.next().await, None);
}

async fn watches_are_given_back(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir /tmp/t").await;
    let mut open = Vec::new();
    let refused = loop {
        match try_watch(&s, "/tmp/t", false).await {
            Ok(watch) => open.push(watch),
            Err(status) => break status,
        }
    };
    expect_error(&refused, Code::ResourceExhausted, "TOO_MANY_STREAMS");
    assert!(open.len() <= 16, "{}", open.len());
    // Files can be read meanwhile.
    s.write("/tmp/t/f", "x").await;
    assert_eq!(s.read("/tmp/t/f").await, b"x");
    drop(open);
    within::until("places that were given back", async || try_watch(&s, "/tmp/t", false).await.is_ok()).await;
}

async fn each_mistake_has_its_reason(on: Runtime) {
    let s = on.sandbox().await;
    s.run("mkdir -p /tmp/t; : > /tmp/t/f; mkdir -m 700 /tmp/t/closed").await;
    for (path, code, reason) in [
        ("/tmp/none", Code::NotFound, "FILE_NOT_FOUND"),
        ("/tmp/t/f", Code::FailedPrecondition, "NOT_A_DIRECTORY"),
        ("", Code::InvalidArgument, "INVALID_ARGUMENT"),
    ] {
        let refused = try_watch(&s, path, true).await.err().expect(path);
        expect_error(&refused, code, reason);
    }
    let path = "/tmp/t/closed".to_owned();
    let request = WatchRequest { sandbox_id: s.id.clone(), path, user: "nobody".into(), ..WatchRequest::default() };
    let refused = s.clients.files.clone().watch(request).await.unwrap_err();
    expect_error(&refused, Code::PermissionDenied, "PERMISSION_DENIED");
}
