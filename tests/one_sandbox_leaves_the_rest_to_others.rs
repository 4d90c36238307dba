//! What the kernel counts once for the whole host, or once for each of the host's users, cannot be used up by one sandbox:
//! while it holds all that it gets, other sandboxes and the host's own root can have the same.

use crate::kit::{Running, Runtime, Sandbox, v1};
use std::process::{Command, Output};

crate::in_every_runtime!(
    signals_and_message_queues_are_left_to_the_host,
    asynchronous_io_is_not_there,
    of_netlink_only_the_interfaces_are_there,
    open_files_are_few,
);

/// Takes one of something: a method each. Fails with `OSError` when there is no more.
const TAKE: &str = "
import ctypes, itertools, os, resource, select, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
names = ('/queue%d' % number for number in itertools.count())
def check(result):
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
class Take:
    def terminal(): return os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)
    def inotify(): return check(libc.inotify_init1(0))
    def queue():
        name = next(names).encode()
        queue = check(libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None))
        libc.mq_unlink(name)
        return queue
    def timer(): check(libc.timer_create(0, None, ctypes.byref(ctypes.c_void_p())))
def all(what):
    for count in range(200000):
        try: getattr(Take, what)()
        except OSError as error: return count, error.strerror
    return count, 'no end'
";

fn python(program: &str) -> String {
    format!("/usr/bin/python3 -c '{TAKE}{program}'", program = program, TAKE = TAKE.replace('\'', "\"")).to_owned()
}

fn on_the_host(program: &str) -> Output {
    // As a service of the host would have them: the tests' own limits may be lower.
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", &format!("{TAKE}{program}")]).output().expect("these tests need python3")
}

/// Starts a program that takes all of something and keeps it. Returns when it can get no more, with how many it got.
async fn take_all(sandbox: &Sandbox, what: &str) -> (Running, u32) {
    let program = python(&format!("\nprint(*all(\"{what}\"), flush=True)\nimport time\ntime.sleep(1000)\n"));
    let mut running = sandbox.exec(sandbox.start(program)).await;
    running.until_out("\n").await;
    let said = running.got.out();
    let count = said.split(' ').next().and_then(|count| count.parse().ok());
    let count = count.unwrap_or_else(|| panic!("{what}: {said} {}", running.got.err()));
    assert!(!said.contains("no end") && count > 0, "{what}: {said}");
    (running, count)
}

/// Takes one in another sandbox, and on the host.
async fn one_is_left(what: &str, other: &Sandbox) {
    let program = format!("\nTake.{what}()\nprint(\"got it\")\n");
    let got = other.run(&python(&program)).await;
    assert_eq!(got.out(), "got it\n", "another sandbox gets no {what}: {got:?}");
    one_is_left_to_the_host(what);
}

fn one_is_left_to_the_host(what: &str) {
    let got = on_the_host(&format!("\nTake.{what}()\nprint(\"got it\")\n"));
    let errors = String::from_utf8_lossy(&got.stderr);
    assert_eq!(String::from_utf8_lossy(&got.stdout), "got it\n", "the host gets no {what}: {errors}");
}

async fn one_takes_all(what: &str) -> u32 {
    let (greedy, other) = (Runtime::Linux.sandbox().await, Runtime::Linux.sandbox().await);
    let (_running, count) = take_all(&greedy, what).await;
    one_is_left(what, &other).await;
    count
}

