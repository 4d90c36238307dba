//! What runs in a sandbox cannot reach the host, however hard it tries. Each test is an attempt.

use crate::kit::{Options, Runtime, Sandbox, Server, create_sandbox, host, token, v1};
use std::fs;

crate::in_every_runtime!(
    files_of_the_host_are_not_there,
    what_it_writes_stays_inside,
    processes_of_the_host_are_not_there,
    the_agent_cannot_be_reached_into,
    the_program_file_of_the_host_is_safe,
    no_mount_and_no_namespace,
    the_kernels_settings_are_not_writable,
    capabilities_are_few,
    the_network_is_its_own_loopback,
    the_agents_socket_is_not_there,
    the_servers_environment_does_not_leak,
    sandboxes_do_not_see_each_other,
);

/// Runs a Python program inside, where most of these attempts are easiest to say.
async fn python(sandbox: &Sandbox, program: &str) -> crate::kit::Finished {
    let quoted = program.replace('\'', r"'\''");
    sandbox.run(&format!("/usr/bin/python3 -c '{quoted}'")).await
}

async fn files_of_the_host_are_not_there(on: Runtime) {
    let word = token();
    let dir = tempfile::tempdir().unwrap();
    let places = [
        dir.path().join(&word),
        format!("/root/{word}").into(),
        format!("/etc/{word}").into(),
        format!("/var/tmp/{word}").into(),
        format!("/dev/shm/{word}").into(),
    ];
    for place in &places {
        fs::write(place, "secret").unwrap_or_else(|e| panic!("these tests run as root: {}: {e}", place.display()));
    }
    let s = on.sandbox().await;
    for place in &places {
        for root in ["", "/proc/1/root", "/proc/self/root", "/../..", "/proc/1/cwd/..", "/proc/self/cwd/../../.."] {
            let got = s.run(&format!("cat {root}{}", place.display())).await;
            assert!(!got.out().contains("secret") && got.exit_code() != 0, "{got:?}");
        }
    }
    let got = s.run(&format!("find / -name {word} -not -path '/proc/*' 2>/dev/null")).await;
    assert_eq!(got.out(), "", "the file is somewhere");
    // What only the operator may read.
    for path in [
        "/etc/shadow",
        "/root/.ssh",
        "/root/.cargo",
        "/root/.bash_history",
        "/home",
        "/var/lib",
        "/var/log",
        "/run",
        "/boot",
        "/srv",
        "/mnt",
        "/opt",
        "/media",
    ] {
        let outside: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        let inside = s.run(&format!("ls -A {path} 2>/dev/null")).await.out();
        for name in outside {
            let name = name.to_string_lossy();
            // Directories that every system has, empty ones of its own.
            let of_its_own =
                ["sandshell", "lock", "tmp", "user", "shm", "lib", "log", "cache", "dpkg", "apt"].contains(&&*name);
            assert!(of_its_own || !inside.lines().any(|line| line == name), "{path}/{name} of the host is visible");
        }
    }
    let shadow = s.run("cat /etc/shadow 2>/dev/null").await.out();
    assert!(!shadow.contains("$y$") && !shadow.contains("$6$"), "password hashes of the host");
    for place in &places {
        let _ = fs::remove_file(place);
    }
}

async fn what_it_writes_stays_inside(on: Runtime) {
    let s = on.sandbox().await;
    let word = token();
    for dir in ["/usr/bin", "/usr/lib", "/etc", "/root", "/tmp", "/var/tmp", "/home", "/dev/shm", "/workspace", "/"] {
        s.run(&format!("echo x >{dir}/{word}; mkdir {dir}/{word}.d")).await;
        for name in [word.clone(), format!("{word}.d")] {
            assert!(fs::symlink_metadata(format!("{dir}/{name}")).is_err(), "{dir}/{name} came to the host");
        }
    }
    let before = fs::metadata("/usr/bin/env").expect("/usr/bin/env").modified().ok();
    s.run("echo changed >/usr/bin/env; rm -f /usr/bin/true; chmod 777 /usr/bin; mv /usr/bin/id /usr/bin/id2").await;
    assert_eq!(fs::metadata("/usr/bin/env").expect("/usr/bin/env").modified().ok(), before);
    assert!(fs::metadata("/usr/bin/true").is_ok() && fs::metadata("/usr/bin/id").is_ok());
    let other = on.sandbox().await;
    let got = other
        .run(&format!(
            "ls /usr/bin/{word} /etc/{word} /tmp/{word}; /usr/bin/env >/dev/null && /usr/bin/true && echo fine"
        ))
        .await;
    assert_eq!(got.out(), "fine\n", "{got:?}");
}

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

