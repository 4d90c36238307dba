//! `user` of `CreateSandbox`: everything in the sandbox runs as that user unless it names another one.

use crate::kit::{Finished, Runtime, Sandbox, create_sandbox, errors::expect_bad_fields, v1, within};
use v1::{ExecStart, Pty};

crate::in_every_runtime!(
    all_that_runs_is_that_users,
    its_sessions_have_a_terminal_and_jobs,
    its_files_are_that_users,
    others_may_be_named,
    nobody_unknown_gets_a_sandbox
);

async fn of(on: Runtime, user: &str) -> Sandbox {
    create_sandbox(on.shared(), v1::CreateSandboxRequest { user: user.into(), ..on.request() }).await
}

async fn run(sandbox: &Sandbox, start: ExecStart) -> Finished {
    let request = v1::RunRequest { start: Some(start), ..Default::default() };
    let answer = within("an answer", sandbox.clients.sessions.clone().run(request)).await;
    answer.unwrap_or_else(|e| panic!("{e:?}")).into_inner().into()
}

fn argv(sandbox: &Sandbox, arguments: &[&str]) -> ExecStart {
    ExecStart { argv: arguments.iter().map(|a| (*a).to_owned()).collect(), ..sandbox.start("") }
}

async fn all_that_runs_is_that_users(on: Runtime) {
    let sandbox = of(on, "nobody").await;
    assert_eq!(sandbox.described.user, "nobody");
    let request = v1::GetSandboxRequest { sandbox_id: sandbox.id.clone() };
    let told = sandbox.clients.sandboxes.clone().get_sandbox(request).await.expect("it is there").into_inner();
    assert_eq!(told.user, "nobody");
    sandbox.run("id -un; echo $USER $LOGNAME").await.expect("nobody\nnobody nobody\n", "", 0);
    run(&sandbox, argv(&sandbox, &["id", "-un"])).await.expect("nobody\n", "", 0);
    let session = sandbox.session("").await;
    session.run("id -un; umask 022; X=1").await.expect("nobody\n", "", 0);
    session.run("echo $X >/tmp/x && stat -c %U /tmp/x").await.expect("nobody\n", "", 0);
    // A shell that takes the place of one that has ended is that user's too.
    session.run("exit 3").await;
    session.run("id -un; echo $X").await.expect("nobody\n1\n", "", 0);
    session.run("touch /etc/x").await.expect_complaint();
    let numbered = of(on, "4242:77").await;
    numbered.run("id -u; id -g; id -G").await.expect("4242\n77\n77\n", "", 0);
}

async fn its_sessions_have_a_terminal_and_jobs(on: Runtime) {
    let sandbox = of(on, "nobody").await;
    let session = sandbox.session("/bin/bash").await;
    let pty = ExecStart { pty: Some(Pty::default()), ..session.start("tty; echo asked >/dev/tty; stty size <$(tty)") };
    let got = session.exec(pty).await.finish().await;
    let shown = got.tty();
    assert!(shown.starts_with("/dev/pts/") && shown.ends_with("asked\r\n24 80\r\n"), "{got:?}");
    session.run("set -m; sleep 1000 & kill %1; wait %1; echo $?").await;
    let got = session.run("sleep 1000 & jobs -r | wc -l; kill %%").await;
    assert_eq!(got.out(), "1\n", "{got:?}");
    let running = session.exec_text("sleep 1000").await;
    running.signal(libc::SIGINT).await;
    assert_eq!(running.finish().await.exit_code(), 130);
    session.alive().await;
}

async fn its_files_are_that_users(on: Runtime) {
    let sandbox = of(on, "nobody").await;
    let path = "/tmp/made-by-a-call".to_owned();
    let make = v1::MakeDirectoryRequest { sandbox_id: sandbox.id.clone(), path: path.clone(), ..Default::default() };
    let made = within("a directory", sandbox.clients.files.clone().make_directory(make)).await;
    assert_eq!(made.expect("it may").into_inner().owner, "nobody");
    let make =
        v1::MakeDirectoryRequest { sandbox_id: sandbox.id.clone(), path: "/etc/no".into(), ..Default::default() };
    let refused = within("a refusal", sandbox.clients.files.clone().make_directory(make.clone())).await;
    crate::kit::errors::expect_error(
        &refused.expect_err("it may not"),
        tonic::Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    let as_root = v1::MakeDirectoryRequest { user: "root".into(), ..make };
    within("a directory", sandbox.clients.files.clone().make_directory(as_root)).await.expect("root may");
    if on == Runtime::Linux {
        // Where it works is its own.
        sandbox.run("echo kept >file && cat file && stat -c %U . file").await.expect("kept\nnobody\nnobody\n", "", 0);
    }
}

async fn others_may_be_named(on: Runtime) {
    let sandbox = of(on, "nobody").await;
    for start in [sandbox.start("id -un"), argv(&sandbox, &["id", "-un"])] {
        run(&sandbox, ExecStart { user: "root".into(), ..start }).await.expect("root\n", "", 0);
    }
    let of_root = v1::CreateSessionRequest { user: "root".into(), ..sandbox.ask_session() };
    let of_root = sandbox.open(of_root).await;
    of_root.run("id -un").await.expect("root\n", "", 0);
    let session = sandbox.session("").await;
    let start = ExecStart { user: "root".into(), ..session.start("id -un; touch /etc/made") };
    session.run_start(start, b"").await.expect("root\n", "", 0);
    session.run("id -un; touch /etc/made").await;
    session.run("id -un").await.expect("nobody\n", "", 0);
}

async fn nobody_unknown_gets_a_sandbox(on: Runtime) {
    let mut clients = on.shared().connect().await;
    let label = crate::kit::token();
    for user in ["nosuch", "nobody:nosuch", "-1", ":nogroup", "a\0b"] {
        let labels = [("test".to_owned(), label.clone())].into();
        let request = v1::CreateSandboxRequest { user: user.into(), labels, ..on.request() };
        let refused = within("a refusal", clients.sandboxes.create_sandbox(request)).await;
        expect_bad_fields(&refused.expect_err("nobody"), &["user"]);
    }
    let labels = [("test".to_owned(), label)].into();
    let request = v1::ListSandboxesRequest { labels, ..Default::default() };
    let left = clients.sandboxes.list_sandboxes(request).await.expect("a list").into_inner();
    assert_eq!(left.sandboxes, [], "nothing is left");
}
