//! A command whose time is over is aborted, all of it, and nothing else is.

use crate::kit::{At, Dice, Finished, Runtime, Sandbox, Session, Shell, host, token, v1, within};
use prost_types::Duration;
use v1::{ExecStart, exited::Reason};

crate::in_every_shell!(
    sleep_is_over_at_once,
    the_whole_list_is_aborted,
    loops_are_aborted,
    pipes_and_subshells_are_aborted,
    no_process_is_left,
    what_ignores_signals_is_killed,
    what_handles_int_may_finish,
    a_program_that_lingers_in_a_trap,
    a_users_own_trap_is_honoured,
    background_jobs_survive,
    time_counts_from_the_turn,
    a_short_command_is_not_late,
    time_out_after_time_out,
    nothing_of_what_survives_errors_goes_on,
    a_shell_that_is_stopped_late_goes_on,
    a_trap_of_a_later_command_runs,
);

mod runtimes {
    use super::signals_that_come_together_cost_no_shell;
    crate::in_every_runtime!(signals_that_come_together_cost_no_shell);
}

fn timeout(s: &Session, milliseconds: i64, command: &str) -> ExecStart {
    let timeout = Duration { seconds: milliseconds / 1000, nanos: (milliseconds % 1000 * 1_000_000) as i32 };
    ExecStart { timeout: Some(timeout), ..s.start(command) }
}

/// Runs it against a time-out of a second, and looks that it and the session are as they should be afterwards.
async fn timed_out(s: &Session, command: &str) -> Finished {
    s.run("B=kept; f_kept() { echo fn; }").await.expect("", "", 0);
    let began = std::time::Instant::now();
    let got = s.run_start(timeout(s, 1000, command), b"").await;
    let took = began.elapsed();
    assert_eq!(got.reason(), Reason::TimedOut, "`{command}`: {got:?}");
    assert!(took >= std::time::Duration::from_millis(950), "`{command}` came back after {took:?}");
    assert!(!got.exited.shell_exited && got.exited.generation == 1, "`{command}` cost the shell: {got:?}");
    s.alive().await;
    s.run("echo $B; f_kept").await.expect("kept\nfn\n", "", 0);
    got
}

/// Waits until no process in the host has this word in its arguments.
async fn all_gone(word: &str) {
    within::until(&format!("the end of every process with {word}"), async || host::with_argument(word).is_empty())
        .await;
}

async fn sleep_is_over_at_once(at: At) {
    let s = at.session().await;
    let got = timed_out(&s, "echo so far; printf part >&2; sleep 100.0001").await;
    assert_eq!((got.out().as_str(), got.err().as_str()), ("so far\n", "part"), "{got:?}");
    assert_eq!(got.exit_code(), 130, "the shell's own code for INT: {got:?}");
    assert!(s.run("pgrep -f 'sleep 100.000[1]'").await.stdout.is_empty(), "no process is left");
}

async fn the_whole_list_is_aborted(at: At) {
    let s = at.session().await;
    let got = timed_out(&s, "sleep 100; touch /tmp/after; echo after").await;
    assert!(got.stdout.is_empty(), "{got:?}");
    timed_out(&s, "sleep 100\ntouch /tmp/after\n").await;
    timed_out(&s, "for i in 1 2 3; do sleep 100; touch /tmp/after; done").await;
    timed_out(&s, "sleep 100 || touch /tmp/after").await;
    timed_out(&s, "if sleep 100; then :; else touch /tmp/after; fi; touch /tmp/after").await;
    s.run("ls /tmp/after").await.expect_complaint();
}

async fn loops_are_aborted(at: At) {
    let s = at.session().await;
    timed_out(&s, "while :; do :; done; touch /tmp/after").await;
    timed_out(&s, "g() { while true; do h; done; }; h() { x=1; }; for i in 1 2; do g; done; touch /tmp/after").await;
    timed_out(&s, "while :; do sleep 0.01; done; touch /tmp/after").await;
    timed_out(&s, "while true; do /bin/true; done; touch /tmp/after").await;
    timed_out(&s, "until false; do echo x >/dev/null; done").await;
    timed_out(&s, "eval 'while :; do :; done'").await;
    s.run("ls /tmp/after").await.expect_complaint();
}

async fn pipes_and_subshells_are_aborted(at: At) {
    let s = at.session().await;
    let mark = format!("100.{}", std::process::id());
    for command in [
        "sleep MARK | cat",
        "(sleep MARK; touch /tmp/after)",
        "cat | sleep MARK",
        "x=$(sleep MARK; echo no); touch /tmp/after",
        "sh -c 'sleep MARK; touch /tmp/after'",
        "yes | sh -c 'cat >/dev/null; sleep MARK'",
        "{ sleep MARK; } | { cat; }",
        "time -p sleep MARK; touch /tmp/after",
        "wait_for() { sleep MARK; }; wait_for | cat; touch /tmp/after",
        "while :; do sleep MARK; done | cat",
    ] {
        if command.starts_with("time") && at.shell != Shell::Bash {
            continue;
        }
        let token = format!("{mark}{}", command.len());
        timed_out(&s, &command.replace("MARK", &token)).await;
        all_gone(&format!("sleep {token}")).await;
        let after = s.run("ls /tmp/after 2>/dev/null").await.out();
        assert_eq!(after, "", "`{command}` went on after its time was over");
    }
    s.run("ls /tmp/after").await.expect_complaint();
}

