//! `working_directory` of `CreateSandbox`: everything in the sandbox begins there unless it names another directory.

use crate::kit::{
    Runtime, Sandbox, Server, cli::prints, code, create_sandbox, datasets::Dataset, errors::expect_bad_fields,
    errors::expect_error, token, v1, within,
};
use tonic::Code;
use v1::{ExecStart, exec_start::Target};

crate::in_every_runtime!(
    everything_begins_there,
    relative_directories_begin_there,
    what_is_missing_is_made_for_the_user,
    what_is_there_stays_as_it_is,
    what_cannot_be_one_leaves_no_sandbox,
    a_sample_may_be_worked_on_from_elsewhere,
    a_restarted_server_still_knows_it,
    the_command_line_asks_for_it,
);

fn asked(on: Runtime, directory: &str) -> v1::CreateSandboxRequest {
    v1::CreateSandboxRequest { working_directory: directory.into(), ..on.request() }
}

async fn begun(on: Runtime, directory: &str) -> Sandbox {
    create_sandbox(on.shared(), asked(on, directory)).await
}

async fn everything_begins_there(on: Runtime) {
    let sandbox = begun(on, "/srv/it's here/now").await;
    assert_eq!(sandbox.described.working_directory, "/srv/it's here/now");
    let request = v1::GetSandboxRequest { sandbox_id: sandbox.id.clone() };
    let told = within("it", sandbox.clients.sandboxes.clone().get_sandbox(request)).await.expect("it").into_inner();
    assert_eq!(told.working_directory, "/srv/it's here/now");

    let session = sandbox.session("").await;
    assert_eq!(session.described.working_directory, "/srv/it's here/now");
    session.run("pwd; echo kept >file").await.expect("/srv/it's here/now\n", "", 0);
    sandbox.run("pwd; cat file").await.expect("/srv/it's here/now\nkept\n", "", 0);
    let program = ExecStart { argv: vec!["cat".into(), "file".into()], ..sandbox.start("") };
    sandbox.exec(program).await.finish().await.expect("kept\n", "", 0);
    assert_eq!(sandbox.read("file").await, b"kept\n");
    sandbox.write("sub/other", "written").await;
    session.run("cat sub/other").await.expect("written", "", 0);
    code::run(&sandbox, code::code(&sandbox, "sh", "pwd >by-code")).await;
    session.run("cat by-code").await.expect("/srv/it's here/now\n", "", 0);

    // What names another directory has that one.
    let elsewhere = v1::CreateSessionRequest { working_directory: "/usr".into(), ..sandbox.ask_session() };
    sandbox.open(elsewhere).await.run("pwd").await.expect("/usr\n", "", 0);
    let elsewhere = ExecStart { working_directory: "/usr".into(), ..sandbox.start("pwd") };
    sandbox.exec(elsewhere).await.finish().await.expect("/usr\n", "", 0);
}

async fn relative_directories_begin_there(on: Runtime) {
    let sandbox = begun(on, "/srv/project").await;
    sandbox.run("mkdir -p src/deep ../other").await.expect("", "", 0);
    for (asked, place) in [("src/deep", "/srv/project/src/deep"), (".", "/srv/project"), ("../other", "/srv/other")] {
        let session = v1::CreateSessionRequest { working_directory: asked.into(), ..sandbox.ask_session() };
        sandbox.open(session).await.run("pwd -P").await.expect(format!("{place}\n"), "", 0);
        for argv in [vec![], vec!["pwd".into(), "-P".into()]] {
            let text = if argv.is_empty() { "pwd -P" } else { "" };
            let start = ExecStart { working_directory: asked.into(), argv, ..sandbox.start(text) };
            sandbox.exec(start).await.finish().await.expect(format!("{place}\n"), "", 0);
        }
        let request = v1::RunCodeRequest {
            working_directory: asked.into(),
            ..code::code(&sandbox, "python", "import os; os.getcwd()")
        };
        assert_eq!(code::run(&sandbox, request).await.value(), format!("'{place}'"));
    }
    // One that is not there is named as it was written.
    let nowhere = v1::CreateSessionRequest { working_directory: "src/none".into(), ..sandbox.ask_session() };
    let refused = within("a refusal", sandbox.clients.sessions.clone().create_session(nowhere)).await;
    let refused = refused.expect_err("it is not there");
    expect_bad_fields(&refused, &["working_directory"]);
    assert!(refused.message().contains("\"src/none\" is not a directory"), "{refused:?}");
}

async fn what_is_missing_is_made_for_the_user(on: Runtime) {
    let request = v1::CreateSandboxRequest { user: "4242:77".into(), ..asked(on, "/made/for/them") };
    let sandbox = create_sandbox(on.shared(), request).await;
    sandbox.run("pwd; id -u; echo x >file && stat -c '%u:%g %a' /made . file; stat -c %u /").await.expect(
        "/made/for/them\n4242\n4242:77 755\n4242:77 755\n4242:77 644\n0\n",
        "",
        0,
    );
    let of_root = begun(on, "/made/here").await;
    of_root.run("stat -c '%u:%g %a' /made .").await.expect("0:0 755\n0:0 755\n", "", 0);
}