async fn the_program_file_of_the_host_is_safe(on: Runtime) {
    let program = crate::kit::server::BINARY;
    let before = fs::read(program).unwrap();
    let s = on.sandbox().await;
    let got = s.run("for p in /proc/1/exe /proc/self/exe /proc/$PPID/exe; do echo evil >$p; echo evil >>$p; cp /bin/true $p; chmod 777 $p; rm -f $p; done 2>/dev/null; cat /proc/1/exe >/dev/null").await;
    let _ = got;
    let reopened = python(
        &s,
        "
import os
for p in ('/proc/1/exe', '/proc/%d/exe' % os.getppid()):
    for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        try: os.write(os.open(p, flags), b'evil'); print('written', p)
        except OSError: pass
",
    )
    .await;
    // The shell's own program is the sandbox's copy; the agent's is nobody's.
    assert!(!reopened.out().contains("/proc/1/"), "{reopened:?}");
    assert!(fs::read(program).unwrap() == before, "{program} was changed from inside");
    s.run("echo alive").await.expect("alive\n", "", 0);
}

async fn no_mount_and_no_namespace(on: Runtime) {
    let s = on.sandbox().await;
    for command in [
        "mount -t tmpfs none /mnt",
        "mount -t proc proc /mnt",
        "mount --bind /usr /mnt",
        "mount -o remount,rw /",
        "mount -o remount,rw /proc/sys",
        "umount /proc",
        "umount -l /proc/sys",
        "umount -l /",
        "unshare -U true",
        "unshare -Ur true",
        "unshare -m true",
        "unshare -n true",
        "unshare -p -f true",
        "nsenter -t 1 -m true",
        "nsenter -t 1 -U true",
        "pivot_root / /tmp",
        "hostname changed",
        "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk",
        "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem",
        "swapon /tmp/x",
        "dmesg",
        "reboot -f",
        "date -s 2001-01-01",
        "insmod /tmp/x",
        "losetup -f",
        "chroot /proc/1/root ls /root/..host",
    ] {
        let got = s.run(&format!("{command} 2>/dev/null")).await;
        assert_ne!(got.exit_code(), 0, "`{command}` worked: {got:?}");
    }
    let program = "
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, number, *arguments):
    result = libc.syscall(number, *arguments)
    if result == 0 and name.startswith(('clone', 'clone3')): os._exit(0)
    if result >= 0: print(name)
