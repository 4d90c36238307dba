//! Processes: the host's are not there, and the agent gives nothing away.

use super::python;
use crate::kit::{Options, Runtime, Server, create_sandbox, host, token};

crate::in_every_runtime!(
    processes_of_the_host_are_not_there,
    the_agent_cannot_be_reached_into,
    the_agents_socket_is_not_there,
    the_servers_environment_does_not_leak,
);

async fn processes_of_the_host_are_not_there(on: Runtime) {
    let word = token();
    let mut bystander = host::Bystander::start(&word);
    let s = on.sandbox().await;
    let got = s.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
    assert!(!got.out().contains(&word), "{got:?}");
    let count = s.run("ls /proc | grep -c '^[0-9]'").await.out().trim().parse::<u32>().unwrap_or(u32::MAX);
    assert!(count < 10, "{count} processes are visible in an idle sandbox");
    for pid in [bystander.id(), on.shared().pid(), std::process::id()] {
        let got = s.run(&format!("kill -0 {pid}; kill -9 {pid}; ls /proc/{pid}")).await;
        assert!(got.exit_code() != 0, "{got:?}");
    }
    s.run("kill -9 -1; true").await;
    let again = on.sandbox().await;
    again.run("kill -9 -1; kill -TERM 1; kill -9 1; kill -INT 1; kill -HUP 1; kill -USR1 1; kill -SEGV 1; kill -STOP 1; true").await;
    again.run("echo alive").await.expect("alive\n", "", 0);
    again.session("").await.alive().await;
    assert!(bystander.lives() && host::lives(on.shared().pid()));
}

async fn the_agent_cannot_be_reached_into(on: Runtime) {
    let s = on.sandbox().await;
    for path in
        ["mem", "maps", "environ", "auxv", "smaps", "map_files", "syscall", "stack", "root/proc", "cwd", "task/1/mem"]
    {
        let got = s.run(&format!("ls /proc/1/{path}/ 2>/dev/null || head -c 1 /proc/1/{path} 2>/dev/null")).await;
        assert!(got.stdout.is_empty(), "/proc/1/{path} can be read: {got:?}");
    }
    let got = s.run("for f in /proc/1/fd/*; do readlink $f; echo x >>$f; done 2>/dev/null; echo done").await;
    assert_eq!(got.out(), "done\n", "{got:?}");
    let program = "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
# PTRACE_ATTACH, PTRACE_SEIZE
for request in (16, 0x4206):
    print(libc.ptrace(request, 1, 0, 0))
# process_vm_readv, pidfd_open + pidfd_getfd
buffer = ctypes.create_string_buffer(8)
class iov(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
local, remote = iov(ctypes.addressof(buffer), 8), iov(0x400000, 8)
print(libc.syscall(310, 1, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
fd = libc.syscall(434, 1, 0)
print(libc.syscall(438, fd, 0, 0) if fd >= 0 else -1)
";
    let got = python(&s, program).await;
    assert_eq!(got.out(), "-1\n-1\n-1\n-1\n", "{got:?}");
    s.run("echo alive").await.expect("alive\n", "", 0);
}

/// Nothing inside can speak with the agent in the server's place.
async fn the_agents_socket_is_not_there(on: Runtime) {
    let s = on.sandbox().await;
    let got = s
        .run("find / -type s -not -path '/proc/*' 2>/dev/null; tail -n +2 /proc/net/unix | grep -v ' 0 *$' | grep '/'")
        .await;
    assert_eq!(got.out(), "", "sockets are visible inside");
    let got = s.run("grep ' 00010000 ' /proc/net/unix; tail -n +2 /proc/net/tcp; tail -n +2 /proc/net/tcp6").await;
    assert_eq!(got.out(), "", "something listens inside");
}

async fn the_servers_environment_does_not_leak(on: Runtime) {
    let secret = token();
    let mut options: Options = on.options();
    options.env.push(("SECRET_API_KEY".into(), secret.clone()));
    let server = Server::start(options);
    let s = create_sandbox(&server, on.request()).await;
    let session = s.session("").await;
    session.run("env; cat /proc/*/environ | tr '\\0' '\\n'; cat /proc/*/cmdline | tr '\\0' ' '").await;
    let got = session.run("(env; set; cat /proc/*/environ /proc/*/cmdline) 2>/dev/null | tr '\\0' '\\n'").await;
    assert!(!got.out().contains(&secret) && !got.out().contains("SECRET_API_KEY"), "{got:?}");
    assert!(!got.out().contains(&*server.data_dir().to_string_lossy()), "the data directory's name is seen inside");
    let mounts = session.run("cat /proc/self/mountinfo").await.out();
    assert!(!mounts.contains("secret"), "{mounts}");
}