mod linux_only {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn terminals() {
        let (greedy, other) = (Runtime::Linux.sandbox().await, Runtime::Linux.sandbox().await);
        let (_running, count) = take_all(&greedy, "terminal").await;
        assert!(count < 700, "{count} terminals for one sandbox");
        one_is_left("terminal", &other).await;
        // Each session needs one, also when its shell has to be started again.
        let session = other.session("").await;
        session.run("exit 3").await.expect_shell_exit(3, 0, 2);
        session.alive().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn inotify_instances() {
        one_takes_all("inotify").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn message_queues() {
        one_takes_all("queue").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn pending_signals() {
        let count = one_takes_all("timer").await;
        assert!(count <= 16_384, "{count} timers");
    }

    /// The kernel keeps the account of whoever made the user namespace; that must not be root's.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn no_account_is_shared_with_root() {
        use std::os::fd::AsRawFd;
        let word = crate::kit::token();
        let sandbox = Runtime::Linux.sandbox().await;
        sandbox.run(&format!("touch /workspace/{word}")).await.expect("", "", 0);
        let agent = crate::kit::host::agent_with_file(&format!("/workspace/{word}"));
        let namespace = std::fs::File::open(format!("/proc/{agent}/ns/user")).unwrap();
        let mut owner: libc::uid_t = 0;
        // SAFETY: NS_GET_OWNER_UID writes one uid_t.
        let result = unsafe { libc::ioctl(namespace.as_raw_fd(), 0xb704, &mut owner) };
        let root = std::fs::read_to_string(format!("/proc/{agent}/uid_map")).unwrap();
        let root: Vec<_> = root.split_whitespace().collect();
        assert_eq!((result, owner.to_string().as_str()), (0, root[1]), "{root:?}");
    }
}

/// On Docker a sandbox's root is the host's, so the kernel has one account for both; the host may have more than sandboxes.
async fn signals_and_message_queues_are_left_to_the_host(on: Runtime) {
    let greedy = on.sandbox().await;
    for what in ["queue", "timer"] {
        let (running, _) = take_all(&greedy, what).await;
        one_is_left_to_the_host(what);
        drop(running);
    }
}

/// Programs that know it fall back when the kernel seems not to have it.
async fn asynchronous_io_is_not_there(on: Runtime) {
    let sandbox = on.sandbox().await;
    let program = "
number = 206 if os.uname().machine == \"x86_64\" else 0
print(libc.syscall(number, 8, ctypes.byref(ctypes.c_ulong())), os.strerror(ctypes.get_errno()))
";
    sandbox.run(&python(program)).await.expect("-1 Function not implemented\n", "", 0);
}

async fn of_netlink_only_the_interfaces_are_there(on: Runtime) {
    let sandbox = on.sandbox().await;
    let program = "
print([name for _, name in socket.if_nameindex()], socket.getaddrinfo(\"127.0.0.1\", 80)[0][4])
for protocol in range(1, 23):
    try: print(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))
    except OSError as error:
        # Programs take this error for a kernel that lacks it, and go on.
        if error.errno != 93: print(protocol, error)
";
    sandbox.run(&python(program)).await.expect("['lo'] ('127.0.0.1', 80)\n", "", 0);
}

/// The kernel has one number for all of the host. A sandbox with as many processes as it may have leaves half of it.
async fn open_files_are_few(on: Runtime) {
    let sandbox = on.sandbox().await;
    let processes = sandbox.described.resources.and_then(|limits: v1::Resources| limits.max_processes?.try_into().ok());
    let program = "
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
try: resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1)); print(\"raised\")
except (ValueError, OSError): pass
count = 0
try:
    while True:
        os.dup(0)
        count += 1
except OSError: print(soft == hard, hard - count < 10, hard)
";
    let got = sandbox.run(&python(program)).await;
    let said = got.out();
    let hard = said.strip_prefix("True True ").and_then(|rest| rest.trim().parse::<u64>().ok());
    let hard = hard.unwrap_or_else(|| panic!("{got:?}"));
    let host: u64 = std::fs::read_to_string("/proc/sys/fs/file-max").unwrap().trim().parse().unwrap();
    let most = (host / 2 / processes.unwrap_or(1024)).max(1024);
    assert!((1024..=4096).contains(&hard) && hard <= most, "{hard} of {host} for each of {processes:?}");
    // A session begins with as many.
    sandbox.session("").await.run("ulimit -n; ulimit -Hn").await.expect(format!("{hard}\n{hard}\n"), "", 0);
}
