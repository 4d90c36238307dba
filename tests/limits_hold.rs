//! Limits stop the one who reaches them, and nobody else.

use crate::kit::{Runtime, Sandbox, create_sandbox, v1, within};
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

/// Files in memory (tmpfs) count too, and are the sandbox's own trouble.
async fn files_in_memory_count(on: Runtime) {
    let sandbox = limited(on, Resources { memory_bytes: Some(64 << 20), ..Default::default() }).await;
    let s = sandbox.session("").await;
    let bystander = limited(on, Resources::default()).await;
    let got = s.run("head -c 1000000000 /dev/zero >/dev/shm/big").await;
    assert_ne!(got.exit_code(), 0, "{got:?}");
    s.run("rm -f /dev/shm/big").await;
    s.alive().await;
    bystander.run("echo alive").await.expect("alive\n", "", 0);
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
    assert_eq!(sandbox.described.resources, Some(resources));
    let plain = limited(on, Resources::default()).await;
    let defaults = plain.described.resources.expect("the defaults in force");
    assert_eq!((defaults.memory_bytes, defaults.max_processes), (Some(2 << 30), Some(1024)));
    assert_eq!((defaults.cpu_millis, defaults.disk_bytes), (None, None));
    match on {
        Runtime::Linux => assert_eq!(plain.described.warnings, [""; 0], "root on a usual host lacks nothing"),
        // Whose root is whose is the daemon's to say.
        Runtime::Docker => assert!(plain.described.warnings.iter().all(|w| w.contains("userns-remap"))),
    }
}

/// Half a processor takes twice as long, more or less: measured in processor time, which a busy machine does not change.
async fn the_processor_is_shared_out(on: Runtime) {
    let sandbox = limited(on, Resources { cpu_millis: Some(100), ..Default::default() }).await;
    let s = sandbox.session("/bin/bash").await;
    let program = "
import time
end, before = time.monotonic() + 2, time.process_time()
while time.monotonic() < end: pass
print(time.process_time() - before)
";
    let got = s.run(format!("/usr/bin/python3 -c '{program}'")).await;
    let used: f64 = got.out().trim().parse().unwrap_or(f64::MAX);
    assert!(used < 0.7, "2 s with a tenth of a processor used {used} s of it: {got:?}");
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
