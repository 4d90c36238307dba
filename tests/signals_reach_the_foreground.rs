//! A client can signal or cancel a command; the session and its background jobs live on.

use crate::kit::{At, Session, errors::expect_error, host, token, v1, within};
use tonic::Code;
use v1::{ExecStart, SignalCommandRequest, exited::Reason};

crate::in_every_shell!(
    int_aborts_the_whole_command,
    other_signals_reach_the_program,
    cancel_escalates,
    an_ended_command_cannot_be_signalled,
    a_signal_is_for_that_command_only,
    int_in_a_shell_that_only_computes,
    cancel_at_any_moment,
    int_at_any_moment,
    a_trap_runs_once,
    signals_come_in_order,
);

async fn signal(s: &Session, command_id: &str, signal: i32) {
    let request = SignalCommandRequest { command_id: command_id.into(), signal };
    let mut sessions = s.sandbox.clients.sessions.clone();
    sessions.signal_command(request).await.unwrap_or_else(|e| panic!("signal {signal} to {command_id}: {e:?}"));
}

async fn int_aborts_the_whole_command(at: At) {
    let s = at.session().await;
    s.run("B=kept").await;
    for over_the_stream in [true, false] {
        let mut running = s.exec_text("echo up; sleep 1000; touch /tmp/after; echo after").await;
        running.until_out("up\n").await;
        match over_the_stream {
            true => running.signal(2).await,
            false => signal(&s, &running.got.command_id.clone(), 2).await,
        }
        let got = running.finish().await;
        assert_eq!((got.out().as_str(), got.reason()), ("up\n", Reason::Signaled), "{got:?}");
        assert_eq!((got.exit_code(), got.exited.signal), (130, 2), "{got:?}");
        assert!(!got.exited.shell_exited, "{got:?}");
        s.alive().await;
    }
    assert_eq!(s.run("echo $B; ls /tmp/after 2>/dev/null").await.out(), "kept\n");
}

async fn other_signals_reach_the_program(at: At) {
    let s = at.session().await;
    for (number, name) in [(15, "TERM"), (9, "KILL"), (1, "HUP"), (10, "USR1")] {
        let mut running = s.exec_text("sh -c 'echo up; exec sleep 1000'").await;
        running.until_out("up\n").await;
        running.signal(number).await;
        let got = running.finish().await;
        assert_eq!((got.exit_code(), got.exited.signal), (128 + number, number), "{name}: {got:?}");
        assert_eq!(got.reason(), Reason::Signaled, "{name}: {got:?}");
        assert!(!got.exited.shell_exited, "{name}: {got:?}");
        s.alive().await;
    }
    // A program that goes on says so, and ends as it likes.
    let mut running =
        s.exec_text("sh -c 'trap \"echo usr; exit 4\" USR1; echo up; while :; do sleep 0.05; done'").await;
    running.until_out("up\n").await;
    running.signal(10).await;
    let got = running.finish().await;
    assert_eq!((got.out().as_str(), got.exit_code()), ("up\nusr\n", 4), "{got:?}");
    // Stopped and continued.
    let mut running = s.exec_text("sh -c 'trap \"echo cont\" CONT; echo up; while :; do sleep 0.05; done'").await;
    running.until_out("up\n").await;
    running.signal(18).await;
    running.until_out("cont\n").await;
    running.signal(2).await;
    running.finish().await;
    s.alive().await;
}

async fn cancel_escalates(at: At) {
    let s = at.session().await;
    let word = token();
    s.run(format!("sh -c 'sleep 1000; :' {word}-job &")).await;
    let deaf =
        format!("sh -c 'trap \"\" INT TERM; echo up; while :; do sleep 0.05; done' {word}-deaf; touch /tmp/after");
    for command in [
        deaf.as_str(),
        "echo up; while :; do :; done; touch /tmp/after",
        "echo up; sleep 1000; touch /tmp/after",
        "echo up; cat /dev/zero | sleep 1000",
    ] {
        let mut running = s.exec_text(command).await;
        running.until_out("up\n").await;
        signal(&s, &running.got.command_id.clone(), 0).await;
        let got = running.finish().await;
        assert_eq!(got.reason(), Reason::Cancelled, "`{command}`: {got:?}");
        assert!(!got.exited.shell_exited, "`{command}`: {got:?}");
        s.alive().await;
    }
    within::until("the end of the deaf one", async || host::with_argument(&format!("{word}-deaf")).is_empty()).await;
    assert!(!host::with_argument(&format!("{word}-job")).is_empty(), "the background job lives on");
    s.run("ls /tmp/after").await.expect_complaint();
    // With a grace of one's own.
    let grace = Some(prost_types::Duration { seconds: 0, nanos: 0 });
    let start =
        ExecStart { kill_grace: grace, ..s.start("sh -c 'trap \"\" INT TERM; echo up; while :; do sleep 0.05; done'") };
    let mut running = s.exec(start).await;
    running.until_out("up\n").await;
    signal(&s, &running.got.command_id.clone(), 0).await;
    assert_eq!(running.finish().await.reason(), Reason::Cancelled);
    s.alive().await;
}

