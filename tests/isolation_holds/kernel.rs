//! The kernel: what could be asked of it as root is refused.

use super::python;
use crate::kit::{Runtime, host, token};
use std::fs;

crate::in_every_runtime!(no_mount_and_no_namespace, the_kernels_settings_are_not_writable, capabilities_are_few,);

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
