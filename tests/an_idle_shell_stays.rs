//! Nothing ends, stops or holds up an idle shell but what is done to it, and its state stays.

use crate::kit::{At, Shell, token, v1, within};
use v1::{ExecStart, exited::Reason};

crate::in_every_shell!(
    whatever_tmout_says,
    a_shell_that_was_stopped_goes_on,
    a_shell_that_is_busy_of_its_own_is_replaced,
    a_shell_that_was_given_its_line_editor,
);

/// Waits until a time in which a shell with `TMOUT=1` would have ended has passed, as the shell's own sandbox counts it.
async fn past_its_time(s: &crate::kit::Session) {
    s.sandbox.run("sleep 2.5").await.expect("", "", 0);
}

async fn whatever_tmout_says(at: At) {
    let sandbox = at.sandbox().await;
    for set in ["TMOUT=1", "export TMOUT=1", "readonly TMOUT=1", "TMOUT=1; trap 'exit 3' ALRM"] {
        let s = sandbox.session(at.shell.path()).await;
        s.run(format!("V=x; {set}")).await.expect("", "", 0);
        past_its_time(&s).await;
        s.run("echo $V $TMOUT").await.expect("x 1\n", "", 0);
        s.close().await;
    }
    // As an image would set it, for every shell.
    let env = [("TMOUT".to_owned(), "1".to_owned())].into();
    let s =
        sandbox.open(v1::CreateSessionRequest { env, shell: at.shell.path().into(), ..sandbox.ask_session() }).await;
    s.run("V=x").await.expect("", "", 0);
    past_its_time(&s).await;
    s.run("echo $V $TMOUT").await.expect("x 1\n", "", 0);
}

async fn a_shell_that_was_stopped_goes_on(at: At) {
    let s = at.session().await;
    s.run("V=x").await.expect("", "", 0);
    let pid = s.get().await.shell_pid;
    for whom in [format!("{pid}"), format!("{pid} $PPID")] {
        // It is idle, and nobody tells it to go on.
        s.sandbox.run(&format!("kill -STOP {whom}")).await.expect("", "", 0);
        s.run("echo $V").await.expect("x\n", "", 0);
    }
    // It stops itself, a while after its command was over.
    let word = token();
    s.run(format!("(sleep 0.2; kill -STOP $$; touch /tmp/{word}) & true")).await;
    within::until("the stop", async || s.sandbox.run(&format!("test -e /tmp/{word}")).await.exit_code() == 0).await;
    let start = ExecStart { timeout: Some(prost_types::Duration { seconds: 20, nanos: 0 }), ..s.start("echo $V") };
    let got = s.run_start(start, b"").await;
    assert_eq!((got.out().as_str(), got.reason(), got.exited.generation), ("x\n", Reason::Exited, 1), "{got:?}");
}

async fn a_shell_that_is_busy_of_its_own_is_replaced(at: At) {
    let s = at.session().await;
    s.run("trap 'touch /tmp/busy; while :; do :; done' USR1").await.expect("", "", 0);
    let pid = s.get().await.shell_pid;
    s.sandbox.run(&format!("kill -USR1 {pid}")).await.expect("", "", 0);
    busy(at, &s).await;
    let start = ExecStart {
        timeout: Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 }),
        ..s.start("touch /tmp/ran")
    };
    let got = s.run_start(start, b"").await;
    assert_eq!((got.reason(), got.exited.shell_exited), (Reason::TimedOut, true), "{got:?}");
    s.alive().await;
    s.run("ls /tmp/ran").await.expect_complaint();
    // KILL alone comes there as well.
    s.run("rm -f /tmp/busy; trap 'touch /tmp/busy; while :; do :; done' USR1").await.expect("", "", 0);
    let pid = s.get().await.shell_pid;
    s.sandbox.run(&format!("kill -USR1 {pid}")).await.expect("", "", 0);
    busy(at, &s).await;
    let running = s.exec_text("touch /tmp/ran").await;
    running.signal(9).await;
    let got = running.finish().await;
    assert!(got.exited.shell_exited && got.exited.signal == 9, "{got:?}");
    s.alive().await;
}

/// Waits until the trap runs. ash runs it only when it has read its next line.
async fn busy(at: At, s: &crate::kit::Session) {
    if at.shell != Shell::Ash {
        within::until("the trap", async || s.sandbox.run("test -e /tmp/busy").await.exit_code() == 0).await;
    }
}

async fn a_shell_that_was_given_its_line_editor(at: At) {
    if at.shell != Shell::Zsh {
        return;
    }
    let s = at.session().await;
    // It reads the terminal from then on, where it is told to read our lines again, or finds the end of its input.
    for text in ["V=x; setopt zle; echo on", "bindkey -v; setopt zle; echo on"] {
        assert_eq!(s.run(text).await.out(), "on\n");
        s.run("echo $V; [[ -o zle ]] || echo off").await.expect("x\noff\n", "", 0);
    }
}
