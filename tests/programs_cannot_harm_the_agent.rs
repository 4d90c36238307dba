//! Programs have the same user as the agent that owns their sessions, and share pipes with it. They can neither end it, nor
//! slow it down, nor take away what it needs, whatever they try.

use crate::kit::{Finished, Runtime, Sandbox, host, token};

crate::in_every_runtime!(
    signals_do_not_reach_it,
    its_share_and_its_limits_cannot_be_set,
    programs_of_another_architecture_cannot_either,
    its_settings_in_proc_are_read_only,
    a_program_may_still_do_all_that_to_itself,
    garbage_on_a_sessions_pipes_holds_nobody_up,
    a_shell_ends_although_somebody_writes_reports_without_end,
);

/// Ways to make system calls, and to say which of many attempts succeeded.
const PRELUDE: &str = r#"
import ctypes, os, resource, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
x86 = os.uname().machine == "x86_64"
def call(number, *arguments):
    return libc.syscall(number, *arguments)
def attempt(name, deed):
    try:
        result = deed()
    except OSError:
        return
    if result != -1:
        print(name, "succeeded")
"#;

async fn python(sandbox: &Sandbox, program: &str) -> Finished {
    let quoted = format!("{PRELUDE}{program}").replace('\'', r"'\''");
    sandbox.run(&format!("/usr/bin/python3 -c '{quoted}'")).await
}

async fn signals_do_not_reach_it(on: Runtime) {
    let s = on.sandbox().await;
    let session = s.session("").await;
    let program = r#"
tkill, tgkill, queue, queue_thread, send = (200, 234, 129, 297, 424) if x86 else (130, 131, 138, 240, 424)
class info(ctypes.Structure): _fields_ = [("signal", ctypes.c_int), ("errno", ctypes.c_int), ("code", ctypes.c_int), ("rest", ctypes.c_char * 116)]
for number in range(1, 65):
    about = ctypes.byref(info(number, 0, -1, b""))
    attempt("kill", lambda: os.kill(1, number))
    attempt("tkill", lambda: call(tkill, 1, number))
    attempt("tgkill", lambda: call(tgkill, 1, 1, number))
    attempt("sigqueue", lambda: call(queue, 1, number, about))
    attempt("tgsigqueue", lambda: call(queue_thread, 1, 1, number, about))
attempt("pidfd_open", lambda: call(434, 1, 0))
attempt("pidfd_open of another process", lambda: call(434, os.getppid(), 0) == -1 or -1)
# The directory is as good as a descriptor of the process, and no filter can know that. The kernel drops the signals.
agent = os.open("/proc/1", os.O_RDONLY | os.O_DIRECTORY)
for _ in range(20):
    for number in [7, 11, 17] + list(range(1, 65)):
        call(send, agent, number, None, 0)
os.kill(1, 0)
print("done")
"#;
    python(&s, program).await.expect("done\n", "", 0);
    session.alive().await;
}

async fn its_share_and_its_limits_cannot_be_set(on: Runtime) {
    let s = on.sandbox().await;
    let session = s.session("").await;
    let program = r#"
attributes = (ctypes.c_uint32 * 14)(56, 3)
parameter = os.sched_param(0)
attempt("SCHED_IDLE", lambda: os.sched_setscheduler(1, os.SCHED_IDLE, parameter))
attempt("sched_setparam", lambda: os.sched_setparam(1, parameter))
attempt("sched_setattr", lambda: call(314 if x86 else 274, 1, attributes, 0))
attempt("affinity", lambda: os.sched_setaffinity(1, {0}))
attempt("nice of the process", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
attempt("nice of the group", lambda: os.setpriority(os.PRIO_PGRP, 1, 19))
attempt("nice of the user", lambda: os.setpriority(os.PRIO_USER, 0, 19))
for who in 1, 2, 3:
    attempt("ioprio %d" % who, lambda: call(251 if x86 else 30, who, 0 if who == 3 else 1, 3 << 13))
for limit in range(16):
    attempt("limit %d" % limit, lambda: resource.prlimit(1, limit, (3, 3)))
    attempt("limit %d" % limit, lambda: resource.prlimit(1, limit, resource.getrlimit(limit)))
attempt("migrate_pages", lambda: call(256 if x86 else 238, 1, 0, None, None))
attempt("move_pages", lambda: call(279 if x86 else 239, 1, 0, None, None, None, 0))
print("done")
"#;
    let got = python(&s, program).await;
    got.expect("done\n", "", 0);
    session.alive().await;
}

async fn programs_of_another_architecture_cannot_either(on: Runtime) {
    let s = on.sandbox().await;
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    // The number 20 is getpid: it shows that such calls are possible at all, where the runtime allows them.
    let program = r#"
import mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("53 89f8 89f3 4189d0 89ca 4489c1 cd80 5b c3"))
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
old = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)(address)
print("can" if old(20, 0, 0, 0) == os.getpid() else "cannot", flush=True)
for name, arguments in [("kill", (37, 1, 17, 0)), ("tkill", (238, 1, 17, 0)), ("nice", (97, 0, 1, 19)), ("nice of the user", (97, 2, 0, 19)),
        ("ioprio", (289, 1, 1, 3 << 13)), ("pidfd_open", (434, 1, 0, 0))]:
    if old(*arguments) >= 0: print(name, "succeeded")
