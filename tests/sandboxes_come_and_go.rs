//! Sandboxes are created, found, listed and deleted.

use crate::kit::{
    Options, Running, Runtime, Server, create_sandbox, create_sandbox_patiently, errors::expect_error, host, token, v1,
    within, within_time,
};
use std::{collections::HashMap, time::Duration};
use tonic::Code;
use v1::{AttachRequest, exited::Reason, sandbox::State};

crate::in_every_runtime!(a_deleted_sandbox_tells_its_watchers_and_is_gone, a_sandbox_whose_agent_died_has_failed,);

fn labelled(pairs: &[(&str, &str)]) -> v1::CreateSandboxRequest {
    let labels = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    // Without an idle time, so that `expire_time` does not move between two looks.
    let lifetime = Some(v1::Lifetime { ttl: None, idle_timeout: Some(prost_types::Duration::default()) });
    v1::CreateSandboxRequest { labels, lifetime, ..Default::default() }
}

async fn list(server: &Server, labels: &[(&str, &str)], page_size: i32, page_token: &str) -> v1::ListSandboxesResponse {
    let request =
        v1::ListSandboxesRequest { labels: labelled(labels).labels, page_size, page_token: page_token.into() };
    server.connect().await.sandboxes.list_sandboxes(request).await.expect("a list").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_sandbox_is_as_it_was_asked_for() {
    let server = Server::start(Options::default());
    let request = v1::CreateSandboxRequest {
        image: "host".into(),
        env: [("GREETING".to_owned(), "a 'b'\n$c".to_owned())].into(),
        ..labelled(&[("team", "blue"), ("run", "7")])
    };
    let sandbox = create_sandbox(&server, request).await;
    let made = &sandbox.described;
    assert!(made.sandbox_id.starts_with("sbx-"), "{}", made.sandbox_id);
    assert_eq!((made.state(), made.image.as_str(), made.runtime.as_str()), (State::Running, "host", "linux"));
    assert_eq!(made.labels, labelled(&[("team", "blue"), ("run", "7")]).labels);
    let created = made.create_time.expect("a time").seconds;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    assert!((now - 60..=now + 1).contains(&created), "created at {created}, and it is {now}");
    let request = v1::GetSandboxRequest { sandbox_id: made.sandbox_id.clone() };
    let got = sandbox.clients.sandboxes.clone().get_sandbox(request).await.expect("it is there").into_inner();
    assert_eq!(&got, made);
    assert_eq!(&list(&server, &[], 0, "").await.sandboxes, std::slice::from_ref(made));
    let s = sandbox.session("").await;
    s.run("echo \"$GREETING\"").await.expect("a 'b'\n$c\n", "", 0);
    sandbox.run("echo \"$GREETING\"").await.expect("a 'b'\n$c\n", "", 0);
    let own =
        v1::CreateSessionRequest { env: [("GREETING".to_owned(), "own".to_owned())].into(), ..sandbox.ask_session() };
    sandbox.open(own).await.run("echo \"$GREETING\"").await.expect("own\n", "", 0);
    // No image is `host`, and says so.
    let default = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    assert!(["", "host"].contains(&default.described.image.as_str()), "{:?}", default.described.image);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn labels_choose() {
    let server = Server::start(Options::default());
    let mut kept = Vec::new();
    for (team, run) in [("blue", "1"), ("blue", "2"), ("red", "1")] {
        kept.push(create_sandbox(&server, labelled(&[("team", team), ("run", run)])).await);
    }
    for (labels, wanted) in [
        (vec![], vec![0, 1, 2]),
        (vec![("team", "blue")], vec![0, 1]),
        (vec![("run", "1")], vec![0, 2]),
        (vec![("team", "blue"), ("run", "1")], vec![0]),
        (vec![("team", "green")], vec![]),
        (vec![("team", "blue"), ("other", "x")], vec![]),
    ] {
        let page = list(&server, &labels, 0, "").await;
        let ids: Vec<_> = page.sandboxes.iter().map(|s| s.sandbox_id.as_str()).collect();
        let wanted: Vec<_> = wanted.into_iter().map(|n: usize| kept[n].id.as_str()).collect();
        assert_eq!(ids, wanted, "{labels:?}");
        assert_eq!(page.total_size as usize, wanted.len(), "{labels:?}");
        assert_eq!(page.next_page_token, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pages_hold_over_inserts_and_deletes() {
    let server = Server::start(Options::default());
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(create_sandbox(&server, v1::CreateSandboxRequest::default()).await);
    }
    let first = list(&server, &[], 3, "").await;
    assert_eq!((first.sandboxes.len(), first.total_size), (3, 7));
    assert!(!first.next_page_token.is_empty());
    // One that was listed goes, the very last one of the page too, one to come goes, and one comes.
    for gone in [0, 2, 4] {
        made[gone].delete().await;
    }
    made.push(create_sandbox(&server, v1::CreateSandboxRequest::default()).await);
    let mut ids = Vec::new();
    let mut token = first.next_page_token;
    while !token.is_empty() {
        let page = list(&server, &[], 3, &token).await;
        assert_eq!(page.total_size, 5);
        ids.extend(page.sandboxes.into_iter().map(|s| s.sandbox_id));
        token = page.next_page_token;
    }
    assert_eq!(ids, [3, 5, 6, 7].map(|n: usize| made[n].id.clone()), "each once, oldest first");
}

async fn a_deleted_sandbox_tells_its_watchers_and_is_gone(on: Runtime) {
    let server = Server::start(on.options());
    let sandbox = create_sandbox(&server, on.request()).await;
    let (s, idle) = (sandbox.session("").await, sandbox.session("/bin/bash").await);
    let word = token();
    let mut running =
        s.exec_text(format!("echo up; sh -c 'trap \"\" INT TERM HUP; while :; do sleep 1; done' {word}")).await;
    running.until_out("up\n").await;
    let command_id = running.got.command_id.clone();
    let attach = AttachRequest { command_id: command_id.clone(), ..Default::default() };
    let watcher = Running::attach(&sandbox.clients, attach.clone()).await;
    let queued = s.exec_text("echo never").await;
    let direct = sandbox.exec(sandbox.start(format!("setsid sh -c 'sleep 1000; :' {word} & sleep 1000"))).await;
    let (mut elsewhere, run) = (
        sandbox.clients.sessions.clone(),
        v1::RunRequest { start: Some(idle.start("sleep 1000")), ..Default::default() },
    );
    let unary = tokio::spawn(async move { elsewhere.run(run).await });
    within::until("a process of it", async || !host::with_argument(&word).is_empty()).await;
    within::until("the start of Run", async || idle.get().await.state() == v1::session::State::Busy).await;
    sandbox.delete().await;
    assert_eq!(host::with_argument(&word).len(), 0, "left after DeleteSandbox had answered");
    for (stream, out) in [(running, "up\n"), (watcher, "up\n"), (queued, ""), (direct, "")] {
        let got = stream.finish().await;
        assert_eq!((got.reason(), got.out().as_str()), (Reason::SandboxStopped, out), "{got:?}");
        assert_ne!(got.exit_code(), 0, "nothing is reported as exit 0 unless the kernel said so: {got:?}");
    }
    match within("the answer of Run", unary).await.expect("the task") {
        Ok(answer) => assert_eq!(answer.into_inner().exited.map(|e| e.reason()), Some(Reason::SandboxStopped)),
        Err(status) => assert!([Code::NotFound, Code::Unavailable].contains(&status.code()), "{status:?}"),
    }
    let mut sandboxes = sandbox.clients.sandboxes.clone();
    let gone = sandboxes.get_sandbox(v1::GetSandboxRequest { sandbox_id: sandbox.id.clone() }).await.expect_err("gone");
    expect_error(&gone, Code::NotFound, "SANDBOX_NOT_FOUND");
    // A deletion whose answer was lost can be repeated.
    let again = v1::DeleteSandboxRequest { sandbox_id: sandbox.id.clone() };
    sandboxes.delete_sandbox(again).await.expect("a repeated deletion");
    assert_eq!(s.refused(s.start("true")).await.code(), Code::NotFound);
    let Err(gone) = Running::try_attach(&sandbox.clients, attach).await else {
        panic!("a command of a deleted sandbox")
    };
    assert_eq!(gone.code(), Code::NotFound, "{gone:?}");
    assert!(list(&server, &[], 0, "").await.sandboxes.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    let server = std::sync::Arc::new(Server::start(Options::default()));
    let work: Vec<_> = (0..50)
        .map(|n| {
            let server = server.clone();
            tokio::spawn(async move {
                let sandbox = create_sandbox_patiently(&server, labelled(&[("n", &n.to_string())])).await;
                let s = sandbox.session("").await;
                s.run(format!("echo {n} >f; cat f")).await.expect(format!("{n}\n"), "", 0);
                if n % 2 == 0 {
                    sandbox.delete().await;
                }
                sandbox
            })
        })
        .collect();
    let mut kept = Vec::new();
    for task in work {
        kept.push(within_time(Duration::from_secs(120), "50 sandboxes", task).await.expect("each is made"));
    }
    let left: HashMap<_, _> =
        list(&server, &[], 1000, "").await.sandboxes.into_iter().map(|s| (s.sandbox_id.clone(), s)).collect();
    assert_eq!(left.len(), 25);
    for sandbox in &kept {
        let n: usize = sandbox.described.labels["n"].parse().expect("a number");
        assert_eq!(left.contains_key(&sandbox.id), n % 2 == 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn there_is_a_limit() {
    let server = Server::start(Options { args: vec!["--max-sandboxes".into(), "2".into()], ..Default::default() });
    let _one = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let two = create_sandbox(&server, v1::CreateSandboxRequest::default()).await;
    let mut clients = server.connect().await;
    let refused = clients.sandboxes.create_sandbox(v1::CreateSandboxRequest::default()).await.expect_err("a third");
    expect_error(&refused, Code::ResourceExhausted, "TOO_MANY_SANDBOXES");
    two.delete().await;
    create_sandbox(&server, v1::CreateSandboxRequest::default()).await.run("true").await.expect("", "", 0);
}

/// A root file system of one's own: nothing but busybox.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_directory_may_be_an_image() {
    let roots = tempfile::tempdir().unwrap();
    let root = roots.path().join("tiny");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("these tests need: apt-get install busybox-static");
    for name in ["sh", "ls", "cat", "echo", "id", "touch", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("hello"), "from the image\n").unwrap();
    let server = Server::start(Options {
        args: vec!["--image-root".into(), roots.path().display().to_string()],
        ..Default::default()
    });
    let request = || v1::CreateSandboxRequest { image: root.display().to_string(), ..Default::default() };
    let sandbox = create_sandbox(&server, request()).await;
    let s = sandbox.session("").await;
    s.run("cat /hello; echo changed >/hello; ls /usr 2>/dev/null; cat /hello").await.expect(
        "from the image\nchanged\n",
        "",
        0,
    );
    s.run("exit 3").await.expect_shell_exit(3, 0, 2);
    s.alive().await;
    let again = create_sandbox(&server, request()).await;
    again.run("cat /hello").await.expect("from the image\n", "", 0);
    assert_eq!(std::fs::read_to_string(root.join("hello")).unwrap(), "from the image\n");
    // Beside the roots that were allowed, through links too.
    std::os::unix::fs::symlink("/", roots.path().join("link")).unwrap();
    for image in
        ["/", "/usr", &format!("{}/../..", roots.path().display()), &roots.path().join("link").display().to_string()]
    {
        let request = v1::CreateSandboxRequest { image: image.into(), ..Default::default() };
        let refused = server.connect().await.sandboxes.create_sandbox(request).await.expect_err(image);
        assert!(
            [Code::NotFound, Code::FailedPrecondition, Code::InvalidArgument].contains(&refused.code()),
            "{image}: {refused:?}"
        );
    }
}

/// The agent is killed from outside: the sandbox says so, and can only be deleted.
async fn a_sandbox_whose_agent_died_has_failed(on: Runtime) {
    let server = Server::start(on.options());
    let sandbox = create_sandbox(&server, on.request()).await;
    let s = sandbox.session("").await;
    let word = token();
    s.run(format!("touch /workspace/{word}")).await;
    let mut running = s.exec_text("echo up; sleep 1000").await;
    running.until_out("up\n").await;
    host::signal(host::agent_with_file(&format!("/workspace/{word}")), libc::SIGKILL);
    let mut sandboxes = sandbox.clients.sandboxes.clone();
    let request = v1::GetSandboxRequest { sandbox_id: sandbox.id.clone() };
    within::until("STATE_FAILED", async || {
        sandboxes.get_sandbox(request.clone()).await.is_ok_and(|s| s.into_inner().state() == State::Failed)
    })
    .await;
    let told = within("the end of its stream", async {
        loop {
            match running.next().await {
                Ok(Some(_)) => {}
                other => return (other, running.ended, running.got),
            }
        }
    })
    .await;
    match told {
        (Err(status), false, _) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        (Ok(None), true, got) => assert_eq!(got.reason(), Reason::SandboxStopped, "{got:?}"),
        other => panic!("a stream of a dead sandbox should say so: {other:?}"),
    }
    let refused = s.refused(s.start("true")).await;
    assert!([Code::FailedPrecondition, Code::Unavailable].contains(&refused.code()), "{refused:?}");
    sandbox.delete().await;
    assert!(list(&server, &[], 0, "").await.sandboxes.is_empty());
}