async fn what_is_there_stays_as_it_is(on: Runtime) {
    for user in ["", "nobody"] {
        let request = v1::CreateSandboxRequest { user: user.into(), ..asked(on, "/usr/../usr/bin") };
        let sandbox = create_sandbox(on.shared(), request).await;
        sandbox.run("pwd -P; stat -c '%u %a' .").await.expect("/usr/bin\n0 755\n", "", 0);
        // `/workspace` of the image `host` is the user's, wherever things begin.
        if on == Runtime::Linux && !user.is_empty() {
            sandbox.run("stat -c %U /workspace").await.expect("nobody\n", "", 0);
        }
    }
}

async fn what_cannot_be_one_leaves_no_sandbox(on: Runtime) {
    let mut clients = on.shared().connect().await;
    let label = token();
    let refused = async |request: v1::CreateSandboxRequest| {
        let labels = [("test".to_owned(), label.clone())].into();
        let request = v1::CreateSandboxRequest { labels, ..request };
        let refused = within("a refusal", clients.sandboxes.clone().create_sandbox(request)).await;
        refused.expect_err("it cannot begin there")
    };
    let long = format!("/{}", "x".repeat(4096));
    for directory in ["relative", "/a\0b", &long, "/etc/passwd", "/etc/passwd/below", "/proc/nothing/here"] {
        let status = refused(asked(on, directory)).await;
        expect_bad_fields(&status, &["working_directory"]);
    }
    let named = refused(asked(on, "/etc/passwd")).await;
    assert!(named.message().contains("\"/etc/passwd\""), "{named:?}");
    // Its user may not be in it.
    let closed = v1::CreateSandboxRequest { user: "nobody".into(), ..asked(on, "/root/inner") };
    let make_closed = refused(closed).await;
    expect_bad_fields(&make_closed, &["working_directory"]);

    let labels = [("test".to_owned(), label.clone())].into();
    let request = v1::ListSandboxesRequest { labels, ..Default::default() };
    let left = clients.sandboxes.list_sandboxes(request).await.expect("a list").into_inner();
    assert_eq!(left.sandboxes, [], "nothing is left");
}

async fn a_sample_may_be_worked_on_from_elsewhere(on: Runtime) {
    let dataset = Dataset::new();
    dataset.add("one", &["echo made > made"]);
    let server = Server::start(dataset.options(on));
    let request = v1::CreateSandboxRequest { working_directory: "/notes".into(), ..Dataset::request(on, "one") };
    let s = create_sandbox(&server, request).await;
    assert_eq!(s.described.working_directory, "/notes");
    s.default_session().await.run("pwd; cat /workspace/made").await.expect("/notes\nmade\n", "", 0);
    let plain = create_sandbox(&server, Dataset::request(on, "one")).await;
    plain.default_session().await.run("pwd; [ -e /notes ] || echo none").await.expect("/workspace\nnone\n", "", 0);
    assert_eq!(plain.described.working_directory, "/workspace");
}

async fn a_restarted_server_still_knows_it(on: Runtime) {
    let data = tempfile::tempdir().unwrap();
    let options = || crate::kit::Options { data_dir: Some(data.path().into()), keep: true, ..on.options() };
    let server = Server::start(options());
    let request = v1::CreateSandboxRequest { request_id: token(), ..asked(on, "/kept/here") };
    let sandbox = create_sandbox(&server, request.clone()).await;
    server.crash();
    let server = Server::start(options());
    let mut again = server.connect().await;
    let same = within("it", again.sandboxes.create_sandbox(request.clone())).await.expect("it").into_inner();
    assert_eq!((same.sandbox_id, same.working_directory.as_str()), (sandbox.id.clone(), "/kept/here"));
    let other = v1::CreateSandboxRequest { working_directory: "/kept/there".into(), ..request };
    let reused = within("a refusal", again.sandboxes.create_sandbox(other)).await.expect_err("another request");
    expect_error(&reused, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    let sandbox = sandbox.through(&server).await;
    sandbox.session("").await.run("pwd").await.expect("/kept/here\n", "", 0);
    let start = ExecStart { target: Some(Target::SandboxId(sandbox.id.clone())), ..sandbox.start("pwd") };
    sandbox.exec(start).await.finish().await.expect("/kept/here\n", "", 0);
    sandbox.delete().await;
    server.stop();
}

async fn the_command_line_asks_for_it(on: Runtime) {
    let (url, image) = (on.shared().url(), on.image());
    let common = ["--server", &url, "--image", &image, "--sandbox-cwd", "/from/here"];
    let run = |rest: &[&str]| prints(&[&["run"], &common[..], rest].concat());
    assert_eq!(run(&["pwd"]), "/from/here\n");
    assert_eq!(run(&["--cwd", "/usr", "pwd; cd; cd /from/here && pwd"]), "/usr\n/from/here\n");
}
