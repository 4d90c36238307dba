//! One sandbox tries everything at once that a program can do (`tests/hostile/everything.py`), whether its clients read or
//! not. Its neighbour works as ever, and both sandboxes and the server are there afterwards.
//! `SANDSHELL_TEST_ATTACKS="garbage bomb"` does only some of it, to find out which of them it was.

use crate::kit::{Runtime, Sandbox, Server, create_sandbox, host, token, v1, within};
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::Code;
use v1::{
    CloseSessionRequest, CreateSandboxRequest, ExecStart, GetSandboxRequest, GetSandboxStatsRequest,
    ListSessionsRequest, Resources, sandbox::State,
};

crate::in_every_runtime!(a_hostile_sandbox_harms_nobody);

/// How long it does its worst.
const SECONDS: i64 = 8;

/// What the server may need more than before.
const GROWTH: u64 = 64 << 20;

/// What the hostile programs may write to the disk, where that can be limited.
const DISK: i64 = 64 << 20;

/// More than all files that the hostile programs write to the disk; less than the host's `/usr/share`, where links lead.
const OWN_FILES: i64 = 144 << 20;

const PROGRAM: &str = include_str!("hostile/everything.py");

async fn a_hostile_sandbox_harms_nobody(on: Runtime) {
    let server = Server::start(on.options());
    let resources = Some(Resources {
        memory_bytes: Some(512 << 20),
        max_processes: Some(200),
        disk_bytes: (on == Runtime::Linux).then_some(DISK),
        ..Resources::default()
    });
    let hostile = create_sandbox(&server, CreateSandboxRequest { resources, ..on.request() }).await;
    let neighbour = create_sandbox(&server, on.request()).await;
    // What is made once for a sandbox and kept.
    neighbour.run("true").await.expect("", "", 0);
    let before = host::memory(server.pid());
    let watch = host::Watch::over(&[server.pid()]);

    let word = token();
    let attacks = attack(&hostile, &word).await;
    let over = AtomicBool::new(false);
    let ended = async {
        futures_util::future::join_all(attacks.into_iter().map(crate::kit::Running::finish)).await;
        over.store(true, Ordering::Relaxed);
    };
    let (rounds, asked, ()) = tokio::join!(work(&neighbour, &over), look_at(&hostile, &over), ended);
    println!("{rounds} rounds of the neighbour's work, {asked} looks at the hostile sandbox");

    close_all(&hostile).await;
    for sandbox in [&hostile, &neighbour] {
        let request = GetSandboxRequest { sandbox_id: sandbox.id.clone() };
        let got = within("a sandbox's description", sandbox.clients.sandboxes.clone().get_sandbox(request)).await;
        let got = got.expect("it is there").into_inner();
        assert_eq!(got.state(), State::Running, "{got:?}");
        sandbox.session("").await.alive().await;
    }
    crate::kit::within::until("the end of what was started", async || host::with_argument(&word).is_empty()).await;
    let highest = watch.highest()[0];
    assert!(highest < before + GROWTH, "the server had {} MiB, and then {} MiB", before >> 20, highest >> 20);
    assert!(!server.log().contains("panicked"));
    hostile.delete().await;
    neighbour.delete().await;
}

/// Starts what is hostile in three sessions: one whose client reads, one whose client goes away, and one that stops
/// its shell's parent and then ends its shell.
async fn attack(sandbox: &Sandbox, word: &str) -> Vec<crate::kit::Running> {
    let path = format!("/tmp/{word}.py");
    let [watched, lost, stopped] = [sandbox.session("").await, sandbox.session("").await, sandbox.session("").await];
    watched.run_start(watched.start(format!("cat >{path}")), PROGRAM.as_bytes()).await.expect("", "", 0);
    let limited = |start| {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        ExecStart { timeout: seconds(SECONDS + 2), kill_grace: seconds(1), ..start }
    };
    let chosen = std::env::var("SANDSHELL_TEST_ATTACKS").unwrap_or_default();
    let everything = format!("/usr/bin/python3 {path} /tmp/{word}.go {SECONDS} {chosen}");
    let everything = format!("{everything} & {everything}");
    // Both begin before either may take all processes, and go on at once.
    let mut both = Vec::new();
    for session in [&lost, &watched] {
        let mut running = session.exec(limited(session.start(everything.as_str()))).await;
        running.until("both to begin", |r| r.got.out().matches("begun").count() == 2).await;
        both.push(running);
    }
    // One command does both, and needs no process: once the attacks have begun, their garbage may end an idle shell, and
    // their forks leave none for another one, so that the session is closed.
    let stopped = stopped.exec(limited(stopped.start(format!(": >/tmp/{word}.go; kill -STOP $PPID; exit 3")))).await;
    drop(both.remove(0).lose());
    vec![both.remove(0), stopped]
}

/// What anybody does in a sandbox, again and again. Each answer must be right.
async fn work(sandbox: &Sandbox, over: &AtomicBool) -> u32 {
    let s = sandbox.session("").await;
    s.run("count=0; cd /usr").await.expect("", "", 0);
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        rounds += 1;
        s.run("count=$((count+1)); echo $count $PWD; echo e >&2; (exit 3)").await.expect(
            format!("{rounds} /usr\n"),
            "e\n",
            3,
        );
        s.run("seq 1 10000 | tail -n 1").await.expect("10000\n", "", 0);
        sandbox.run("echo $$ >/tmp/f; test -s /tmp/f && echo direct").await.expect("direct\n", "", 0);
        let other = sandbox.session("").await;
        other.alive().await;
        other.close().await;
    }
    assert_eq!(s.get().await.generation, 1, "no shell was lost");
    rounds
}

/// Asks what the hostile sandbox uses. It may be too busy to answer, but a refusal comes in time and says so; files of the host are never counted.
async fn look_at(sandbox: &Sandbox, over: &AtomicBool) -> u32 {
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        asked += 1;
        let request = GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
        match within("figures of a sandbox", sandbox.clients.sandboxes.clone().get_sandbox_stats(request)).await {
            Ok(stats) => {
                let disk = stats.into_inner().disk_bytes.unwrap_or_default();
                assert!(disk < OWN_FILES, "{} MiB of files were counted", disk >> 20);
            }
            Err(status) => {
                let told = [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted];
                assert!(told.contains(&status.code()), "{status:?}");
            }
        }
    }
    asked
}

/// Closes all sessions of a sandbox, however busy it is.
async fn close_all(sandbox: &Sandbox) {
    let mut sessions = sandbox.clients.sessions.clone();
    let request = ListSessionsRequest { sandbox_id: sandbox.id.clone(), ..Default::default() };
    let listed = within("a list of sessions", sessions.list_sessions(request)).await.expect("a list").into_inner();
    for session in listed.sessions {
        let request = CloseSessionRequest { session_id: session.session_id };
        within("the end of a hostile session", sessions.close_session(request)).await.expect("it closes");
    }
}