short = 0x40000000
for name, arguments in [("kill", (62, 1, 17)), ("nice", (141, 0, 1, 19)), ("nice of the user", (141, 2, 0, 19))]:
    attempt(name, lambda: call(short | arguments[0], *arguments[1:]))
"#;
    let got = python(&s, program).await;
    match on {
        // Its filter ends a program that makes such a call.
        Runtime::Linux => assert_eq!((got.out().as_str(), got.exit_code()), ("", 128 + libc::SIGSYS), "{got:?}"),
        Runtime::Docker => got.expect("can\n", "", 0),
    }
    s.session("").await.alive().await;
}

async fn its_settings_in_proc_are_read_only(on: Runtime) {
    let s = on.sandbox().await;
    let before = s.run("cat /proc/1/oom_score_adj").await.out();
    let program = r#"
for base in "/proc/1", "/proc/1/task/1":
    for name, value in [("oom_score_adj", "1000"), ("oom_adj", "15"), ("autogroup", "19"), ("coredump_filter", "0"),
            ("clear_refs", "1"), ("sched", "0"), ("timerslack_ns", "1000000")]:
        def write():
            with open(base + "/" + name, "w") as file: file.write(value)
        attempt(base + "/" + name, write)
print("done")
"#;
    python(&s, program).await.expect("done\n", "", 0);
    assert_eq!(s.run("cat /proc/1/oom_score_adj").await.out(), before);
}

async fn a_program_may_still_do_all_that_to_itself(on: Runtime) {
    let s = on.sandbox().await;
    let program = r#"
def own(name, deed):
    try:
        result = deed()
    except OSError as error:
        result = error
    if result not in (None, 0): print(name, result)
other = os.fork()
if other == 0:
    signal.pause()
for pid in 0, os.getpid(), other:
    own("scheduler", lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)))
    own("affinity", lambda: os.sched_setaffinity(pid, os.sched_getaffinity(0)))
    own("nice", lambda: os.setpriority(os.PRIO_PROCESS, pid, 5))
    own("ioprio", lambda: call(251 if x86 else 30, 1, pid, 2 << 13 | 5))
own("limits", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
own("group", lambda: os.setpriority(os.PRIO_PGRP, 0, 6))
own("oom_score_adj", lambda: open("/proc/self/oom_score_adj", "w").write("1000") - 4)
os.close(os.pidfd_open(other))
os.kill(other, 9)
print(os.WTERMSIG(os.waitpid(other, 0)[1]), os.getpriority(os.PRIO_PROCESS, 0))
"#;
    python(&s, program).await.expect("9 6\n", "", 0);
}

/// Where a session's own pipes are.
fn private(session: &crate::kit::Session) -> String {
    format!("/run/sandshell/{}", session.id.rsplit('/').next().unwrap())
}

async fn garbage_on_a_sessions_pipes_holds_nobody_up(on: Runtime) {
    let s = on.sandbox().await;
    let word = token();
    s.run(&format!("touch /tmp/{word}")).await.expect("", "", 0);
    let agent = host::agent_with_file(&format!("/tmp/{word}"));
    let (one, other) = (s.session("").await, s.session("").await);
    let watch = host::Watch::over(&[agent]);
    for pipe in ["status", "saved"] {
        // Without a single NUL, which ends a record.
        let flood = format!("echo begun; yes | head -c 60000000 >{}/{pipe}; echo written", private(&one));
        let mut flooding = one.exec_text(flood).await;
        flooding.until_out("begun\n").await;
        while !crate::kit::running::contains(&flooding.got.stdout, "written") {
            other.alive().await;
            if let Ok(next) = tokio::time::timeout(std::time::Duration::from_millis(1), flooding.next()).await {
                next.expect("the stream goes on");
            }
        }
        assert_eq!(flooding.finish().await.exit_code(), 0);
        // What was written last has no end, and the next report comes behind it.
        one.run("echo a; (exit 3)").await.expect("a\n", "", 3);
        one.alive().await;
    }
    let highest = watch.highest()[0];
    assert!(highest < 40 << 20, "the agent had {} MiB", highest >> 20);
}

async fn a_shell_ends_although_somebody_writes_reports_without_end(on: Runtime) {
    let s = on.sandbox().await;
    let session = s.session("/bin/bash").await;
    let flood = format!(
        "yes | tr '\\n' '\\000' >{0}/status & yes | tr '\\n' '\\000' >{0}/saved & disown -a; exit 3",
        private(&session)
    );
    session.run(flood).await.expect_shell_exit(3, 0, 2);
    session.alive().await;
    session.close().await;
}
