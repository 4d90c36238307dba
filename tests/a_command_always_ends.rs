//! Time-outs, cancels and closing come to their end whatever a program does to the shell and to the process that holds it.

use crate::kit::{At, host, token, v1, within};
use v1::{ExecStart, SignalCommandRequest, exited::Reason};

crate::in_every_shell!(
    a_stopped_holder_goes_on,
    a_holder_that_is_stopped_again_and_again,
    a_stopped_shell_goes_on_with_its_state,
    a_traced_shell_is_ended,
);

fn a_second() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 1, nanos: 0 })
}

async fn a_stopped_holder_goes_on(at: At) {
    let s = at.session().await;
    s.run("kill -STOP $PPID; exit 3").await.expect_shell_exit(3, 0, 2);
    s.alive().await;
    // It is stopped while nothing runs, and the shell ends.
    s.run("kill -STOP $PPID").await.expect("", "", 0);
    let pid = s.get().await.shell_pid;
    s.sandbox.run(&format!("kill -9 {pid}")).await.expect("", "", 0);
    within::until("a new shell", async || {
        s.run("true").await;
        s.get().await.generation == 3
    })
    .await;
    s.alive().await;
    // A direct execution has one too.
    let start = ExecStart { shell: at.shell.path().into(), timeout: a_second(), ..s.sandbox.start("kill -STOP $PPID") };
    s.sandbox.exec(start).await.finish().await.expect("", "", 0);
    // And closing does not wait for one.
    let word = token();
    s.run(format!("sh -c 'sleep 10000; :' {word} & kill -STOP $PPID")).await;
    within::until("the background process", async || !host::with_argument(&word).is_empty()).await;
    s.close().await;
    assert_eq!(host::with_argument(&word).len(), 0);
    only_the_agent_is_left(&s.sandbox).await;
}

/// Nothing but the agent, and the execution that looks.
async fn only_the_agent_is_left(sandbox: &crate::kit::Sandbox) {
    within::until("the end of all processes", async || {
        let count = sandbox.run("ls /proc | grep -c '^[0-9]'").await.out();
        count.trim().parse::<u32>().is_ok_and(|count| count < 8)
    })
    .await;
}

async fn a_holder_that_is_stopped_again_and_again(at: At) {
    let s = at.session().await;
    let word = token();
    let text = format!("sh -c 'while kill -STOP $0; do :; done' $PPID {word} & sleep 10000");
    let got = s.run_start(ExecStart { timeout: a_second(), ..s.start(text.clone()) }, b"").await;
    assert_eq!(got.reason(), Reason::TimedOut, "{got:?}");
    let running = s.exec_text(text).await;
    let request = SignalCommandRequest { command_id: running.got.command_id.clone(), signal: 0 };
    s.sandbox.clients.sessions.clone().signal_command(request).await.expect("it runs");
    assert_eq!(running.finish().await.reason(), Reason::Cancelled);
    s.close().await;
    assert_eq!(host::with_argument(&word).len(), 0);
    only_the_agent_is_left(&s.sandbox).await;
}

async fn a_stopped_shell_goes_on_with_its_state(at: At) {
    let s = at.session().await;
    s.run("X=kept").await.expect("", "", 0);
    let got = s.run_start(ExecStart { timeout: a_second(), ..s.start("kill -STOP $$; echo on") }, b"").await;
    assert_eq!((got.out().as_str(), got.reason()), ("", Reason::TimedOut), "{got:?}");
    s.run("echo $X").await.expect("kept\n", "", 0);
    assert_eq!(s.get().await.generation, 1);
    // One that a background process stops again and again ends too, be it with its shell.
    let word = token();
    let text = format!("sh -c 'while kill -STOP $0; do :; done' $$ {word} & while :; do :; done");
    let got = s.run_start(ExecStart { timeout: a_second(), ..s.start(text) }, b"").await;
    assert_eq!(got.reason(), Reason::TimedOut, "{got:?}");
    // The same shell may go on, and be stopped while it waits for the next command: that one comes to an end, too.
    s.run_start(ExecStart { timeout: a_second(), ..s.start("echo alive") }, b"").await;
    s.close().await;
    assert_eq!(host::with_argument(&word).len(), 0);
}

const TRACER: &str = "import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT = 0x4206, 0x4207
shell = int(sys.argv[1])
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, shell, None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
print(\"traced\", flush=True)
time.sleep(10000)";

async fn a_traced_shell_is_ended(at: At) {
    let s = at.session().await;
    let word = token();
    let text = format!("/usr/bin/python3 -c '{TRACER}' $$ {word} & wait; sleep 10000");
    let got = s.run_start(ExecStart { timeout: a_second(), ..s.start(text.clone()) }, b"").await;
    assert_eq!((got.out().as_str(), got.reason()), ("traced\n", Reason::TimedOut), "{got:?}");
    s.alive().await;
    let mut running = s.exec_text(text).await;
    running.until_out("traced\n").await;
    s.close().await;
    assert_eq!(running.finish().await.reason(), Reason::Cancelled);
    assert_eq!(host::with_argument(&word).len(), 0);
}
