//! A session that is used for long costs no more than a young one.

use crate::kit::{Running, Runtime, Sandbox, Server, Session, create_sandbox, host, token, v1};

crate::in_every_runtime!(
    memory_is_given_back_when_nothing_runs,
    over_thousands_of_commands,
    over_hundreds_of_sessions_and_watchers,
    over_much_output,
);

struct Place {
    server: Server,
    sandbox: Sandbox,
    session: Session,
    agent: u32,
}

impl Place {
    async fn new(on: Runtime) -> Self {
        let server = Server::start(on.options());
        let sandbox = create_sandbox(&server, on.request()).await;
        let session = sandbox.session("").await;
        let mark = token();
        session.run(format!("touch /workspace/{mark}")).await.expect("", "", 0);
        let agent = host::agent_with_file(&format!("/workspace/{mark}"));
        Self { server, sandbox, session, agent }
    }

    /// Open descriptors and bytes of memory, of server and agent.
    fn cost(&self) -> [(usize, u64); 2] {
        let descriptors = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        [self.server.pid(), self.agent].map(|pid| (descriptors(pid), host::memory(pid)))
    }

    /// Waits until descriptors are as before, give or take a few, and looks at the memory.
    async fn costs_no_more_than(&self, before: [(usize, u64); 2], megabytes: u64) {
        let few = |now: [(usize, u64); 2]| now.iter().zip(before).all(|(now, before)| now.0 <= before.0 + 5);
        crate::kit::within::until("descriptors to be closed", async || few(self.cost())).await;
        for (now, before) in self.cost().iter().zip(before) {
            let grown = now.1.saturating_sub(before.1) >> 20;
            assert!(grown <= megabytes, "grown by {grown} MiB: {before:?} before, {now:?} now");
        }
    }
}

/// What the start has touched of the program is not kept for good by who is alone with it.
async fn memory_is_given_back_when_nothing_runs(on: Runtime) {
    let place = Place::new(on).await;
    place.session.run("true").await;
    let busy = host::resident(place.agent);
    crate::kit::within::until("memory to be given back", async || host::resident(place.agent) < busy / 2).await;
    place.session.alive().await;
}

async fn over_thousands_of_commands(on: Runtime) {
    let place = Place::new(on).await;
    for n in 0..200 {
        place.session.run(format!("echo {n}")).await.expect(format!("{n}\n"), "", 0);
    }
    let before = place.cost();
    for n in 0..3000 {
        place.session.run(format!("echo {n}")).await.expect(format!("{n}\n"), "", 0);
    }
    place.costs_no_more_than(before, 32).await;
    assert_eq!(place.session.get().await.generation, 1);
}

async fn over_hundreds_of_sessions_and_watchers(on: Runtime) {
    let place = Place::new(on).await;
    let printed = place.session.run("seq 1 1000").await;
    let before = place.cost();
    for _ in 0..200 {
        let s = place.sandbox.session("").await;
        s.run("sleep 1000 & echo x").await;
        s.close().await;
        let request = v1::AttachRequest { command_id: printed.command_id.clone(), ..Default::default() };
        let got = Running::attach(&place.sandbox.clients, request).await.finish().await;
        assert_eq!(got.stdout, printed.stdout);
        place.sandbox.run("sleep 1000 & echo x").await;
    }
    place.costs_no_more_than(before, 32).await;
    let left = place.session.run("ls /proc | grep -c '^[0-9]'").await.out();
    assert!(left.trim().parse::<u32>().is_ok_and(|n| n < 12), "{left} processes are left");
}

/// Output that is no longer kept is no longer paid for.
async fn over_much_output(on: Runtime) {
    let place = Place::new(on).await;
    let before = place.cost();
    for _ in 0..40 {
        let start = v1::ExecStart { max_log_bytes: 64 << 10, ..place.session.start("head -c 20000000 /dev/zero") };
        place.session.run_start(start, b"").await;
    }
    place.costs_no_more_than(before, 64).await;
}
