//! A session cannot be bricked. A command that ends the shell says so, and the session goes on in a new one.

use crate::kit::{At, Shell, errors::expect_error, host, token, v1, within};
use tonic::Code;
use v1::session::State;

crate::in_every_shell!(
    exit_and_exec_end_the_shell,
    the_new_shell_is_where_the_old_one_was,
    killed_shells_come_back,
    an_exit_trap_has_its_say,
    jobs_do_not_hold_back_an_exit,
    a_session_may_close_instead,
    the_shell_may_stop_itself,
    a_program_in_the_shells_place_can_be_ended,
    a_hundred_exits,
);

async fn exit_and_exec_end_the_shell(at: At) {
    let s = at.session().await;
    let mut generation = 1;
    for (command, stdout, code) in [
        ("exit 3", "", 3),
        ("exit", "", 0),
        ("false; exit", "", 1),
        ("set -e; false; echo no", "", 1),
        ("set -e; (exit 6); echo no", "", 6),
        ("exec true", "", 0),
        ("exec sh -c 'echo in; exit 12'", "in\n", 12),
        ("exec sh", "", 0),
        ("f() { exit 4; }; echo before; f; echo no", "before\n", 4),
        ("eval 'exit 5'", "", 5),
        ("exit 255", "", 255),
    ] {
        generation += 1;
        let got = s.run(command).await;
        assert_eq!(got.out(), stdout, "`{command}`: {got:?}");
        got.expect_shell_exit(code, 0, generation);
        s.alive().await;
        assert_eq!(s.get().await.generation, generation);
    }
    // Only the innermost shell ends.
    s.run("(exit 3); sh -c 'exit 4'").await.expect("", "", 4);
    assert_eq!(s.get().await.generation, generation);
}

async fn the_new_shell_is_where_the_old_one_was(at: At) {
    let s = at.session().await;
    s.run("mkdir -p '/tmp/a b'; cd '/tmp/a b'; export A='1 $x\n\"q\"' E=; B=unexported").await.expect("", "", 0);
    let got = s.run("export C=late; exit 3").await;
    got.expect_shell_exit(3, 0, 2);
    assert_eq!(got.exited.working_directory, "/tmp/a b");
    s.run("pwd; echo \"$A\"; echo \"${E-unset}$C\"; echo \"[$B]\"").await.expect(
        "/tmp/a b\n1 $x\n\"q\"\nlate\n[unexported]\n",
        "",
        0,
    );
    s.run("sh -c 'echo \"$C\"'").await.expect("late\n", "", 0);
    s.run("set -e; cd /usr; false").await.expect_shell_exit(1, 0, 3);
    s.run("pwd; echo $C; false; echo on").await.expect("/usr\nlate\non\n", "", 0);
    // `$?` of a new shell is the end of the old one, or nothing of ours.
    if at.shell == Shell::Bash || at.shell == Shell::Zsh {
        s.run("fn() { echo kept; }; alias al='echo aliased'; exit 0").await.expect_shell_exit(0, 0, 4);
        s.run("fn; al").await.expect("kept\naliased\n", "", 0);
    }
}

async fn killed_shells_come_back(at: At) {
    let s = at.session().await;
    s.run("cd /usr; export A=1").await;
    let got = s.run("echo before; kill -9 $$; echo no").await;
    assert_eq!(got.out(), "before\n", "{got:?}");
    got.expect_shell_exit(137, 9, 2);
    s.alive().await;
    s.run("pwd").await.expect("/usr\n", "", 0);
    let got = s.run("sh -c 'kill -9 $PPID'; echo no").await;
    got.expect_shell_exit(137, 9, 3);
    s.alive().await;
    let got = s.run("kill -SEGV $$").await;
    assert!(got.exited.shell_exited && got.exited.signal == 11, "{got:?}");
    s.alive().await;
    // While nothing runs: the next command finds a new shell.
    let pid = s.get().await.shell_pid;
    let other = s.sandbox.session("").await;
    other.run(format!("kill -9 {pid}")).await.expect("", "", 0);
    within::until("a new shell", async || s.get().await.generation == 5).await;
    s.alive().await;
    s.run("pwd").await.expect("/usr\n", "", 0);
}

