//! Output that comes fast is passed on by threads of its own, so that it is in nobody's way; and each byte of it comes all the
//! same, also where its connection moves from one thread to the other.

use crate::kit::{Runtime, Server, create_sandbox, expected::Expected, v1};
use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};
use v1::ExecStart;

/// Processor time of a process's threads of this name, in ticks of 10 ms.
fn ticks(pid: u32, name: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |stat: String| {
        let (before, after) = stat.rsplit_once(')')?;
        let is_one = before.rsplit_once('(')?.1 == name;
        let mut times = after.split_whitespace().skip(11).map_while(|time| time.parse::<u64>().ok());
        is_one.then_some(times.next()? + times.next()?)
    };
    threads.filter_map(|thread| of(fs::read_to_string(thread.path().join("stat")).ok()?)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_moves_much_has_threads_of_its_own() {
    let on = Runtime::Linux;
    let server = Server::start(on.options());
    let sandbox = create_sandbox(&server, on.request()).await;
    let (busy, other) = (sandbox.session("").await, sandbox.session("").await);
    for _ in 0..100 {
        other.alive().await;
    }
    let bulk = ticks(server.pid(), "bulk");
    assert!(bulk <= 2, "small calls took {bulk} ticks of the threads for much");

    let start = ExecStart { max_log_bytes: 16 << 20, ..busy.start("yes | head -c 1000000000") };
    let mut running = busy.exec(start).await;
    let expected = Arc::new(Mutex::new(Expected::cycle(b"y\n")));
    let checks = Arc::clone(&expected);
    running.sink = Some(Box::new(move |_, data| checks.lock().unwrap().check(data)));
    let got = running.finish_within(Duration::from_secs(120)).await;
    assert_eq!((expected.lock().unwrap().checked(), got.exit_code()), (1_000_000_000, 0));
    let (bulk, others) = (ticks(server.pid(), "bulk"), ticks(server.pid(), "tokio-rt-worker"));
    assert!(bulk > others, "{bulk} ticks of the threads for much, {others} of the others");

    // Much and little in turn, so that it moves back and forth.
    for _ in 0..10 {
        busy.run("head -c 20000000 /dev/zero | tr '\\0' x >/tmp/much; cat /tmp/much; rm /tmp/much").await;
        other.alive().await;
    }
    sandbox.delete().await;
}
