//! A server that is killed or told to stop, and started again, has lost nothing: sandboxes, sessions, commands that run,
//! and every byte of their output.

use crate::kit::{
    At, Options, Running, Runtime, Server, create_sandbox, errors::expect_error, host, token, v1, within,
};
use std::{path::PathBuf, time::Duration};
use tonic::Code;
use v1::{AttachRequest, CreateSandboxRequest, ExecStart, GetSandboxRequest, exited::Reason, sandbox::State};

/// A data directory that outlives servers, and what is left when it goes.
struct Home {
    dir: tempfile::TempDir,
    on: Runtime,
}

impl Home {
    fn new(on: Runtime) -> Self {
        Self { dir: tempfile::tempdir().expect("a directory for data"), on }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where each sandbox has a directory.
    fn sandboxes(&self) -> PathBuf {
        match self.on {
            Runtime::Linux => self.data_dir().join("sandboxes"),
            Runtime::Docker => self.data_dir().join("docker/sandboxes"),
        }
    }

    /// A server that leaves its sandboxes to the next.
    fn serve(&self) -> Server {
        Server::start(Options { data_dir: Some(self.data_dir()), keep: true, ..self.on.options() })
    }

    /// The last server here: ends what is left, and fails when anything of it remains.
    async fn close(self) {
        let last = Server::start(Options { data_dir: Some(self.data_dir()), ..self.on.options() });
        tokio::task::spawn_blocking(move || last.stop()).await.expect("the end of the last server");
        let name = self.dir.path().to_string_lossy().into_owned();
        within::until("nothing left", async || host::with_argument(&name).is_empty()).await;
        assert_eq!(host::mounts_with(&name), [""; 0]);
    }
}

async fn crash(server: Server) {
    tokio::task::spawn_blocking(move || server.crash()).await.expect("a killed server");
}

mod in_each_shell {
    use super::{a_command_goes_on_and_its_output_is_whole, a_session_has_its_state};
    crate::in_every_shell!(a_command_goes_on_and_its_output_is_whole, a_session_has_its_state);
}

crate::in_every_runtime!(
    a_repeated_request_is_still_the_same,
    only_its_client_gives_a_call_up,
    what_died_meanwhile_is_reported_and_removed,
    a_server_of_another_runtime_leaves_it_alone,
    an_agent_that_dies_is_noticed_by_who_watches,
    a_sandbox_nobody_was_told_of_is_not_left,
    a_file_that_was_being_written_is_the_old_one,
);

/// A command that is cancelled when its call is lost goes on when it is the server that has gone.
async fn only_its_client_gives_a_call_up(on: Runtime) {
    for killed in [true, false] {
        let home = Home::new(on);
        let server = home.serve();
        let sandbox = create_sandbox(&server, on.request()).await;
        let (s, other) = (sandbox.session("").await, sandbox.session("").await);
        let text = |name: &str| {
            format!("touch /tmp/{name}; while ! [ -e /tmp/go ]; do sleep 0.1; done; touch /tmp/{name}-end; echo end")
        };
        let start = |command: String, start: ExecStart| ExecStart { cancel_on_disconnect: true, command, ..start };
        let in_session = s.exec(start(text("session"), s.start(""))).await;
        let direct = sandbox.exec(start(text("direct"), sandbox.start(""))).await;
        let call = v1::RunRequest { start: Some(start(text("call"), other.start(""))), ..Default::default() };
        let mut sessions = sandbox.clients.sessions.clone();
        let call = tokio::spawn(async move { sessions.run(call).await });
        let seen = "test -e /tmp/session && test -e /tmp/direct && test -e /tmp/call";
        within::until("all of them", async || sandbox.run(seen).await.exit_code() == 0).await;
        if killed {
            crash(server).await;
        } else {
            tokio::task::spawn_blocking(move || server.stop()).await.expect("the server's end");
        }
        within("the call's end", call).await.expect("no panic").expect_err("the server is gone");
        let server = home.serve();
        let s = s.through(&server).await;
        s.sandbox.run("touch /tmp/go").await.expect("", "", 0);
        for command_id in [in_session.got.command_id.clone(), direct.got.command_id.clone()] {
            let all = AttachRequest { command_id, ..Default::default() };
            Running::attach(&s.sandbox.clients, all).await.finish().await.expect("end\n", "", 0);
        }
        within::until("the other's end", async || s.sandbox.run("test -e /tmp/call-end").await.exit_code() == 0).await;
        drop((s, server));
        home.close().await;
    }
}

async fn a_command_goes_on_and_its_output_is_whole(at: At) {
    at.shell.require();
    let home = Home::new(at.runtime);
    let server = home.serve();
    let sandbox = create_sandbox(&server, at.runtime.request()).await;
    let s = sandbox.session(at.shell.path()).await;
    // It prints until the file is there, which is made after the restart.
    let text = "n=0; while ! [ -e /tmp/stop ]; do n=$((n + 1)); echo $n; done; echo last; (exit 7)";
    let mut running = s.exec_text(text).await;
    running.until_out("100\n").await;
    crash(server).await;
    // What was under way still arrives, then the stream breaks.
    let status = loop {
        match running.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream of a killed server ended as if all was well"),
            Err(status) => break status,
        }
    };
    assert!([Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal].contains(&status.code()), "{status:?}");
    let server = home.serve();
    let s = s.through(&server).await;
    let (id, reached) = (running.got.command_id.clone(), running.got.stdout.len());
    let attach = AttachRequest { command_id: id.clone(), stdout_offset: reached as i64, ..Default::default() };
    let mut rest = Running::attach(&s.sandbox.clients, attach).await;
    rest.until("more than there was", |rest| !rest.got.stdout.is_empty()).await;
    s.sandbox.run("touch /tmp/stop").await.expect("", "", 0);
    let rest = rest.finish().await;
    assert_eq!((rest.exit_code(), rest.reason()), (7, Reason::Exited), "{rest:?}");
    assert!(rest.gaps.is_empty(), "{rest:?}");
    let all = String::from_utf8([running.got.stdout.clone(), rest.stdout].concat()).expect("numbers");
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(lines.last(), Some(&"last"));
    assert!(lines[..lines.len() - 1].iter().enumerate().all(|(n, line)| *line == (n + 1).to_string()), "not in order");
    s.run("echo alive").await.expect("alive\n", "", 0);
    s.sandbox.delete().await;
    drop(server);
    home.close().await;
}

