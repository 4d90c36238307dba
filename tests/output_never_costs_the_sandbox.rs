//! What programs print, and what clients send, never costs a sandbox its agent: its memory goes to programs first, and it
//! keeps what is asked of it within a bound.

use crate::kit::{
    Finished, LONG, Running, Runtime, Sandbox, Session, create_sandbox, expected, host, token, v1, within,
};
use futures_util::future::join_all;
use std::time::Duration;
use tonic::Code;
use v1::{ExecStart, Resources};

crate::in_every_runtime!(
    programs_are_ended_before_the_agent,
    sessions_keep_no_copies_of_the_agents_memory,
    chatty_commands_that_nobody_watches,
    many_runs_that_print_much_at_once,
    large_answers_of_many_runs_at_once,
    logs_as_large_as_may_be_asked_for,
    background_output_is_counted,
    a_starter_that_stops_reading_holds_background_output_up,
    stalled_readers_leave_room_for_others,
    a_burst_of_watchers_that_read_nothing,
    what_waits_for_its_turn_is_counted,
);

/// A small sandbox, and what its agent takes.
struct Place {
    sandbox: Sandbox,
    session: Session,
    agent: u32,
    before: u64,
    watch: host::Watch,
    memory: u64,
}

impl Place {
    async fn new(on: Runtime, memory: u64) -> Self {
        let resources = Some(Resources { memory_bytes: Some(memory as i64), ..Default::default() });
        let sandbox = create_sandbox(on.shared(), v1::CreateSandboxRequest { resources, ..on.request() }).await;
        let session = sandbox.session("").await;
        let mark = token();
        session.run(format!("touch /workspace/{mark}")).await.expect("", "", 0);
        let agent = host::agent_with_file(&format!("/workspace/{mark}"));
        let (before, watch) = (host::memory(agent), host::Watch::over(&[agent]));
        Self { sandbox, session, agent, before, watch, memory }
    }

    /// Bytes that a command has printed to stdout so far.
    async fn printed(&self, command_id: &str) -> i64 {
        let request = v1::GetCommandRequest { command_id: command_id.into() };
        let answer = self.sandbox.clients.sessions.clone().get_command(request).await;
        answer.unwrap_or_else(|e| panic!("{command_id}: {e:?}")).into_inner().stdout_bytes
    }

