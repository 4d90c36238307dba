//! A process that has held one program waits for the next. Nothing of the first shows in the second, and nothing inside
//! the sandbox that is done to it while it waits keeps a program from running.

use crate::{
    a_program_runs_exactly_as_asked::{argv, run},
    kit::{Runtime, Session, v1, within},
};
use v1::{ExecStart, Pty, exec_start::Target};

crate::in_every_runtime!(
    a_program_begins_as_the_very_first_did,
    orders_of_every_length_arrive,
    what_waits_may_be_changed,
    what_waits_may_be_killed,
    what_waits_may_be_stopped,
    many_at_one_time_follow_many,
);

/// All that a program has from its parents, but for numbers that are its own.
const BEGINNING: &str = "
import ctypes, os, re, resource, signal
print(sorted(os.environ.items()), os.getcwd(), os.getgroups(), os.getresuid(), os.getresgid())
print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), os.getpriority(0, 0), os.sched_getscheduler(0))
print([resource.getrlimit(getattr(resource, name)) for name in sorted(dir(resource)) if name.startswith('RLIMIT_')])
print([(fd, re.sub('[0-9]+', '', os.readlink(f'/proc/self/fd/{fd}'))) for fd in range(64) if os.path.lexists(f'/proc/self/fd/{fd}')])
print(open('/proc/self/oom_score_adj').read(), os.umask(0), open('/proc/self/cgroup').read())
print([line for line in open('/proc/self/status') if re.match('Sig[BIC]|Cap|Seccomp|NoNew|Groups', line)])
print(os.sched_getaffinity(0), ctypes.CDLL(None).syscall(252, 1, 0), open('/proc/self/coredump_filter').read())
try: print(os.open('/dev/tty', os.O_RDWR))
except OSError as error: print(error)
";

async fn a_program_begins_as_the_very_first_did(on: Runtime) {
    let sandbox = on.sandbox().await;
    let look = async || run(&sandbox, argv(&sandbox, &["python3", "-c", BEGINNING])).await;
    let first = look().await;
    assert_eq!(first.exit_code(), 0, "{first:?}");
    let other = |arguments: &[&str]| ExecStart {
        env: [("SECRET".to_owned(), "of another program".to_owned())].into(),
        working_directory: "/usr".into(),
        ..argv(&sandbox, arguments)
    };
    run(&sandbox, other(&["true"])).await.expect("", "", 0);
    assert_eq!(look().await.out(), first.out());
    run(&sandbox, ExecStart { user: "nobody".into(), ..other(&["id", "-un"]) }).await.expect("nobody\n", "", 0);
    assert_eq!(look().await.out(), first.out());
    let on_terminal = ExecStart { pty: Some(Pty::default()), ..other(&["tty"]) };
    assert_eq!(sandbox.exec(on_terminal).await.finish().await.exit_code(), 0);
    assert_eq!(look().await.out(), first.out());
    run(&sandbox, other(&["sh", "-c", "umask 0; ulimit -n 20; trap '' INT; kill -9 $$"])).await;
    assert_eq!(look().await.out(), first.out());
    assert_eq!(run(&sandbox, other(&["/no/such/program"])).await.exit_code(), 127);
    assert_eq!(look().await.out(), first.out());
    // A shell has one of the same kind.
    sandbox.run("exit 3").await.expect("", "", 3);
    assert_eq!(look().await.out(), first.out());
}

async fn orders_of_every_length_arrive(on: Runtime) {
    let sandbox = on.sandbox().await;
    for length in [0, 1, 4095, 30_000, 33_000, 100_000] {
        let text = "x".repeat(length);
        run(&sandbox, argv(&sandbox, &["printf", "%s.", &text, ""])).await.expect(format!("{text}.."), "", 0);
    }
    for count in [1, 400, 600] {
        let env = (0..count).map(|number| (format!("V{number}"), number.to_string())).collect();
        let start = ExecStart { env, ..argv(&sandbox, &["sh", "-c", "env | grep -c '^V[0-9]'"]) };
        run(&sandbox, start).await.expect(format!("{count}\n"), "", 0);
    }
}

/// A program may change its parent, which is to hold others: those begin as ever, because the parent that was changed holds none of them.
async fn what_waits_may_be_changed(on: Runtime) {
    let sandbox = on.sandbox().await;
    let look = async || run(&sandbox, argv(&sandbox, &["python3", "-c", BEGINNING])).await;
    let first = look().await;
    assert_eq!(first.exit_code(), 0, "{first:?}");
    let changes = [
        "renice -n 19 -p",
        "chrt -i -p 0",
        "taskset -pc 0",
        "ionice -c3 -p",
        "echo 0 >/proc/$PPID/coredump_filter; true",
    ];
    for change in changes {
        let done = run(&sandbox, argv(&sandbox, &["sh", "-c", &format!("{change} $PPID")])).await;
        println!("{change}: {}", done.exit_code());
        assert_eq!(look().await.out(), first.out(), "after {change}");
        let session = sandbox.session("").await;
        session.run("nice").await.expect("0\n", "", 0);
        session.close().await;
    }
}

/// Sends a signal to all holders but that of the shell which does it. Returns how many there were.
async fn signal_what_waits(session: &Session, signal: &str) -> usize {
    let each = format!("[ $p != $PPID ] && grep -qs sandshell-hold /proc/$p/comm && kill -{signal} $p && echo $p");
    session.run(format!("for p in $(ls /proc | grep '^[0-9]'); do {each}; done; true")).await.out().lines().count()
}

async fn what_waits_may_be_killed(on: Runtime) {
    what_waits_gets(on, "KILL").await;
}

async fn what_waits_may_be_stopped(on: Runtime) {
    what_waits_gets(on, "STOP").await;
}

async fn what_waits_gets(on: Runtime, signal: &str) {
    let sandbox = on.sandbox().await;
    let session = sandbox.session("").await;
    for number in 0..4 {
        let text = format!("{number}\n");
        run(&sandbox, argv(&sandbox, &["echo", text.trim()])).await.expect(text.as_str(), "", 0);
        assert_eq!(signal_what_waits(&session, signal).await, 1);
        run(&sandbox, argv(&sandbox, &["echo", text.trim()])).await.expect(text.as_str(), "", 0);
        assert_eq!(signal_what_waits(&session, signal).await, 1);
        sandbox.run(&format!("echo {number}")).await.expect(text.as_str(), "", 0);
    }
}

async fn many_at_one_time_follow_many(on: Runtime) {
    let sandbox = on.sandbox().await;
    for _ in 0..3 {
        let all = (0..12).map(async |number: i32| {
            let text = number.to_string();
            let start = ExecStart {
                target: Some(Target::SandboxId(sandbox.id.clone())),
                ..argv(&sandbox, &["sh", "-c", "sleep 0.0$0; echo $0", &text])
            };
            run(&sandbox, start).await.expect(format!("{text}\n"), "", 0);
        });
        futures_util::future::join_all(all).await;
    }
    // One waits for the next program: it, the agent, and what looks with the programs that it starts.
    within::until("the end of all others", async || {
        let seen =
            run(&sandbox, argv(&sandbox, &["sh", "-c", "grep -ls sandshell-hold /proc/[0-9]*/comm | wc -l"])).await;
        seen.out() == "1\n"
    })
    .await;
}