async fn a_session_has_its_state(at: At) {
    at.shell.require();
    let home = Home::new(at.runtime);
    let mut server = home.serve();
    let sandbox = create_sandbox(&server, at.runtime.request()).await;
    let s = sandbox.session(at.shell.path()).await;
    s.run("cd /usr; export A=1; B=2; f() { echo fn; }; sleep 1000 & echo x >/tmp/file").await;
    let told = s.run("(exit 5)").await;
    for kill in [true, false] {
        if kill {
            crash(server).await;
        } else {
            let status = tokio::task::spawn_blocking(move || server.stop()).await.expect("the server's end");
            assert!(status.success(), "{status}");
        }
        server = home.serve();
        let s = s.through(&server).await;
        s.run("echo $? $PWD $A $B; f; cat /tmp/file").await.expect("5 /usr 1 2\nfn\nx\n", "", 0);
        s.run("kill -0 $! && echo lives").await.expect("lives\n", "", 0);
        s.run("(exit 5)").await;
        let request = v1::GetSessionRequest { session_id: s.id.clone() };
        let known = s.sandbox.clients.sessions.clone().get_session(request).await.expect("it is there").into_inner();
        assert_eq!((known.generation, known.working_directory.as_str()), (1, "/usr"));
        let request = v1::GetCommandRequest { command_id: told.command_id.clone() };
        let command = s.sandbox.clients.sessions.clone().get_command(request).await.expect("it is known").into_inner();
        assert_eq!(command.exited.map(|exited| exited.exit_code), Some(5));
    }
    drop(server);
    home.close().await;
}

