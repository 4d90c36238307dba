//! Time-outs, cancels, signals and closings come at random moments over a list of nasty programs: all of them end, nothing of
//! a command follows its end, the next command works, and no shell is lost that would have lived on at a terminal.

#[path = "nasty/programs.rs"]
mod programs;

use crate::kit::{At, Dice, Finished, Sandbox, Session, create_sandbox, v1};
use programs::Nasty;
use std::time::{Duration, Instant};
use v1::{ExecStart, SignalCommandRequest, exited::Reason};

crate::in_every_shell!(whatever_comes_at_whatever_moment);

/// Sessions at one time.
const LANES: usize = 3;

/// Commands of a session before another one takes its place, because background programs gather.
const OF_A_SESSION: usize = 6;

/// What comes over a program.
#[derive(Debug, Clone, Copy)]
enum Blow {
    TimeOut,
    Cancel,
    /// A signal, and a cancel for who goes on.
    Signal(i32),
    Close,
}

/// How often, for each shell on each runtime. All of the programs come once in each run.
fn rounds(programs: usize) -> usize {
    let asked = std::env::var("SANDSHELL_TEST_TIMEOUTS").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(programs)
}

async fn whatever_comes_at_whatever_moment(at: At) {
    at.shell.require();
    let resources = Some(v1::Resources { max_processes: Some(100), ..Default::default() });
    let sandbox =
        create_sandbox(at.runtime.shared(), v1::CreateSandboxRequest { resources, ..at.runtime.request() }).await;
    let programs = Nasty::all(at.shell);
    let mut dice = Dice::new();
    let mut plan: Vec<(&'static Nasty, u64)> =
        (0..rounds(programs.len())).map(|round| (programs[round % programs.len()], dice.below(u64::MAX) | 1)).collect();
    for last in (1..plan.len()).rev() {
        plan.swap(last, dice.below(last as u64 + 1) as usize);
    }
    let lanes: Vec<_> = plan.chunks(plan.len().div_ceil(LANES)).map(<[_]>::to_vec).collect();
    let lanes = lanes.into_iter().map(|plan| tokio::spawn(lane(at, sandbox.clone(), plan)));
    let mut slowest = Vec::new();
    for lane in futures_util::future::join_all(lanes).await {
        slowest.extend(lane.expect("a lane"));
    }
    slowest.sort_by_key(|(late, _)| std::cmp::Reverse(*late));
    slowest.truncate(3);
    println!("{at:?}: the slowest after their time: {slowest:?}");
}

async fn lane(at: At, sandbox: Sandbox, plan: Vec<(&'static Nasty, u64)>) -> Vec<(Duration, &'static str)> {
    let mut took = Vec::new();
    for plan in plan.chunks(OF_A_SESSION) {
        let mut s = fresh(at, &sandbox).await;
        for (nasty, seed) in plan {
            let (late, lives) = blow(&s, nasty, &mut Dice::of(*seed)).await;
            took.push((late, nasty.text));
            // What a shell keeps of such a program is not for the next one.
            if lives && nasty.changes_shell() {
                s.close().await;
            }
            if !lives || nasty.changes_shell() {
                s = fresh(at, &sandbox).await;
            }
        }
        s.close().await;
    }
    took
}

async fn fresh(at: At, sandbox: &Sandbox) -> Session {
    let s = sandbox.session(at.shell.path()).await;
    s.run("V=kept").await.expect("", "", 0);
    s
}

/// Has something come over a program. Returns how long it took to end after that, and whether the session is still open.
async fn blow(s: &Session, nasty: &Nasty, dice: &mut Dice) -> (Duration, bool) {
    let what = match dice.below(8) {
        0..=2 => Blow::TimeOut,
        3..=5 => Blow::Cancel,
        6 => Blow::Signal([1, 2, 2, 3, 9, 15][dice.below(6) as usize]),
        _ => Blow::Close,
    };
    let moment = Duration::from_micros(if dice.below(3) == 0 { dice.below(10_000) } else { dice.below(300_000) });
    let generation = s.get().await.generation;
    let grace = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let mut start = ExecStart { kill_grace: grace, ..s.start(nasty.text) };
    if let Blow::TimeOut = what {
        let moment = moment.max(Duration::from_millis(1));
        start.timeout = Some(prost_types::Duration { seconds: 0, nanos: moment.as_nanos() as i32 });
    }
    let said = format!("`{}`, {what:?} after {moment:?}", nasty.text);
    let running = s.exec(start).await;
    let id = running.got.command_id.clone();
    println!("{id}: {said}");
    let due = Instant::now() + moment;
    tokio::time::sleep_until(due.into()).await;
    match what {
        Blow::TimeOut => {}
        Blow::Cancel => signal(s, &id, 0).await,
        Blow::Signal(number) => {
            signal(s, &id, number).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            signal(s, &id, 0).await;
        }
        Blow::Close => {
            s.close().await;
            return (due.elapsed(), false);
        }
    }
    let got = running.finish().await;
    let late = due.elapsed();
    let by_itself = got.reason() == Reason::Exited || got.reason() == Reason::ShellExited;
    if !matches!(what, Blow::Signal(_)) && !by_itself {
        let wanted = if let Blow::Cancel = what { Reason::Cancelled } else { Reason::TimedOut };
        assert!(got.reason() == wanted && got.exit_code() != 0, "{said}: {got:?}");
    }
    if !matches!(what, Blow::Signal(_)) {
        assert!(!got.out().contains("NO"), "{said}: what follows has run: {got:?}");
        assert!(!(nasty.keeps_shell && got.exited.shell_exited), "{said}: the shell was lost: {got:?}");
        assert!(!(nasty.keeps_shell && by_itself), "{said}: it should have run for ever: {got:?}");
    }
    next_command(s, &said, &got, generation).await;
    (late, true)
}

/// The command may be over, which is what was wanted.
async fn signal(s: &Session, id: &str, signal: i32) {
    let request = SignalCommandRequest { command_id: id.into(), signal };
    let _ = s.sandbox.clients.sessions.clone().signal_command(request).await;
}

async fn next_command(s: &Session, said: &str, got: &Finished, generation: i64) {
    let command =
        ExecStart { timeout: Some(prost_types::Duration { seconds: 20, nanos: 0 }), ..s.start("echo \"<$V>\"") };
    let mut next = s.run_start(command, b"").await;
    // What goes on in the background may stop or trace the shell in the midst of it, as it would at a terminal.
    if ["STOP $", "ptrace"].iter().any(|stops| said.contains(stops)) && next.reason() == Reason::TimedOut {
        next = s.run("echo \"<$V>\"").await;
    }
    let same = next.exited.generation == generation;
    // A next shell has what the one before has saved, which need not be everything.
    let right = if same { next.out() == "<kept>\n" } else { next.out().starts_with('<') };
    assert!(right && next.reason() == Reason::Exited, "after {said}: {next:?}; the command itself: {got:?}");
    if !same {
        s.run("V=kept").await;
    }
}