async fn an_ended_command_cannot_be_signalled(at: At) {
    let s = at.session().await;
    let id = s.run("true").await.command_id;
    for number in [0, 2, 9] {
        let request = SignalCommandRequest { command_id: id.clone(), signal: number };
        let refused = s.sandbox.clients.sessions.clone().signal_command(request).await;
        expect_error(&refused.expect_err("it is over"), Code::FailedPrecondition, "COMMAND_EXITED");
    }
    s.alive().await;
}

async fn a_signal_is_for_that_command_only(at: At) {
    let s = at.session().await;
    let first = s.run("sleep 1000 & echo $! >/tmp/pid").await;
    let mut second = s.exec_text("echo up; sleep 0.5; echo unharmed").await;
    second.until_out("up\n").await;
    let request = SignalCommandRequest { command_id: first.command_id.clone(), signal: 2 };
    s.sandbox.clients.sessions.clone().signal_command(request).await.expect_err("it is over");
    second.finish().await.expect("up\nunharmed\n", "", 0);
    s.run("kill -0 $(cat /tmp/pid)").await.expect("", "", 0);
}

async fn int_in_a_shell_that_only_computes(at: At) {
    let s = at.session().await;
    let mut running = s.exec_text("echo up; while :; do :; done").await;
    running.until_out("up\n").await;
    running.signal(2).await;
    let got = running.finish().await;
    assert_eq!(got.reason(), Reason::Signaled, "{got:?}");
    assert!(!got.exited.shell_exited, "{got:?}");
    s.alive().await;
}

async fn cancel_at_any_moment(at: At) {
    let s = at.session().await;
    let mut dice = crate::kit::Dice::new();
    for round in 0..60 {
        let running = s.exec_text("true; sleep 0.005; sh -c :; sleep 0.005; true").await;
        let id = running.got.command_id.clone();
        tokio::time::sleep(std::time::Duration::from_micros(dice.below(20_000))).await;
        let request = SignalCommandRequest { command_id: id, signal: 0 };
        let told = s.sandbox.clients.sessions.clone().signal_command(request).await;
        let got = running.finish().await;
        let right = match (told.is_ok(), got.reason()) {
            (true, Reason::Cancelled | Reason::Exited) => true,
            (false, reason) => reason == Reason::Exited && got.exit_code() == 0,
            _ => false,
        };
        assert!(right && !got.exited.shell_exited, "round {round}: {told:?}, {got:?}");
        s.run("echo $((40 + 2))").await.expect("42\n", "", 0);
    }
    assert_eq!(s.get().await.generation, 1);
}

async fn int_at_any_moment(at: At) {
    let s = at.session().await;
    let mut dice = crate::kit::Dice::new();
    let endless = ["sleep 1000", "while :; do :; done", "sh -c 'exec sleep 1000'", "true; (sleep 1000); true"];
    for round in 0..48 {
        let command = format!("{}; echo no", endless[round % endless.len()]);
        let direct = ExecStart { shell: at.shell.path().into(), ..s.sandbox.start(command.as_str()) };
        let start = if round % 8 < 4 { s.start(command.as_str()) } else { direct };
        let running = s.exec(start).await;
        tokio::time::sleep(std::time::Duration::from_micros(dice.below(4_000))).await;
        running.signal(2).await;
        let got = running.finish().await;
        assert!(got.stdout.is_empty() && !got.exited.shell_exited, "round {round}, `{command}`: {got:?}");
        let how = (got.reason(), got.exit_code(), got.exited.signal);
        assert_eq!(how, (Reason::Signaled, 130, 2), "round {round}, `{command}`: {got:?}");
        s.run("echo $((40 + 2))").await.expect("42\n", "", 0);
    }
    assert_eq!(s.get().await.generation, 1);
}

async fn a_trap_runs_once(at: At) {
    let s = at.session().await;
    let mut dice = crate::kit::Dice::new();
    // It has new children all the time, one of which may be just starting; and goes on for a while.
    let program = "trap \"echo int; t=1\" INT; echo up; n=0
while [ $n -lt 20 ]; do /bin/true; [ -z \"$t\" ] || n=$((n + 1)); done";
    for round in 0..20 {
        let mut running = s.exec_text(format!("sh -c '{program}'")).await;
        running.until_out("up\n").await;
        tokio::time::sleep(std::time::Duration::from_micros(dice.below(10_000))).await;
        running.signal(2).await;
        let got = running.finish().await;
        assert_eq!(got.out(), "up\nint\n", "round {round}: {got:?}");
        assert!(!got.exited.shell_exited, "round {round}: {got:?}");
        s.run("echo $((40 + 2))").await.expect("42\n", "", 0);
    }
}

async fn signals_come_in_order(at: At) {
    let s = at.session().await;
    let program = "import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))
signal.signal(signal.SIGTERM, lambda *_: (print('term', flush=True), sys.exit(3)))
print('up', flush=True)
while True: signal.pause()";
    let mut running = s.exec_text(format!("/usr/bin/python3 -c \"{program}\"")).await;
    running.until_out("up\n").await;
    running.signal(10).await;
    running.signal(15).await;
    let got = running.finish().await;
    assert_eq!((got.out().as_str(), got.exit_code(), got.reason()), ("up\nusr1\nterm\n", 3, Reason::Exited), "{got:?}");
    s.alive().await;
}