async fn a_file_that_was_being_written_is_the_old_one(on: Runtime) {
    let (home, directory) = (Home::new(on), format!("/tmp/{}", token()));
    let file = format!("{directory}/f");
    let mut server = home.serve();
    let mut sandbox = create_sandbox(&server, on.request()).await;
    sandbox.write(&file, "old").await;
    let archive = crate::kit::archives::Archive::default().file("whole", "x").file("f", &"n".repeat(4 << 20)).bytes();
    for _ in 0..3 {
        let writing = sandbox.start_write(sandbox.open_file(&file)).await;
        let importing = sandbox.start_import(sandbox.open_import("/tmp/e")).await;
        writing.send(&[b'n'; 1 << 20]).await;
        within::until("the draft", async || host::unnamed_files_in(&directory) == 1).await;
        importing.send(&archive[..1 << 20]).await;
        within::until("the second file", async || sandbox.stat("/tmp/e/f").await.is_ok()).await;
        crash(server).await;
        writing.finish().await.unwrap_err();
        importing.finish().await.unwrap_err();
        server = home.serve();
        sandbox = sandbox.through(&server).await;
        within::until("the second file to be removed", async || sandbox.stat("/tmp/e/f").await.is_err()).await;
        within::until("the draft to be given up", async || host::unnamed_files_in(&directory) == 0).await;
        sandbox.run(&format!("ls -A {directory}; ls -A /tmp/e; cat {file} /tmp/e/whole")).await.expect(
            "f\nwhole\noldx",
            "",
            0,
        );
    }
    sandbox.delete().await;
    drop(server);
    home.close().await;
}