async fn no_process_is_left(at: At) {
    let s = at.session().await;
    let (job, word) = (token(), token());
    // Shells that are not interactive start background processes with INT ignored.
    for command in [
        "sh -c 'sleep 1000 & sleep 1000; wait' WORD",
        "sh -c 'sh -c \"sleep 1000; :\" WORD & sh -c \"sleep 1000; :\" WORD & sleep 1000'",
        "sh -c 'trap \"\" INT; sh -c \"sleep 1000; :\" WORD & exit 3' | sleep 1000",
        "(trap '' INT TERM; sh -c 'sleep 1000; :' WORD & sleep 1000) | sleep 1000",
        "sh -c 'sh -c \"kill -STOP \\$\\$\" WORD & exec sleep 1000'",
    ] {
        let command = format!("sh -c 'sleep 1000; :' {job} & {}", command.replace("WORD", &word));
        timed_out(&s, &command).await;
        let left: Vec<_> = host::with_argument(&word).into_iter().map(host::arguments).collect();
        assert!(left.is_empty(), "`{command}` left {left:?}");
    }
    let jobs = host::with_argument(&job).len();
    assert_eq!(jobs, 5, "what the user has put into the background lives on");
}

async fn what_ignores_signals_is_killed(at: At) {
    let s = at.session().await;
    let word = token();
    timed_out(&s, &format!("sh -c 'trap \"\" INT TERM; while :; do sleep 0.1; done' {word}; touch /tmp/after")).await;
    all_gone(&word).await;
    let script = "import signal, time\nfor s in signal.SIGINT, signal.SIGTERM, signal.SIGHUP: signal.signal(s, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(1000)";
    let got = timed_out(&s, &format!("/usr/bin/python3 -c \"{script}\" {word}")).await;
    assert_eq!(got.out(), "deaf\n");
    all_gone(&word).await;
    s.run("ls /tmp/after").await.expect_complaint();
}

async fn what_handles_int_may_finish(at: At) {
    let s = at.session().await;
    let got = timed_out(&s, "sh -c 'trap \"echo cleaned; exit 9\" INT; echo up; while :; do sleep 0.1; done'").await;
    assert_eq!((got.out().as_str(), got.exit_code()), ("up\ncleaned\n", 9), "{got:?}");
    let program = "import time\ntry: time.sleep(1000)\nexcept KeyboardInterrupt: print('caught'); raise SystemExit(9)";
    let got = timed_out(&s, &format!("/usr/bin/python3 -c \"{program}\"")).await;
    assert_eq!((got.out().as_str(), got.exit_code()), ("caught\n", 9), "{got:?}");
}

async fn a_program_that_lingers_in_a_trap(at: At) {
    let s = at.session().await;
    let got =
        timed_out(&s, "sh -c 'trap \"echo int\" INT; trap \"echo term; exit 3\" TERM; while :; do sleep 0.05; done'")
            .await;
    assert_eq!(got.out(), "int\nterm\n", "INT, then TERM, and no KILL before: {got:?}");
}

async fn a_users_own_trap_is_honoured(at: At) {
    let s = at.session().await;
    s.run("trap 'echo mine' INT").await.expect("", "", 0);
    let got = s.run_start(timeout(&s, 1000, "sleep 100"), b"").await;
    assert_eq!(got.reason(), Reason::TimedOut, "{got:?}");
    // When a program of a job of its own was interrupted, bash runs the trap only in loops, and prints a new line.
    assert!(got.out() == "mine\n" || (at.shell == Shell::Bash && got.out().trim().is_empty()), "{got:?}");
    s.alive().await;
    s.run("trap '' INT").await;
    let got = s.run_start(timeout(&s, 1000, "sleep 100"), b"").await;
    assert_eq!(got.reason(), Reason::TimedOut, "{got:?}");
    s.alive().await;
}

async fn background_jobs_survive(at: At) {
    let s = at.session().await;
    let seconds = format!("1000.{}", std::process::id());
    let got = s.run(format!("sleep {seconds} & echo $! >/tmp/pid")).await;
    assert_eq!(got.exit_code(), 0);
    timed_out(&s, "sleep 100").await;
    timed_out(&s, "sleep 100 | cat").await;
    s.run("kill -0 $(cat /tmp/pid) && echo there").await.expect("there\n", "", 0);
}

