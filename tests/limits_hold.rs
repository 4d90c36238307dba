//! Limits stop the one who reaches them, and nobody else.

use crate::kit::{Runtime, Sandbox, create_sandbox, host, token, v1, within};
use std::time::{Duration, Instant};
use v1::{ExecStart, Resources, exited::Reason};

async fn limited(on: Runtime, resources: Resources) -> Sandbox {
    let request = v1::CreateSandboxRequest { resources: Some(resources), ..on.request() };
    create_sandbox(on.shared(), request).await
}

crate::in_every_runtime!(
    memory_is_taken_from_the_command_only,
    a_shell_may_eat_itself,
    files_in_memory_count,
    a_fork_bomb_stays_in_its_sandbox,
    processes_are_counted,
    limits_of_its_own_are_the_sandboxs,
    the_processor_is_shared_out,
    sandboxes_weigh_the_same,
    sessions_are_bounded,
);

const EAT: &str = "/usr/bin/python3 -c \"x = b'x' * (1 << 30); print(len(x))\"";

async fn memory_is_taken_from_the_command_only(on: Runtime) {
    let sandbox = limited(on, Resources { memory_bytes: Some(64 << 20), ..Default::default() }).await;
    let described = sandbox.described.resources.expect("the limits in force");
    assert_eq!(described.memory_bytes, Some(64 << 20));
    let mut shells_lost = 0;
    for shell in ["/bin/dash", "/bin/bash", "/bin/zsh", "/bin/busybox"] {
        let s = sandbox.session(shell).await;
        for _ in 0..2 {
            s.run("cd /usr; kept=yes; export A=1").await;
            let got = s.run(format!("echo before; {EAT}")).await;
            assert_eq!(got.reason(), Reason::OutOfMemory, "{shell}: {got:?}");
            assert_eq!((got.out().as_str(), got.exit_code()), ("before\n", 137), "{shell}: {got:?}");
            s.alive().await;
            if got.exited.shell_exited {
                // Where it has not got the memory back yet, the kernel looks for somebody else, too.
                shells_lost += 1;
                assert_eq!(shells_lost, 1, "{shell}: {got:?}");
                continue;
            }
            s.run("pwd; echo $kept $A").await.expect("/usr\nyes 1\n", "", 0);
        }
        // Another command is not blamed for what happened before.
        let got = s.run("false").await;
        assert_eq!(got.reason(), Reason::Exited, "{shell}: {got:?}");
        s.close().await;
    }
}

async fn a_shell_may_eat_itself(on: Runtime) {
    let sandbox = limited(on, Resources { memory_bytes: Some(64 << 20), ..Default::default() }).await;
    let other = sandbox.session("").await;
    let s = sandbox.session("/bin/bash").await;
    s.run("cd /usr").await;
    let got = s.run("x=x; while :; do x=$x$x; done").await;
    assert!([Reason::OutOfMemory, Reason::ShellExited].contains(&got.reason()), "{got:?}");
    assert_ne!(got.exit_code(), 0);
    s.alive().await;
    other.alive().await;
}

/// Files in memory (tmpfs) and the memory of programs have one limit together.
async fn files_in_memory_count(on: Runtime) {
    let sandbox = limited(on, Resources { memory_bytes: Some(128 << 20), ..Default::default() }).await;
    let s = sandbox.session("").await;
    let bystander = limited(on, Resources::default()).await;
    const EIGHTY_MIB: &str = "/usr/bin/python3 -c 'print(len(bytearray(80 << 20)))'";
    s.run(EIGHTY_MIB).await.expect("83886080\n", "", 0);
    // Less than the file system itself would refuse.
    s.run("head -c 58720256 /dev/zero >/dev/shm/big").await.expect("", "", 0);
    let got = s.run(EIGHTY_MIB).await;
    assert_eq!((got.reason(), got.exit_code()), (Reason::OutOfMemory, 137), "{got:?}");
    s.run("rm /dev/shm/big").await.expect("", "", 0);
    s.run(EIGHTY_MIB).await.expect("83886080\n", "", 0);
    bystander.run("echo alive").await.expect("alive\n", "", 0);
}

/// What waits in sockets is memory as well. On cgroup version 1 it counts to a limit of its own, which Docker does not set.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bytes_in_sockets_count() {
    let program = "
