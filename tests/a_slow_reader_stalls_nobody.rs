//! A slow reader costs bounded memory and nobody else's time, and still gets every byte.

use crate::kit::{
    Running, Runtime, Server, Session, create_sandbox, expected::Expected, expected::seq_bytes, host, token, v1,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use v1::ExecStart;

crate::in_every_runtime!(
    a_gibibyte_to_a_reader_that_pauses,
    two_hundred_megabytes_of_yes,
    output_that_nobody_reads,
    readers_that_stop_for_good,
    a_stalled_watcher_does_not_stall_the_program,
);

const BOUND: u64 = 64 << 20;

struct Place {
    server: Server,
    agent: u32,
    session: Session,
}

impl Place {
    async fn new(on: Runtime) -> Self {
        let server = Server::start(on.options());
        let sandbox = create_sandbox(&server, on.request()).await;
        let session = sandbox.session("").await;
        let mark = token();
        session.run(format!("touch /workspace/{mark}")).await.expect("", "", 0);
        let agent = host::agent_with_file(&format!("/workspace/{mark}"));
        Self { server, agent, session }
    }

    fn watch(&self) -> (host::Watch, [u64; 2]) {
        let pids = [self.server.pid(), self.agent];
        (host::Watch::over(&pids), pids.map(host::memory))
    }
}

/// Fails when server or agent grew by more than this over what they had.
fn check_growth(watch: host::Watch, before: [u64; 2], bound: u64) {
    for ((name, before), highest) in ["server", "agent"].iter().zip(before).zip(watch.highest()) {
        let grown = highest.saturating_sub(before);
        println!("{name}: {} KiB before, {} KiB at most", before >> 10, highest >> 10);
        assert!(before > 0, "the memory of the {name} could not be read");
        assert!(grown <= bound, "the {name} grew by {} MiB", grown >> 20);
    }
}

/// Checks a stream's stdout as it comes.
fn checked(running: &mut Running, expected: Expected) -> Arc<Mutex<Expected>> {
    let expected = Arc::new(Mutex::new(expected));
    let checks = Arc::clone(&expected);
    running.sink = Some(Box::new(move |_, data| checks.lock().unwrap().check(data)));
    expected
}

async fn a_gibibyte_to_a_reader_that_pauses(on: Runtime) {
    let place = Place::new(on).await;
    let other = place.session.sandbox.session("").await;
    let (watch, before) = place.watch();
    const LAST: u64 = 120_000_000;
    let bytes = seq_bytes(LAST);
    assert!(bytes > 1 << 30);
    let start = ExecStart { max_log_bytes: 16 << 20, ..place.session.start(format!("seq 1 {LAST}")) };
    let mut running = place.session.exec(start).await;
    let expected = checked(&mut running, Expected::seq());
    let mut pause_at = 0;
    while !running.ended {
        let so_far = Arc::clone(&expected);
        let due = |r: &Running| r.ended || so_far.lock().unwrap().checked() >= pause_at;
        running.until_within(Duration::from_secs(120), "more of the gibibyte", due).await;
        // While this stream is not read, others work on the same connection.
        for _ in 0..20 {
            other.alive().await;
        }
        pause_at += 100 << 20;
    }
    assert_eq!(expected.lock().unwrap().checked(), bytes);
    assert_eq!((running.got.exited.exit_code, running.got.gaps.len()), (0, 0));
    check_growth(watch, before, BOUND);
}

async fn two_hundred_megabytes_of_yes(on: Runtime) {
    let place = Place::new(on).await;
    let (watch, before) = place.watch();
    let start = ExecStart { max_log_bytes: 16 << 20, ..place.session.start("yes | head -c 200000000") };
    let mut running = place.session.exec(start).await;
    let expected = checked(&mut running, Expected::cycle(b"y\n"));
    let got = running.finish_within(Duration::from_secs(120)).await;
    assert_eq!((expected.lock().unwrap().checked(), got.exit_code()), (200_000_000, 0));
    check_growth(watch, before, BOUND);
}

/// The log alone is as large as it may be, never larger; `Run` keeps only what it answers.
async fn output_that_nobody_reads(on: Runtime) {
    let place = Place::new(on).await;
    let (watch, before) = place.watch();
    let start = ExecStart { max_log_bytes: 1 << 20, ..place.session.start("head -c 500000000 /dev/zero") };
    let got = place.session.run_start(start.clone(), b"").await;
    assert_eq!((got.exit_code(), got.stdout.len(), got.truncated.0), (0, 1 << 20, Some(1 << 19)));
    // Started, and left.
    let running = place.session.exec(start).await;
    drop(running);
    place.session.run("true").await.expect("", "", 0);
    check_growth(watch, before, BOUND);
}

async fn readers_that_stop_for_good(on: Runtime) {
    let place = Place::new(on).await;
    let sandbox = place.session.sandbox.clone();
    let (watch, before) = place.watch();
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let s = sandbox.session("").await;
        let start = ExecStart { max_log_bytes: 1 << 20, ..s.start("yes") };
        // A connection of its own: how much may be under way on one is its client's choice.
        let clients = place.server.connect().await;
        let mut running = Running::start(&clients, start).await;
        running.until_out("y\n").await;
        let mut late = Vec::new();
        for _ in 0..3 {
            let request = v1::AttachRequest { command_id: running.got.command_id.clone(), ..Default::default() };
            late.push(Running::attach(&clients, request).await);
        }
        stalled.push((s, running, late));
    }
    // Eight programs wait for readers that do not read; everybody else goes on.
    for _ in 0..200 {
        place.session.alive().await;
    }
    let expected = crate::kit::expected::seq(500_000);
    let got = place.session.exec_text("seq 1 500000").await.finish_within(Duration::from_secs(60)).await;
    assert!(got.stdout == expected, "{} bytes", got.stdout.len());
    // Each of the eight holds a window of 4 MiB on the way and a log of 1 MiB.
    check_growth(watch, before, 3 * BOUND);
    drop(stalled);
}

/// The program waits for the client that started it; a watcher that reads gets what the program printed.
async fn a_stalled_watcher_does_not_stall_the_program(on: Runtime) {
    let place = Place::new(on).await;
    let start = ExecStart { max_log_bytes: 1 << 20, ..place.session.start("seq 1 5000000") };
    let mut running = place.session.exec(start).await;
    let request = v1::AttachRequest { command_id: running.got.command_id.clone(), ..Default::default() };
    let mut stalled = Running::attach(&place.session.sandbox.clients, request).await;
    let expected = checked(&mut running, Expected::seq());
    let got = running.finish_within(Duration::from_secs(120)).await;
    assert_eq!((got.exit_code(), expected.lock().unwrap().checked()), (0, seq_bytes(5_000_000)));
    // Now it reads: what it missed is told, and the rest is exact.
    let all = crate::kit::expected::seq(5_000_000);
    let mut at = 0;
    while let Some(response) = stalled.next().await.expect("a stream") {
        use v1::exec_response::Response;
        match response {
            Response::Gap(gap) => at = gap.to as usize,
            Response::Output(output) => {
                assert!(output.data[..] == all[at..at + output.data.len()], "byte {at} of the late watcher");
                at += output.data.len();
            }
            _ => {}
        }
    }
    assert!(stalled.ended && at == all.len());
}
