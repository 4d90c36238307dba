//! A session shares pipes and files with what runs in it, at a path that programs know. Whatever they do there, the next command
//! runs, other sessions notice nothing, and every command comes to its end.

use crate::kit::{At, Runtime, Session};
use sandshell::api::v1::ExecStart;

crate::in_every_shell!(
    whatever_is_put_in_the_place_of_a_file_the_next_command_runs,
    a_directory_that_is_gone_holds_no_command_up,
    a_directory_that_was_moved_with_all_above_it_is_found,
);

mod runtimes {
    use super::{
        a_closed_session_leaves_no_file, a_full_directory_is_no_trap, programs_see_a_read_only_directory,
        texts_are_given_back,
    };
    crate::in_every_runtime!(
        programs_see_a_read_only_directory,
        a_full_directory_is_no_trap,
        texts_are_given_back,
        a_closed_session_leaves_no_file,
    );
}

/// Where a session's own files are.
fn private(session: &Session) -> String {
    format!("/run/sandshell/{}", session.id.rsplit('/').next().unwrap())
}

/// A command that may be at most a second long.
fn short(session: &Session, command: String) -> ExecStart {
    let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    ExecStart { timeout, kill_grace: timeout, ..session.start(command) }
}

/// Does something to the files and goes on with both sessions. The command itself may end in any way but never late.
async fn survives(session: &Session, other: &Session, deed: &str) {
    let deed = deed.replace("PRIVATE", &private(session));
    session.run_start(short(session, deed.clone()), b"").await;
    other.alive().await;
    for _ in 0..2 {
        let got = session.run("cat; echo out; echo err >&2; (exit 3)").await;
        assert!(
            (got.out().as_str(), got.err().as_str(), got.exit_code()) == ("out\n", "err\n", 3),
            "after `{deed}`: {got:?}"
        );
    }
    let got = session.run_start(session.start("cat"), b"input").await;
    assert!(got.out() == "input" && got.exit_code() == 0, "after `{deed}`: {got:?}");
    session.alive().await;
    other.alive().await;
}

async fn whatever_is_put_in_the_place_of_a_file_the_next_command_runs(at: At) {
    let sandbox = at.sandbox().await;
    let (session, other) = (sandbox.session(at.shell.path()).await, sandbox.session("").await);
    for replacements in 0..REPLACEMENTS.len() {
        replaces_files(&session, &other, replacements).await;
    }
    session.run("exit 4").await;
    session.alive().await;
}

/// What may be in the place of a file P.
const REPLACEMENTS: [&str; 6] =
    ["mkfifo P", "mkdir -p P/deeper", "ln -s /dev/full P", "ln -s /nowhere/at/all P", "ln /etc/passwd P", ":"];

/// Replaces each file, by another replacement each time, of which this is the first.
async fn replaces_files(session: &Session, other: &Session, first: usize) {
    let names = ["command", "out", "err", "in", "status", "saved", "return", "restore", "SANDSHELL_SAVE"];
    for (number, name) in names.into_iter().enumerate() {
        let replacement = REPLACEMENTS[(first + number) % REPLACEMENTS.len()];
        let replacement = replacement.replace('P', &format!("PRIVATE/{name}"));
        survives(session, other, &format!("rm -rf PRIVATE/{name}; {replacement}; (exit 3)")).await;
    }
}

async fn a_directory_that_is_gone_holds_no_command_up(at: At) {
    let sandbox = at.sandbox().await;
    removes_directories(&sandbox.session(at.shell.path()).await, &sandbox.session("").await).await;
}

async fn removes_directories(session: &Session, other: &Session) {
    for deed in [
        "rm -rf PRIVATE",
        "rm -rf PRIVATE; ln -s /nowhere PRIVATE",
        "rm -rf PRIVATE; echo >PRIVATE",
        "mv PRIVATE PRIVATE.moved",
        "rm -rf /run/sandshell",
        "chmod 000 PRIVATE",
        "chmod 000 /run/sandshell",
    ] {
        survives(session, other, deed).await;
    }
}

async fn a_directory_that_was_moved_with_all_above_it_is_found(at: At) {
    let sandbox = at.sandbox().await;
    let (session, other) = (sandbox.session(at.shell.path()).await, sandbox.session("").await);
    // This one ends, but its shell may find nothing to report to.
    session.run_start(short(&session, "mv /run /run.moved && mkdir /run".to_owned()), b"").await;
    for session in [&session, &other] {
        session.run("true").await;
        session.run("echo a; (exit 3)").await.expect("a\n", "", 3);
    }
    session.run("ls -d /run.moved/sandshell").await.expect("/run.moved/sandshell\n", "", 0);
    sandbox.session(at.shell.path()).await.alive().await;
}

async fn programs_see_a_read_only_directory(on: Runtime) {
    let sandbox = on.sandbox().await;
    let session = sandbox.session("/bin/bash").await;
    let deeds = [
        "touch /run/sandshell/new",
        "mkdir /run/sandshell/new",
        "rm PRIVATE/status",
        "mv PRIVATE /run/sandshell/moved",
        "mkfifo PRIVATE/new",
        "ln PRIVATE/status PRIVATE/new",
        "ln -s /etc PRIVATE/new",
        "echo x >PRIVATE/command",
        "chmod 777 PRIVATE PRIVATE/command PRIVATE/status",
        "chmod 777 /proc/$$/fd/1",
        "chown 1 PRIVATE",
        "mount -o remount,rw /run/sandshell",
        "umount -l /run/sandshell",
        "mv /run/sandshell /run/other",
        "rm -rf PRIVATE",
    ];
    for deed in deeds {
        let deed = deed.replace("PRIVATE", &private(&session));
        let got = session.run(format!("{deed} 2>/dev/null && echo done")).await;
        assert!(got.out().is_empty() && got.exit_code() != 0, "`{deed}` succeeded: {got:?}");
    }
    // There is no other way to it either.
    let writable = "while read -r line; do case $line in *sandshell*) echo \"$line\"; esac; done </proc/self/mountinfo | grep -v ' ro[, ]'";
    session.run(writable).await.expect("", "", 1);
    session.run("ls -A /run/sandshell-start 2>/dev/null").await.expect(
        "",
        "",
        if on == Runtime::Docker { 0 } else { 2 },
    );
    session.run("echo fine; echo too >&2").await.expect("fine\n", "too\n", 0);
}

async fn a_full_directory_is_no_trap(on: Runtime) {
    let sandbox = on.sandbox().await;
    let (session, other) = (sandbox.session("").await, sandbox.session("").await);
    session.run("head -c 100000000 /dev/zero >/run/sandshell/fill; false").await;
    for session in [&session, &other, &sandbox.session("").await] {
        session.alive().await;
    }
    sandbox.run("echo direct").await.expect("direct\n", "", 0);
}

async fn texts_are_given_back(on: Runtime) {
    let sandbox = on.sandbox().await;
    // 64 MiB are there for all sessions, and each keeps its last text.
    let long = format!("echo long #{}", "x".repeat(3 << 20));
    for _ in 0..25 {
        let session = sandbox.session("").await;
        session.run(long.clone()).await.expect("long\n", "", 0);
    }
}

async fn a_closed_session_leaves_no_file(on: Runtime) {
    let sandbox = on.sandbox().await;
    let (session, other) = (sandbox.session("").await, sandbox.session("").await);
    session.run("ls /run/sandshell").await.expect("1\n2\n", "", 0);
    session.close().await;
    other.run("ls /run/sandshell").await.expect("2\n", "", 0);
}
