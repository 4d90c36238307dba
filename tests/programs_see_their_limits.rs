//! Programs that look for limits where Linux has them find those of their sandbox: their own control groups, which they can
//! read and not change, and no other.

use crate::kit::{Runtime, Sandbox, create_sandbox, v1};
use v1::Resources;

crate::in_every_runtime!(
    limits_are_where_programs_look,
    limits_are_told_to_the_plainest_tools,
    limits_cannot_be_changed_from_inside,
    no_group_of_others_is_seen,
);

const MEBIBYTES: i64 = 256;

async fn limited(on: Runtime, processes: i64) -> Sandbox {
    let resources = Resources {
        memory_bytes: Some(MEBIBYTES << 20),
        cpu_millis: Some(500),
        max_processes: Some(processes),
        ..Default::default()
    };
    let request = v1::CreateSandboxRequest { resources: Some(resources), ..on.request() };
    create_sandbox(on.shared(), request).await
}

async fn python(sandbox: &Sandbox, program: &str) -> String {
    let got = sandbox.run(&format!("/usr/bin/python3 -c \"{program}\"")).await;
    assert_eq!((got.err().as_str(), got.exit_code()), ("", 0), "{got:?}");
    got.out()
}

/// Finds the directory of a controller as the runtimes of languages do: by the mounts and by the process's own groups, of
/// either version.
const FIND: &str = "
import os
mounts, groups = [], {}
for line in open('/proc/self/mountinfo'):
    before, after = line.split(' - ')
    kind, _, options = after.split()[:3]
    if kind in ('cgroup', 'cgroup2'):
        mounts.append((before.split()[3], before.split()[4], kind, options.split(',')))
for line in open('/proc/self/cgroup'):
    _, names, path = line.rstrip().split(':', 2)
    for name in names.split(','): groups[name] = path
def directory(controller):
    for root, point, kind, options in mounts:
        if kind == 'cgroup2' and os.path.exists(point + '/' + controller + '.max'): return kind, point
        if kind == 'cgroup' and controller in options:
            assert groups[controller] == root, (groups[controller], root)
            return kind, point
    raise LookupError(controller)
";

async fn limits_are_where_programs_look(on: Runtime) {
    let sandbox = limited(on, 77).await;
    let program = format!(
        "{FIND}
def read(controller, first, second):
    kind, place = directory(controller)
    return open(place + '/' + (second if kind == 'cgroup2' else first)).read().split()
print(*read('memory', 'memory.limit_in_bytes', 'memory.max'))
cpu = read('cpu', 'cpu.cfs_quota_us', 'cpu.max')
print(cpu[0], *(cpu[1:] or read('cpu', 'cpu.cfs_period_us', 'cpu.max')))
print(*read('pids', 'pids.max', 'pids.max'))
"
    );
    assert_eq!(python(&sandbox, &program).await, format!("{}\n50000 100000\n77\n", MEBIBYTES << 20));
}

async fn limits_are_told_to_the_plainest_tools(on: Runtime) {
    let sandbox = limited(on, 77).await;
    let got = sandbox.run("cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max").await;
    assert_eq!(got.out(), format!("{}\n", MEBIBYTES << 20), "{got:?}");
    let got = sandbox.run("busybox cat /sys/fs/cgroup/pids/pids.max || busybox cat /sys/fs/cgroup/pids.max").await;
    assert_eq!(got.out(), "77\n", "{got:?}");
}

async fn limits_cannot_be_changed_from_inside(on: Runtime) {
    let sandbox = limited(on, 77).await;
    let program = format!(
        "{FIND}
tried = 0
for _, point, _, _ in mounts:
    for name in os.listdir(point):
        tried += 1
        try: os.close(os.open(point + '/' + name, os.O_WRONLY)); print('can be written', point, name)
        except OSError: pass
    for call in (lambda: os.mkdir(point + '/x'), lambda: os.chmod(point, 0o777), lambda: os.rmdir(point)):
        try: call(); print('can be changed', point)
        except OSError: pass
    place = os.path.dirname(point)
    try: os.mkdir(place + '/x'); os.rmdir(place + '/x'); print('takes directories', place)
    except OSError: pass
print('tried' if tried > 20 else tried)
"
    );
    // Docker's own place for the groups of version 1 is a file system in memory that nothing outside looks at.
    let got = python(&sandbox, &program).await;
    let of_docker = |line: &&str| on == Runtime::Docker && *line == "takes directories /sys/fs/cgroup";
    assert_eq!(got.lines().filter(|line| !of_docker(line)).collect::<Vec<_>>(), ["tried"]);
    for attempt in
        ["mount -o remount,rw /sys/fs/cgroup", "mount -o remount,rw /sys", "umount /sys/fs/cgroup", "umount /sys"]
    {
        assert_ne!(sandbox.run(&format!("{attempt} 2>/dev/null")).await.exit_code(), 0, "`{attempt}` worked");
    }
}

async fn no_group_of_others_is_seen(on: Runtime) {
    let (sandbox, other) = (limited(on, 77).await, limited(on, 78).await);
    let program = format!(
        "{FIND}
seen = 0
for root, point, _, _ in mounts:
    below = [entry.name for entry in os.scandir(point) if entry.is_dir()]
    if root != '/' or below: print('more than its own', root, point, below)
    for pid in open(point + '/cgroup.procs').read().split():
        seen += 1
        if not os.path.exists('/proc/' + pid): print('a process of others', point, pid)
for name, path in groups.items():
    if path != '/': print('a path of the host', name, path)
print('looked' if seen > 2 else seen)
"
    );
    assert_eq!(python(&sandbox, &program).await, "looked\n");
    let limit = "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max";
    assert_eq!((sandbox.run(limit).await.out(), other.run(limit).await.out()), ("77\n".to_owned(), "78\n".to_owned()));
}
