//! A command whose time is over, or that is cancelled, goes on with nothing after what ran then, whatever the user has made
//! of interrupts and job control; and the shell lives on with its state.

use crate::kit::{At, Finished, Session, Shell, v1};
use v1::{ExecStart, SignalCommandRequest, exited::Reason};

crate::in_every_shell!(
    whoever_has_the_trap_of_int,
    without_job_control,
    after_a_program_that_ends_in_its_own_way,
    while_the_shell_waits_for_a_job,
    a_trap_of_the_users_runs_and_stays,
    without_our_own_trap,
    where_the_shell_itself_waits,
);

const MILLISECONDS: i32 = 1_000_000;

/// Runs it with a time-out, and looks that nothing but `out` was printed and that the shell is still the same.
async fn timed_out(s: &Session, command: &str, out: &str) -> Finished {
    s.run("V=kept").await.expect("", "", 0);
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 400 * MILLISECONDS });
    let got = s.run_start(ExecStart { timeout, ..s.start(command) }, b"").await;
    assert_eq!((got.out().trim(), got.reason()), (out, Reason::TimedOut), "`{command}`: {got:?}");
    assert!(got.exit_code() != 0 && !got.exited.shell_exited, "`{command}`: {got:?}");
    s.alive().await;
    s.run("echo $V").await.expect("kept\n", "", 0);
    got
}

async fn whoever_has_the_trap_of_int(at: At) {
    for change in ["trap - INT", "trap '' INT", "trap 'x=1' INT", "trap '' INT TERM HUP"] {
        // In a command before it, and in the same one.
        for command in
            ["sleep 1000; echo no", "while :; do :; done; echo no", "f() { sleep 1000; echo no; }; f; echo no"]
        {
            let s = at.session().await;
            s.run(change).await.expect("", "", 0);
            timed_out(&s, command, "").await;
            timed_out(&s, &format!("{change}; {command}"), "").await;
            s.close().await;
        }
    }
}

async fn without_job_control(at: At) {
    let s = at.session().await;
    s.run("set +m").await;
    timed_out(&s, "sh -c 'trap \"\" INT TERM; sleep 1000'; echo no", "").await;
    timed_out(&s, "sh -c 'trap \"exit 7\" INT; while :; do sleep 0.05; done'; echo no", "").await;
    timed_out(&s, "sleep 1000; echo no", "").await;
}

async fn after_a_program_that_ends_in_its_own_way(at: At) {
    let s = at.session().await;
    let got = timed_out(&s, "sh -c 'trap \"exit 9\" INT; while :; do sleep 0.05; done'; echo no", "").await;
    assert_eq!(got.exit_code(), 9, "{got:?}");
    let got =
        timed_out(&s, "sh -c 'trap \"\" INT; trap \"exit 8\" TERM; while :; do sleep 0.05; done'; echo no", "").await;
    assert_eq!(got.exit_code(), 8, "{got:?}");
    // One that reports success was not through with its work either.
    timed_out(&s, "sh -c 'trap \"exit 0\" INT; while :; do sleep 0.05; done'; echo no", "").await;
}

async fn while_the_shell_waits_for_a_job(at: At) {
    let s = at.session().await;
    s.run("sleep 1000 & echo $! >/tmp/job").await;
    for command in ["wait; echo no", "wait $(cat /tmp/job); echo no", "f() { wait; echo no; }; f; echo no"] {
        timed_out(&s, command, "").await;
        // And by a signal.
        let mut running = s.exec_text(format!("echo up; {command}")).await;
        running.until_out("up\n").await;
        let request = SignalCommandRequest { command_id: running.got.command_id.clone(), signal: 2 };
        s.sandbox.clients.sessions.clone().signal_command(request).await.expect("it runs");
        let got = running.finish().await;
        assert_eq!((got.out().as_str(), got.reason(), got.exit_code()), ("up\n", Reason::Signaled, 130), "{got:?}");
        s.run("kill -0 $(cat /tmp/job); echo $V").await.expect("kept\n", "", 0);
    }
}

async fn a_trap_of_the_users_runs_and_stays(at: At) {
    let s = at.session().await;
    s.run("trap 'echo mine' INT").await.expect("", "", 0);
    timed_out(&s, "while :; do :; done; echo no", "mine").await;
    // bash does not run it for a program of a job of its own.
    timed_out(&s, "sleep 1000; echo no", if at.shell == Shell::Bash { "" } else { "mine" }).await;
    let got = s.run("trap").await;
    assert!(got.out().contains("echo mine"), "{got:?}");
    s.run("trap '' INT").await.expect("", "", 0);
    timed_out(&s, "sleep 1000; echo no", "").await;
    let ignored = |out: &str| out.lines().any(|line| line.contains("''") && line.ends_with("INT"));
    let got = s.run("trap").await;
    assert!(ignored(&got.out()), "{got:?}");
    s.run("sh -c 'kill -INT $$; echo on'").await.expect("on\n", "", 0);
}

async fn without_our_own_trap(at: At) {
    let s = at.session().await;
    s.run("trap - 16").await.expect("", "", 0);
    timed_out(&s, "sleep 1000; echo no", "").await;
    // The shell has nothing that could keep it from going on: it is replaced, and the answer says so.
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 400 * MILLISECONDS });
    let start = ExecStart { timeout, ..s.start("trap '' INT 16; sleep 1000; echo no") };
    let got = s.run_start(start, b"").await;
    assert_eq!((got.out().as_str(), got.reason(), got.exited.shell_exited), ("", Reason::TimedOut, true), "{got:?}");
    s.alive().await;
}

async fn where_the_shell_itself_waits(at: At) {
    let s = at.session().await;
    s.run("mkfifo /tmp/fifo").await.expect("", "", 0);
    for command in [
        "read x </tmp/fifo; echo no",
        "x=$(cat /tmp/fifo); echo no",
        "sleep 1000 | read x; echo no",
        "while sleep 0.05; do echo x; done | while read x; do :; done; echo no",
        "kill -STOP $$; sleep 1000; echo no",
        "kill -STOP $PPID; sleep 1000; echo no",
    ] {
        timed_out(&s, command, "").await;
    }
}