    /// Waits until a command has printed so much.
    async fn until_printed(&self, command_id: &str, bytes: i64) {
        crate::kit::within_time(LONG, &format!("{bytes} bytes of {command_id}"), async {
            while self.printed(command_id).await < bytes {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Starts a command and leaves it alone.
    async fn start_and_leave(&self, start: ExecStart) -> String {
        let running = self.sandbox.exec(start).await;
        let id = running.got.command_id.clone();
        drop(running.lose());
        id
    }

    /// Fails unless the agent is the same, and has taken no more than its share of the memory and a bit.
    async fn check(self) {
        self.session.alive().await;
        assert!(host::lives(self.agent), "its agent has ended");
        let highest = self.watch.highest()[0];
        println!("agent: {} KiB before, {} KiB at most", self.before >> 10, highest >> 10);
        assert!(self.before > 0, "the memory of the agent could not be read");
        let (grown, share) = (highest.saturating_sub(self.before), self.memory / 4 + (24 << 20));
        assert!(grown <= share, "the agent grew by {} MiB, beyond {} MiB", grown >> 20, share >> 20);
        let request = v1::GetSandboxRequest { sandbox_id: self.sandbox.id.clone() };
        let state = self.sandbox.clients.sandboxes.clone().get_sandbox(request).await.expect("a sandbox").into_inner();
        assert_eq!(state.state(), v1::sandbox::State::Running, "{state:?}");
    }
}

/// The kernel ends the process with the highest score when the memory limit is reached.
async fn programs_are_ended_before_the_agent(on: Runtime) {
    let sandbox = create_sandbox(on.shared(), on.request()).await;
    for shell in ["/bin/dash", "/bin/bash", "/bin/zsh", "/bin/busybox"] {
        let s = sandbox.session(shell).await;
        let look = "for p in /proc/[0-9]*; do echo \"$(cat $p/comm) $(cat $p/oom_score_adj)\"; done";
        let got = s.run(format!("sleep 1000 & (setsid sleep 1000 &); nohup sleep 1000 >/dev/null 2>&1 & {look}")).await;
        let (mut programs, mut ours) = (0, 0);
        for line in got.out().lines().filter(|line| !line.trim().is_empty()) {
            let (name, score) = line.split_once(' ').unwrap_or_else(|| panic!("{shell}: {line:?} in {got:?}"));
            if name.contains("sandshell") {
                ours += 1;
                assert!(score.parse::<i32>().expect("a score") < 1000, "{shell}: {line:?}");
            } else {
                programs += 1;
                assert_eq!(score, "1000", "{shell}: {line:?}");
            }
        }
        assert!(programs >= 4 && ours >= 2, "{shell}: {got:?}");
        s.close().await;
    }
}

/// What stands between the agent and a shell is forked from the agent, with all the output that is kept there.
async fn sessions_keep_no_copies_of_the_agents_memory(on: Runtime) {
    let place = Place::new(on, 512 << 20).await;
    let noisy = place.sandbox.session("").await;
    let id = place.start_and_leave(noisy.start("yes")).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        place.until_printed(&id, place.printed(&id).await + (64 << 20)).await;
        sessions.push(place.sandbox.session("").await);
    }
    place.until_printed(&id, place.printed(&id).await + (128 << 20)).await;
    assert!(host::memory(place.agent) > 40 << 20, "the agent holds output");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", place.agent)).expect("children");
    let holders: Vec<u64> = children.split_whitespace().map(|pid| host::memory(pid.parse().expect("a pid"))).collect();
    assert!(holders.len() >= 8, "{holders:?}");
    assert!(holders.iter().all(|memory| *memory < 8 << 20), "{holders:?}");
    for s in &sessions {
        s.alive().await;
    }
    place.check().await;
}

async fn chatty_commands_that_nobody_watches(on: Runtime) {
    let place = Place::new(on, 128 << 20).await;
    let mut chatty = Vec::new();
    for _ in 0..4 {
        let s = place.sandbox.session("").await;
        let id = place.start_and_leave(s.start("yes 'a chatty server nobody watches'")).await;
        place.until_printed(&id, 100 << 20).await;
        chatty.push(id);
    }
    // What a late watcher gets is the end of it, after a gap.
    let request = v1::AttachRequest { command_id: chatty[3].clone(), ..Default::default() };
    let mut late = Running::attach(&place.sandbox.clients, request).await;
    late.until("a gap and some lines", |r| r.got.gaps.len() == 1 && r.got.stdout.len() > 1000).await;
    drop(late);
    place.check().await;
}

/// Watchers that come all at once and read nothing: those for whom there is no room are told so.
async fn a_burst_of_watchers_that_read_nothing(on: Runtime) {
    let place = Place::new(on, 128 << 20).await;
    let printed = place.session.run("head -c 4000000 /dev/zero").await;
    // What they do not read fills the window of their connection, so it is not the one of the commands.
    let elsewhere = on.shared().connect().await;
    let attach = || {
        let mut sessions = elsewhere.sessions.clone();
        let request = v1::AttachRequest { command_id: printed.command_id.clone(), ..Default::default() };
        async move { sessions.attach(request).await }
    };
    let watchers = within("an answer for each watcher", join_all((0..400).map(|_| attach()))).await;
    let refused = watchers.iter().filter_map(|watcher| watcher.as_ref().err());
    assert!(
        refused.clone().all(|status| status.code() == Code::ResourceExhausted),
        "{:?}",
        refused.collect::<Vec<_>>()
    );
    let served = watchers.iter().filter(|watcher| watcher.is_ok()).count();
    assert!((20..400).contains(&served), "{served} of 400 were let in");
    place.session.alive().await;
    drop(watchers);
    // Their places are free again.
    crate::kit::within::until("a place for a watcher", async || attach().await.is_ok()).await;
    place.check().await;
}

/// Starts direct commands that all print, and then stay until the last of them has.
async fn all_at_once(place: &Place, print: &str, runs: usize, most: i64) -> Vec<Finished> {
    let command = |number| format!("{print}; touch /tmp/done-{number}; until [ -e /tmp/go ]; do sleep 0.05; done");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..runs {
        let start = place.sandbox.start(command(number));
        let mut sessions = place.sandbox.clients.sessions.clone();
        let request = v1::RunRequest { start: Some(start), max_output_bytes: most, ..Default::default() };
        tasks.spawn(async move { sessions.run(request).await.map(|answer| Finished::from(answer.into_inner())) });
    }
    crate::kit::within_time(LONG, "the output of all", async {
        while place.session.run("ls /tmp | grep -c done-").await.out().trim() != runs.to_string() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    place.session.run("touch /tmp/go").await.expect("", "", 0);
    let finished = crate::kit::within_time(LONG, "the ends of all", tasks.join_all()).await;
    finished.into_iter().map(|got| got.unwrap_or_else(|e| panic!("a Run failed: {e:?}"))).collect()
}

async fn many_runs_that_print_much_at_once(on: Runtime) {
    let place = Place::new(on, 64 << 20).await;
    for got in all_at_once(&place, "head -c 20000000 /dev/zero", 8, 0).await {
        let (kept, at) = (got.stdout.len(), got.truncated.0.expect("it prints more than is kept"));
        assert_eq!(got.exit_code(), 0);
        // The usual MiB, or what pieces that are still on their way to the others leave of it.
        assert!((64 << 10..=1 << 20).contains(&kept) && kept.abs_diff(2 * at as usize) <= 1, "{at} of {kept}");
    }
    place.check().await;
}

/// What does not fit is missing in the middle, and the answer says so.
async fn large_answers_of_many_runs_at_once(on: Runtime) {
    let place = Place::new(on, 64 << 20).await;
    let all = expected::seq(2_000_000);
    assert!(all.len() > 14_000_000);
    for got in all_at_once(&place, "seq 1 2000000", 8, 16 << 20).await {
        assert_eq!(got.exit_code(), 0);
        let at = got.truncated.0.expect("16 MiB for each is more than there is") as usize;
        // The latest may find little, but never less than a small answer's room.
        assert!(at >= 32 << 10 && got.stdout.len() > 2 * at - 2, "{at} of {}", got.stdout.len());
        let (head, tail) = got.stdout.split_at(at);
        assert!(all.starts_with(head) && all.ends_with(tail));
    }
    // One alone has room for more.
    let start = place.session.start("seq 1 500000");
    let request = v1::RunRequest { start: Some(start), max_output_bytes: 16 << 20, ..Default::default() };
    let alone =
        within("a Run", place.sandbox.clients.sessions.clone().run(request)).await.expect("an answer").into_inner();
    assert!(!alone.stdout_truncated && alone.stdout == expected::seq(500_000));
    place.check().await;
}

async fn logs_as_large_as_may_be_asked_for(on: Runtime) {
    let place = Place::new(on, 256 << 20).await;
    for _ in 0..5 {
        let start = place.sandbox.start("head -c 70000000 /dev/zero; sleep 1000");
        let id = place.start_and_leave(ExecStart { max_log_bytes: 1 << 30, ..start }).await;
        place.until_printed(&id, 70_000_000).await;
    }
    place.check().await;
}

async fn background_output_is_counted(on: Runtime) {
    let place = Place::new(on, 256 << 20).await;
    let mut last = String::new();
    for _ in 0..6 {
        let got = place.session.run("head -c 60000000 /dev/zero &").await;
        place.until_printed(&got.command_id, 60_000_000).await;
        last = got.command_id;
    }
    // The latest is there, the others have made room for it.
    let request = v1::AttachRequest { command_id: last, follow_background: true, ..Default::default() };
    let mut watcher = Running::attach(&place.sandbox.clients, request).await;
    watcher.until("all that is kept", |r| r.ended && r.got.stdout.len() >= 50_000_000).await;
    drop(watcher);
    place.check().await;
}

/// Waits until a command prints no more for the time being.
async fn until_it_stands_still(place: &Place, command_id: &str) -> i64 {
    let (mut last, mut same) = (-1, 0);
    within("output to stand still", async {
        while same < 20 {
            let now = place.printed(command_id).await;
            same = if now == last { same + 1 } else { 0 };
            last = now;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    })
    .await;
    last
}

async fn a_starter_that_stops_reading_holds_background_output_up(on: Runtime) {
    let place = Place::new(on, 512 << 20).await;
    const FIRST: i64 = 7_000_000;
    const THEN: i64 = 150_000_000;
    let text = format!("head -c {FIRST} /dev/zero; head -c {THEN} /dev/zero & :");
    let start = ExecStart { max_log_bytes: 64 << 10, ..place.session.start(text) };
    let running = place.session.exec(start).await;
    let id = running.got.command_id.clone();
    let printed = until_it_stands_still(&place, &id).await;
    assert!(printed < FIRST + (20 << 20), "{printed} bytes were taken from a program whose reader does not read");
    let grown = host::memory(place.agent).saturating_sub(place.before);
    assert!(grown < 24 << 20, "the agent grew by {} MiB", grown >> 20);
    place.session.alive().await;
    // Once it reads, it gets all that was printed before the end; then nobody is waited for any more.
    let got = running.finish().await;
    assert!(got.stdout.len() as i64 >= FIRST && got.gaps.is_empty() && got.stdout.iter().all(|byte| *byte == 0));
    place.until_printed(&id, FIRST + THEN).await;
    place.check().await;
}

async fn stalled_readers_leave_room_for_others(on: Runtime) {
    let place = Place::new(on, 64 << 20).await;
    let mut stalled = Vec::new();
    for _ in 0..12 {
        // A connection of its own: how much may be under way on one is its client's choice.
        let clients = on.shared().connect().await;
        let mut running = Running::start(&clients, place.sandbox.start("yes")).await;
        running.until_out("y\n").await;
        until_it_stands_still(&place, &running.got.command_id).await;
        stalled.push((clients, running));
    }
    let got = place.session.exec_text("seq 1 300000").await.finish().await;
    assert!(got.stdout == expected::seq(300_000), "{} bytes", got.stdout.len());
    place.session.run("seq 1 1000").await.expect(std::str::from_utf8(&expected::seq(1000)).unwrap(), "", 0);
    drop(stalled);
    place.check().await;
}

async fn what_waits_for_its_turn_is_counted(on: Runtime) {
    let place = Place::new(on, 64 << 20).await;
    let s = place.sandbox.session("").await;
    let first = s.exec_text("until [ -e /tmp/go ]; do sleep 0.05; done").await;
    let text = |size: usize| format!("true {}", "x".repeat(size));
    let mut waiting = Vec::new();
    let refusal = loop {
        match Running::try_start(&place.sandbox.clients, s.start(text(3 << 20))).await {
            Ok(running) => waiting.push(running),
            Err(status) => break status,
        }
        assert!(waiting.len() < 20, "60 MB of texts were taken");
    };
    crate::kit::errors::expect_error(&refusal, tonic::Code::ResourceExhausted, "SANDBOX_OUT_OF_RESOURCES");
    assert!(!waiting.is_empty(), "{refusal:?}");
    // Small ones still find room, and so does everybody when those before are over.
    place.session.alive().await;
    place.session.run("touch /tmp/go").await.expect("", "", 0);
    for running in std::iter::once(first).chain(waiting) {
        running.finish().await.expect("", "", 0);
    }
    s.run(text(3 << 20)).await.expect("", "", 0);
    // As inputs of commands that do not read them: as many as fit in, and the rest is refused before it is taken.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let start = Some(place.sandbox.start("until [ -e /tmp/gone ]; do sleep 0.05; done"));
        let request = v1::RunRequest { start, stdin: vec![b'x'; 5 << 20].into(), ..Default::default() };
        let mut sessions = place.sandbox.clients.sessions.clone();
        tasks.spawn(async move { sessions.run(request).await });
    }
    let mut refused = 0;
    while refused < 10 {
        let answer = within("a refusal", tasks.join_next()).await.expect("ten of twelve").expect("a task");
        let status = answer.expect_err("those that fit in wait");
        crate::kit::errors::expect_error(&status, tonic::Code::ResourceExhausted, "SANDBOX_OUT_OF_RESOURCES");
        refused += 1;
    }
    place.session.run("touch /tmp/gone").await.expect("", "", 0);
    let mut ran = 0;
    while let Some(answer) = within("the rest", tasks.join_next()).await {
        // What is whole is charged anew, and somebody else may have taken the room.
        if let Ok(answer) = answer.expect("a task") {
            assert_eq!(answer.into_inner().exited.map(|e| e.exit_code), Some(0));
            ran += 1;
        }
    }
    assert!(ran > 0, "none of the inputs was taken");
    // Input that is streamed waits where it is, however much the client sends at once.
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("mkfifo /tmp/fifo; read go </tmp/fifo; wc -c") }).await;
    running.stdin(vec![b'x'; 30 << 20]).await;
    running.close_stdin().await;
    place.session.run("until [ -p /tmp/fifo ]; do sleep 0.05; done; echo go >/tmp/fifo").await.expect("", "", 0);
    running.until_out(&format!("{}\n", 30 << 20)).await;
    running.finish().await;
    place.check().await;
}