async fn a_repeated_request_is_still_the_same(on: Runtime) {
    let home = Home::new(on);
    let server = home.serve();
    let ask = || CreateSandboxRequest { request_id: "create-1".into(), ..on.request() };
    let sandbox = create_sandbox(&server, ask()).await;
    let s = sandbox.session("").await;
    let start = ExecStart { request_id: "start-1".into(), ..s.start("echo once >>/tmp/log; cat /tmp/log") };
    let first = s.exec(start.clone()).await.finish().await;
    crash(server).await;
    let server = home.serve();
    let again = create_sandbox(&server, ask()).await;
    assert_eq!(again.id, sandbox.id);
    let mut other = ask();
    other.labels.insert("a".into(), "b".into());
    let status = again.clients.sandboxes.clone().create_sandbox(other).await.expect_err("another request");
    expect_error(&status, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    let s = s.through(&server).await;
    let repeated = s.exec(start).await.finish().await;
    assert_eq!((&repeated.command_id, repeated.out().as_str()), (&first.command_id, "once\n"));
    again.delete().await;
    drop(server);
    home.close().await;
}

async fn what_died_meanwhile_is_reported_and_removed(on: Runtime) {
    let home = Home::new(on);
    let server = home.serve();
    let word = token();
    let sandbox = create_sandbox(&server, on.request()).await;
    let lives = create_sandbox(&server, on.request()).await;
    sandbox.session("").await.run(format!("touch /tmp/{word}; sh -c 'sleep 1000; :' {word} &")).await;
    let agent = host::agent_with_file(&format!("/tmp/{word}"));
    crash(server).await;
    host::signal(agent, libc::SIGKILL);
    within::until("the end of its processes", async || host::with_argument(&word).is_empty()).await;
    let server = home.serve();
    let mut clients = server.connect().await;
    let get = |id: &str| GetSandboxRequest { sandbox_id: id.to_owned() };
    let failed = clients.sandboxes.get_sandbox(get(&sandbox.id)).await.expect("it is reported").into_inner();
    assert_eq!(failed.state(), State::Failed);
    assert_eq!(failed.end_reason(), v1::sandbox::EndReason::AgentEnded);
    let listed = clients.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.expect("a list");
    let listed: Vec<_> = listed.into_inner().sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect();
    assert_eq!(listed, std::slice::from_ref(&lives.id), "only active ones");
    assert_eq!(host::cgroups_with(&sandbox.id), [""; 0]);
    assert!(!home.sandboxes().join(&sandbox.id).exists());
    clients.sandboxes.delete_sandbox(v1::DeleteSandboxRequest { sandbox_id: sandbox.id.clone() }).await.expect("gone");
    let status = clients.sandboxes.get_sandbox(get(&sandbox.id)).await.expect_err("gone");
    expect_error(&status, Code::NotFound, "SANDBOX_NOT_FOUND");
    drop(server);
    home.close().await;
}

async fn a_server_of_another_runtime_leaves_it_alone(on: Runtime) {
    let (home, other) = (Home::new(on), if on == Runtime::Linux { Runtime::Docker } else { Runtime::Linux });
    let server = home.serve();
    let sandbox = create_sandbox(&server, on.request()).await;
    let session = sandbox.session("").await;
    session.run("A=1").await;
    crash(server).await;
    let mistaken = Options { data_dir: Some(home.data_dir()), ..other.options() };
    let Err((_, log)) = Server::try_start(mistaken) else { panic!("it took over what it cannot reach") };
    assert!(log.contains(&format!("--runtime {}", sandbox.described.runtime)), "{log}");
    let server = home.serve();
    session.through(&server).await.run("echo $A").await.expect("1\n", "", 0);
    drop(server);
    home.close().await;
}

async fn an_agent_that_dies_is_noticed_by_who_watches(on: Runtime) {
    let server = Server::start(on.options());
    let sandbox = create_sandbox(&server, on.request()).await;
    let word = token();
    sandbox.run(&format!("touch /tmp/{word}")).await;
    let request = v1::WatchSandboxRequest { sandbox_id: sandbox.id.clone() };
    let mut changes = sandbox.clients.sandboxes.clone().watch_sandbox(request).await.expect("a stream").into_inner();
    let mut next = async || within("a change", changes.message()).await.expect("a change").unwrap().sandbox.unwrap();
    assert_eq!(next().await.state(), State::Running);
    host::signal(host::agent_with_file(&format!("/tmp/{word}")), libc::SIGKILL);
    let failed = next().await;
    assert_eq!((failed.state(), failed.end_reason()), (State::Failed, v1::sandbox::EndReason::AgentEnded));
    within::until("nothing left of it", async || host::cgroups_with(&sandbox.id).is_empty()).await;
}

async fn a_sandbox_nobody_was_told_of_is_not_left(on: Runtime) {
    let home = Home::new(on);
    for millis in [1, 5, 10, 15, 25] {
        let server = home.serve();
        let mut clients = server.connect().await;
        let creations: Vec<_> = (0..4)
            .map(|_| {
                let mut clients = clients.clone();
                tokio::spawn(async move { clients.sandboxes.create_sandbox(on.request()).await })
            })
            .collect();
        // Not a wait for something, but a point in the middle of it.
        tokio::time::sleep(Duration::from_millis(millis)).await;
        crash(server).await;
        let mut told = Vec::new();
        for creation in creations {
            if let Ok(Ok(sandbox)) = creation.await {
                told.push(sandbox.into_inner().sandbox_id);
            }
        }
        let server = home.serve();
        clients = server.connect().await;
        let listed = clients.sandboxes.list_sandboxes(v1::ListSandboxesRequest::default()).await.expect("a list");
        let there: Vec<_> = listed.into_inner().sandboxes.into_iter().map(|sandbox| sandbox.sandbox_id).collect();
        for id in &told {
            assert!(there.contains(id), "{id} was acknowledged and is lost");
        }
        // Those whose answer was lost on its way live; what was half made does not.
        let directories = std::fs::read_dir(home.sandboxes()).expect("sandboxes").flatten();
        for directory in directories {
            let name = directory.file_name().to_string_lossy().into_owned();
            assert!(there.contains(&name), "{name} is left and not listed");
        }
        for sandbox_id in there {
            let request = v1::DeleteSandboxRequest { sandbox_id };
            clients.sandboxes.delete_sandbox(request).await.expect("deleted");
        }
    }
    home.close().await;
}