import socket
kept, queued = [], 0
server = socket.create_server((\"127.0.0.1\", 0), backlog=1000)
def fill(out):
    global queued
    try:
        while True: queued += out.send(bytes(65536))
    except OSError: pass
for number in range(400):
    try:
        client = socket.create_connection(server.getsockname(), timeout=5)
        kept += [client, server.accept()[0]]
    except OSError: break
    client.setblocking(False)
    fill(client)
print(\"tcp\", queued >> 20, flush=True)
received = 0
readers = []
for number in range(200):
    reader, writer = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    reader.bind((\"127.0.0.1\", 0))
    writer.connect(reader.getsockname())
    reader.setblocking(False)
    writer.setblocking(False)
    try:
        for _ in range(200): writer.send(bytes(60000))
    except OSError: pass
    readers.append(reader)
for reader in readers:
    try:
        while True: received += len(reader.recv(65536))
    except OSError: pass
print(\"udp\", received >> 20, flush=True)
";
    let on = Runtime::Linux;
    let sandbox = limited(on, Resources { memory_bytes: Some(64 << 20), ..Default::default() }).await;
    let got = sandbox.run(&format!("/usr/bin/python3 -c '{program}'")).await;
    let said = got.out();
    let mebibytes: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // Where it counts to the memory limit itself, the program may have been ended for it.
    assert!(mebibytes.len() == 2 || got.reason() == Reason::OutOfMemory, "{got:?}");
    assert!(mebibytes.iter().all(|mebibytes| *mebibytes <= 64), "MiB in sockets of a sandbox with 64 MiB: {said}");
    sandbox.session("").await.alive().await;
}

async fn a_fork_bomb_stays_in_its_sandbox(on: Runtime) {
    let bystander = limited(on, Resources::default()).await;
    let neighbour = bystander.session("").await;
    for shell in ["/bin/dash", "/bin/bash", "/bin/busybox"] {
        let sandbox =
            limited(on, Resources { max_processes: Some(48), memory_bytes: Some(512 << 20), ..Default::default() })
                .await;
        assert_eq!(sandbox.described.resources.as_ref().and_then(|r| r.max_processes), Some(48));
        let s = sandbox.session(shell).await;
        let timeout = Some(prost_types::Duration { seconds: 2, nanos: 0 });
        let bomb = s
            .exec(ExecStart {
                timeout,
                max_log_bytes: 1 << 20,
                ..s.start("bomb() { bomb | bomb & }; bomb; while :; do sleep 0.1; done")
            })
            .await;
        // While it rages, others go on.
        for _ in 0..20 {
            neighbour.alive().await;
        }
        bomb.finish().await;
        neighbour.alive().await;
        // The session may be too full to do anything, and can be closed all the same.
        s.close().await;
        let after = sandbox.session(shell).await;
        after.alive().await;
        after.run("sh -c 'echo forked'").await.expect("forked\n", "", 0);
        let count = after.run("ls /proc | grep -c '^[0-9]'").await.out();
        assert!(count.trim().parse::<u32>().is_ok_and(|n| n < 12), "{count} processes are left");
    }
}

async fn processes_are_counted(on: Runtime) {
    let sandbox = limited(on, Resources { max_processes: Some(32), ..Default::default() }).await;
    let s = sandbox.session("").await;
    let program = "
import os, time
n = 0
try:
    while n < 100:
        if os.fork() == 0: time.sleep(1000); os._exit(0)
        n += 1
except OSError as e: print(n, e.errno)
";
    let got = s.run(format!("/usr/bin/python3 -c '{program}'")).await;
    let (count, errno) =
        got.out().trim().split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_default();
    assert_eq!(errno, libc::EAGAIN.to_string(), "{got:?}");
    assert!(count.parse::<u32>().is_ok_and(|n| (8..32).contains(&n)), "{got:?}");
    s.close().await;
    sandbox.session("").await.alive().await;
}

async fn limits_of_its_own_are_the_sandboxs(on: Runtime) {
    let resources =
        Resources { memory_bytes: Some(256 << 20), cpu_millis: Some(500), max_processes: Some(100), disk_bytes: None };
    let sandbox = limited(on, resources).await;
    let disk_bytes = (on == Runtime::Linux).then_some(10 << 30);
    let resources = Resources { disk_bytes, ..resources };
    assert_eq!(sandbox.described.resources, Some(resources));
    let plain = limited(on, Resources::default()).await;
    let defaults = plain.described.resources.expect("the defaults in force");
    assert_eq!((defaults.memory_bytes, defaults.max_processes), (Some(2 << 30), Some(1024)));
    // Docker's usual storage on ext4 cannot.
    let disk = (on == Runtime::Linux).then_some(10 << 30);
    assert_eq!((defaults.cpu_millis, defaults.disk_bytes), (None, disk));
    match on {
        Runtime::Linux => assert_eq!(plain.described.warnings, [""; 0], "root on a usual host lacks nothing"),
        // Whose root is whose is the daemon's to say.
        Runtime::Docker => assert!(plain.described.warnings.iter().all(|w| w.contains("userns-remap"))),
    }
}

/// Processor time that sandboxes use from now on, as parts of one processor.
async fn rates<const N: usize>(sandboxes: [&Sandbox; N]) -> [f64; N] {
    let look = async |sandbox: &Sandbox| {
        let request = v1::GetSandboxStatsRequest { sandbox_id: sandbox.id.clone() };
        let stats = within("a sandbox's use", sandbox.clients.sandboxes.clone().get_sandbox_stats(request)).await;
        let time = stats.expect("its use").into_inner().cpu_time.expect("processor time");
        (Instant::now(), time.seconds as f64 + f64::from(time.nanos) / 1e9)
    };
    let mut first = Vec::new();
    for sandbox in sandboxes {
        first.push(look(sandbox).await);
    }
    // The first is the one that others are compared with.
    within("half a second of processor time", async {
        while look(sandboxes[0]).await.1 < first[0].1 + 0.5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let mut rates = [0.0; N];
    for ((sandbox, (began, before)), rate) in sandboxes.into_iter().zip(first).zip(&mut rates) {
        let (now, used) = look(sandbox).await;
        *rate = (used - before) / (now - began).as_secs_f64();
    }
    rates
}

/// Beside one without a limit: that shows how much there was to be had. On a machine that leaves hardly anything to either,
/// nothing can be seen. (With a lower limit that would be rarer, but slow machines would need too long for the agent's start.)
async fn the_processor_is_shared_out(on: Runtime) {
    let slow = limited(on, Resources { cpu_millis: Some(100), ..Default::default() }).await;
    let free = limited(on, Resources::default()).await;
    let (s, t) = (slow.session("").await, free.session("").await);
    for session in [&s, &t] {
        session.run("while :; do :; done &").await;
    }
    for _ in 0..30 {
        let [free, slow] = rates([&free, &slow]).await;
        println!("without a limit {free:.3} of a processor, with one {slow:.3}");
        if free >= 0.16 {
            assert!(
                slow < 0.13,
                "with a limit of a tenth of a processor a sandbox used {slow:.3}, without one {free:.3}"
            );
            return;
        }
    }
    panic!("others take so much of this machine that no limit can be seen");
}

/// However many programs a sandbox runs, together they weigh as much as those of another one.
async fn sandboxes_weigh_the_same(on: Runtime) {
    let (crowded, modest) = (on.sandbox().await, on.sandbox().await);
    let (s, t) = (crowded.session("").await, modest.session("").await);
    s.run("i=0; while [ $i -lt 60 ]; do (while :; do :; done) & i=$((i+1)); done").await;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    t.run(format!("i=0; while [ $i -lt {processors} ]; do (while :; do :; done) & i=$((i+1)); done")).await;
    let [modest, crowded] = rates([&modest, &crowded]).await;
    assert!(modest * 3.0 > crowded, "{processors} loops had {modest:.2} of a processor, 60 loops {crowded:.2}");
}

/// The agent goes before the programs of its sandbox, and they cannot follow it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_agent_goes_first() {
    let word = token();
    let sandbox = Runtime::Linux.sandbox().await;
    let s = sandbox.session("").await;
    s.run(format!("touch /workspace/{word}; nice; nice -n -1 true 2>/dev/null; nice -n 5 nice"))
        .await
        .expect("0\n5\n", "", 0);
    let agent = host::agent_with_file(&format!("/workspace/{word}"));
    let pid = rustix::process::Pid::from_raw(agent as i32);
    assert_eq!(rustix::process::getpriority_process(pid).unwrap(), -4);
}

/// Beyond every limit on open files and the like, the answer is an error and not the end.
async fn sessions_are_bounded(on: Runtime) {
    let sandbox = limited(on, Resources { max_processes: Some(40), ..Default::default() }).await;
    let mut kept = Vec::new();
    let refused = loop {
        let mut sessions = sandbox.clients.sessions.clone();
        match within("a session or a refusal", sessions.create_session(sandbox.ask_session())).await {
            Ok(session) => kept.push(session.into_inner().session_id),
            Err(status) => break status,
        }
        assert!(kept.len() < 100, "a hundred shells with at most 40 processes");
    };
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
    for session_id in kept {
        let request = v1::CloseSessionRequest { session_id };
        sandbox.clients.sessions.clone().close_session(request).await.expect("it closes");
    }
    sandbox.session("").await.alive().await;
}