os.makedirs('/tmp/m', exist_ok=True)
attempt('mount', 165, b'none', b'/tmp/m', b'tmpfs', 0, 0)
attempt('unshare user', 272, 0x10000000)
attempt('unshare mount', 272, 0x00020000)
attempt('unshare pid', 272, 0x20000000)
attempt('unshare cgroup', 272, 0x02000000)
attempt('setns', 308, os.open('/proc/self/ns/mnt', os.O_RDONLY), 0)
attempt('clone user', 56, 0x10000000 | 17, 0, 0, 0, 0)
attempt('clone3 user', 435, struct.pack('11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)
attempt('open_tree', 428, -100, b'/', 1)
attempt('fsopen', 430, b'tmpfs', 0)
attempt('bpf', 321, 0, b'\\0' * 72, 72)
attempt('perf_event_open', 298, b'\\0' * 128, 0, -1, -1, 0)
attempt('init_module', 175, b'x', 1, b'')
attempt('kexec_load', 246, 0, 0, 0, 0)
attempt('add_key', 248, b'user', b'x', b'y', 1, -3)
attempt('keyctl', 250, 0, -3, 0)
attempt('userfaultfd', 323, 0)
attempt('open_by_handle_at', 304, -100, struct.pack('II8s', 8, 1, b'\\2\\0\\0\\0\\0\\0\\0\\0'), 0)
attempt('settimeofday', 164, struct.pack('QQ', 1, 1), 0)
attempt('sethostname', 170, b'changed', 7)
attempt('quotactl', 179, 0, 0, 0, 0)
attempt('iopl', 172, 3)
attempt('swapon', 167, b'/tmp/m', 0)
attempt('reboot', 169, 0xfee1dead, 672274793, 0, 0)
print('tried')
";
    let got = python(&s, program).await;
    assert_eq!(got.out(), "tried\n", "{got:?}");
    if on == Runtime::Linux {
        // On Docker the daemon's own filter decides, and older ones let this pass.
        let program = "import ctypes; print(ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120)))";
        assert_eq!(python(&s, program).await.out(), "-1\n");
    }
}

async fn the_kernels_settings_are_not_writable(on: Runtime) {
    let s = on.sandbox().await;
    let before = fs::read_to_string("/proc/sys/kernel/panic").unwrap();
    for path in [
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
    ] {
        // What is masked by a null device may be written to: nothing comes of it.
        let got = s.run(&format!("[ ! -c {path} ] && {{ echo 1 2>/dev/null >{path}; echo 1 >>{path}; }}")).await;
        assert_ne!(got.exit_code(), 0, "{path} can be written");
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/panic").unwrap(), before);
    let got = s.run("head -c 1 /proc/kcore; head -c 1 /proc/kmsg; cat /proc/keys; cat /sys/kernel/debug/x; mkdir /sys/fs/cgroup/x; mkdir /sys/fs/cgroup/memory/x").await;
    assert!(got.stdout.is_empty() && got.exit_code() != 0, "{got:?}");
    let devices = s.run("find /dev -type b -o -type c").await.out();
    for device in devices.lines() {
        let known = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"];
        let name = device.rsplit('/').next().unwrap_or_default();
        assert!(known.contains(&name) || device.starts_with("/dev/pts/"), "{device} is in the sandbox");
    }
    s.run("echo x >/dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; test -w /dev/shm && test -w /dev/full && echo yes").await.expect("4\n4\nyes\n", "", 0);
}

async fn capabilities_are_few(on: Runtime) {
    let s = on.sandbox().await;
    let status = s.run("cat /proc/self/status").await.out();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    let dangerous = [
        (16, "SYS_MODULE"),
        (17, "SYS_RAWIO"),
        (20, "SYS_PACCT"),
        (21, "SYS_ADMIN"),
        (22, "SYS_BOOT"),
        (25, "SYS_TIME"),
        (30, "AUDIT_CONTROL"),
        (32, "MAC_OVERRIDE"),
        (33, "MAC_ADMIN"),
        (34, "SYSLOG"),
        (35, "WAKE_ALARM"),
        (38, "PERFMON"),
        (39, "BPF"),
    ];
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        let mask = u64::from_str_radix(&value(set), 16).unwrap();
        for (bit, name) in dangerous {
            assert_eq!(mask >> bit & 1, 0, "{name} is in {set} {mask:x}");
        }
    }
    assert_eq!(value("Seccomp:"), "2", "system calls are filtered");
    assert_eq!(value("NoNewPrivs:"), "1");
    // Root inside, nobody outside.
    s.run("id -u; touch f; stat -c %u f; chown 12:34 f; stat -c %u:%g f").await.expect("0\n0\n12:34\n", "", 0);
    let word = token();
    s.run(&format!("touch /workspace/{word}")).await;
    let agent = host::agent_with_file(&format!("/workspace/{word}"));
    let outside = fs::read_to_string(format!("/proc/{agent}/status")).unwrap();
    let uids = outside.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let is_root = uids.split_whitespace().any(|uid| uid == "0");
    // A Docker daemon without `userns-remap` has no other ids, and then the sandbox says so.
    let told = on == Runtime::Docker && s.described.warnings.iter().any(|warning| warning.contains("userns-remap"));
    assert!(!is_root || told, "the agent is root on the host: {uids}");
}

async fn the_network_is_its_own_loopback(on: Runtime) {
    let s = on.sandbox().await;
    let got = s.run("cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '").await;
    assert_eq!(got.out(), "lo\n", "{got:?}");
    let (address, port) = on.shared().address().split_once(':').unwrap();
    let connect = format!(
        "
import socket
for address in (('{address}', {port}), ('1.1.1.1', 53), ('169.254.169.254', 80)):
    try: socket.create_connection(address, 2); print('connected', address)
    except OSError: print('no')
for path in ('\\0/tmp/.X11-unix/X0', '/run/docker.sock', '/var/run/docker.sock', '/run/dbus/system_bus_socket'):
    try: s = socket.socket(socket.AF_UNIX); s.connect(path); print('connected', path)
    except OSError: print('no')
"
    );
    let got = python(&s, &connect).await;
    assert_eq!(got.out(), "no\n".repeat(7), "{got:?}");
    // Its own works.
    let own = "
import socket
a = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(a.getsockname()); c, _ = a.accept()
b.send(b'x'); print(c.recv(1))
";
    assert_eq!(python(&s, own).await.out(), "b'x'\n");
    assert_eq!(s.described.network.map(|n| n.mode()), Some(v1::network::Mode::None));
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

async fn sandboxes_do_not_see_each_other(on: Runtime) {
    let (one, two) = (on.sandbox().await, on.sandbox().await);
    let word = token();
    let first = one.session("").await;
    first
        .run(format!("for d in /workspace /tmp /dev/shm /root /var/tmp; do echo secret >$d/{word}; done"))
        .await
        .expect("", "", 0);
    first.run(format!("sh -c 'sleep 1000; :' {word} & /usr/bin/python3 -m http.server 8123 >/dev/null 2>&1 &")).await;
    let got = two.run(&format!("for d in /workspace /tmp /dev/shm /root /var/tmp; do cat $d/{word}; done; find / -name {word} -not -path '/proc/*'; cat /proc/*/cmdline | grep {word}")).await;
    assert_eq!(got.out(), "", "{got:?}");
    let connect = "
import socket
try: socket.create_connection(('127.0.0.1', 8123), 2); print('connected')
except OSError: print('no')
";
    assert_eq!(python(&two, connect).await.out(), "no\n");
    assert_ne!(
        one.run("readlink /proc/self/ns/user /proc/self/ns/ipc /proc/self/ns/uts").await.out(),
        two.run("readlink /proc/self/ns/user /proc/self/ns/ipc /proc/self/ns/uts").await.out()
    );
    two.run("kill -9 -1; true").await;
    first.alive().await;
    one.delete().await;
    two.run("echo alive").await.expect("alive\n", "", 0);
}