async fn an_exit_trap_has_its_say(at: At) {
    let s = at.session().await;
    s.run("trap 'echo bye' EXIT").await.expect("", "", 0);
    let got = s.run("exit 4").await;
    assert_eq!((got.out().as_str(), got.err().as_str()), ("bye\n", ""), "{got:?}");
    got.expect_shell_exit(4, 0, 2);
    s.alive().await;
    let got = s.run("trap 'echo twice; exit 6' EXIT; exit 5").await;
    assert_eq!(got.out(), "twice\n", "{got:?}");
    got.expect_shell_exit(6, 0, 3);
    s.alive().await;
    s.run("trap 'echo sub' EXIT; (true); trap - EXIT").await;
    s.alive().await;
    let got = s.run("trap 'echo err >&2' EXIT; set -e; false").await;
    assert_eq!((got.out().as_str(), got.err().as_str()), ("", "err\n"), "{got:?}");
    got.expect_shell_exit(1, 0, 4);
    s.alive().await;
}

async fn jobs_do_not_hold_back_an_exit(at: At) {
    let s = at.session().await;
    s.run("sleep 1000 &").await;
    s.run("exit 3").await.expect_shell_exit(3, 0, 2);
    s.alive().await;
    s.run("sh -c 'kill -STOP $$'").await;
    if at.shell == Shell::Dash {
        // dash refuses once while a job is stopped, and nothing can tell it not to.
        assert_eq!(s.run("exit 4").await.err(), "You have stopped jobs.\n");
        s.run("exit 4; exit 4").await.expect_shell_exit(4, 0, 3);
    } else {
        s.run("exit 4").await.expect_shell_exit(4, 0, 3);
    }
    s.alive().await;
}

async fn a_session_may_close_instead(at: At) {
    let sandbox = at.sandbox().await;
    let request = v1::CreateSessionRequest {
        shell: at.shell.path().into(),
        on_shell_exit: v1::OnShellExit::Close.into(),
        ..sandbox.ask_session()
    };
    let s = sandbox.open(request).await;
    assert_eq!(s.described.on_shell_exit(), v1::OnShellExit::Close);
    s.alive().await;
    s.run("echo last; exit 3").await.expect_shell_exit(3, 0, 1);
    assert_eq!(s.get().await.state(), State::Closed);
    let refused = s.refused(s.start("echo more")).await;
    expect_error(&refused, Code::FailedPrecondition, "SESSION_CLOSED");
    s.close().await;
}

async fn the_shell_may_stop_itself(at: At) {
    let s = at.session().await;
    let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let start = v1::ExecStart { timeout, ..s.start("kill -STOP $$; echo on") };
    s.run_start(start, b"").await;
    s.alive().await;
}

async fn a_program_in_the_shells_place_can_be_ended(at: At) {
    let s = at.session().await;
    s.run("cd /usr; export A=1").await;
    let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let got = s.run_start(v1::ExecStart { timeout, ..s.start("echo up; exec sleep 1000") }, b"").await;
    assert_eq!((got.out().as_str(), got.reason()), ("up\n", v1::exited::Reason::TimedOut), "{got:?}");
    assert!(got.exited.shell_exited && got.exited.generation == 2, "{got:?}");
    s.alive().await;
    s.run("pwd").await.expect("/usr\n", "", 0);
    let mut running = s.exec_text("echo up; exec sh -c 'trap \"\" INT TERM; while :; do sleep 0.1; done'").await;
    running.until_out("up\n").await;
    let request = v1::SignalCommandRequest { command_id: running.got.command_id.clone(), signal: 0 };
    s.sandbox.clients.sessions.clone().signal_command(request).await.expect("it runs");
    assert_eq!(running.finish().await.reason(), v1::exited::Reason::Cancelled);
    s.alive().await;
}

async fn a_hundred_exits(at: At) {
    let s = at.session().await;
    let word = token();
    s.run(format!("cd /usr; export A=1; : >/tmp/{word}")).await;
    let agent = host::agent_with_file(&format!("/tmp/{word}"));
    s.run("exit 3").await.expect_shell_exit(3, 0, 2);
    s.run("pwd").await.expect("/usr\n", "", 0);
    let before = descriptors(agent);
    for generation in 3..103 {
        s.run("exit 3").await.expect_shell_exit(3, 0, generation);
    }
    s.run("pwd; echo $A").await.expect("/usr\n1\n", "", 0);
    let counted = s.sandbox.run("ls /proc | grep -c '^[0-9]'").await;
    let processes: u32 = counted.out().trim().parse().unwrap_or(u32::MAX);
    assert!(processes < 20, "{processes} processes after a hundred shells");
    within::until("the descriptors of ended shells to be closed", async || descriptors(agent) <= before + 4).await;
}

/// Open descriptors of a process.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count()
}