async fn time_counts_from_the_turn(at: At) {
    let s = at.session().await;
    let first = s.exec_text("sleep 1.5").await;
    let second = s.exec(timeout(&s, 1000, "echo in time")).await;
    first.finish().await.expect("", "", 0);
    second.finish().await.expect("in time\n", "", 0);
}

async fn a_short_command_is_not_late(at: At) {
    let s = at.session().await;
    s.run_start(timeout(&s, 20_000, "echo a; false"), b"").await.expect("a\n", "", 1);
    let got = s.run_start(timeout(&s, 1, "sleep 100"), b"").await;
    assert_eq!(got.reason(), Reason::TimedOut);
    s.alive().await;
    let got = s.run_start(timeout(&s, 10_000, "exit 3"), b"").await;
    got.expect_shell_exit(3, 0, 2);
}

async fn time_out_after_time_out(at: At) {
    let s = at.session().await;
    for round in 0..20 {
        let got = s.run_start(timeout(&s, 30, "sleep 100; echo no"), b"").await;
        assert!(
            got.reason() == Reason::TimedOut && got.stdout.is_empty() && !got.exited.shell_exited,
            "round {round}: {got:?}"
        );
        s.run("echo $((40 + 2))").await.expect("42\n", "", 0);
    }
}

/// Signals that were sent for one command are no later one's.
async fn a_trap_of_a_later_command_runs(at: At) {
    let s = at.session().await;
    for command in ["sleep 100", "sleep 100 | sleep 100", "while :; do :; done", "while true; do /bin/true; done"] {
        timed_out(&s, command).await;
        let got = s.run("trap 'echo got' USR1; kill -USR1 $$; echo after; kill -USR1 $$; echo last").await;
        got.expect("got\nafter\ngot\nlast\n", "", 0);
    }
}

/// What ends a command sends a signal of its own, and an INT just after it. Here they come from inside, at all distances, and also
/// after the command.
///
/// (Not in zsh: it drops a line of ours when an INT comes after the command, which those who end a command know, and nobody knows here.)
async fn signals_that_come_together_cost_no_shell(on: Runtime) {
    let sandbox = on.sandbox().await;
    let ash = (on == Runtime::Linux).then_some(Shell::Ash);
    for shell in [Shell::Dash, Shell::Bash].into_iter().chain(ash) {
        signals_come_together(&sandbox, shell).await;
    }
}

async fn signals_come_together(sandbox: &Sandbox, shell: Shell) {
    let (s, other) = (sandbox.session(shell.path()).await, sandbox.session("/bin/sh").await);
    let mut dice = Dice::new();
    for round in 0..80 {
        let mut busy = s.exec(timeout(&s, 60_000, "echo $$; while :; do :; done")).await;
        busy.until("its process id", |so_far| so_far.got.out().ends_with('\n')).await;
        let (pid, turns) = (busy.got.out().trim().to_owned(), 30 + dice.below(80));
        let signals = format!(
            "i=0; kill -16 {pid}; while [ $i -lt {turns} ]; do i=$((i + 1)); done; kill -2 {pid} 2>/dev/null; :"
        );
        other.run(signals).await.expect("", "", 0);
        let got = busy.finish().await;
        assert!(
            !got.exited.shell_exited && got.reason() == Reason::Exited,
            "{shell:?}, round {round}, {turns} turns: {got:?}"
        );
    }
    s.alive().await;
}

/// Built-ins that survive a mistake in what they run are aborted too, with all that is after them.
async fn nothing_of_what_survives_errors_goes_on(at: At) {
    let s = at.session().await;
    s.run("printf 'sleep 100\\necho no\\n' >/tmp/slow; echo '. /tmp/slow; echo no' >/tmp/outer")
        .await
        .expect("", "", 0);
    for command in [
        ". /tmp/slow; echo no",
        "source /tmp/slow; echo no",
        "source /tmp/outer; echo no",
        "command . /tmp/slow; echo no",
        "f_slow() { command . /tmp/outer || echo no; echo no; }; f_slow; echo no",
        "command eval 'sleep 100; echo no'; echo no",
        "command eval 'while :; do :; done'; while :; do command eval 'while :; do :; done'; echo no; done",
    ] {
        // For zsh `command` means programs only.
        if at.shell == Shell::Zsh && command.contains("command ") {
            continue;
        }
        let got = timed_out(&s, command).await;
        assert_eq!(got.out(), "", "`{command}` went on after its time was over: {got:?}");
    }
}

/// What stops the shell after it was told to go on is killed, and then the shell can.
async fn a_shell_that_is_stopped_late_goes_on(at: At) {
    let s = at.session().await;
    timed_out(&s, "sh -c 'trap \"kill -STOP $PPID\" TERM; trap : INT; while :; do sleep 0.05; done'; echo no").await;
}
