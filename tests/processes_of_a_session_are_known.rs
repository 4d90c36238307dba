//! `ListProcesses` and `SignalProcess`: what a session runs, which command started it, and a signal for exactly one of it.

use crate::kit::{
    At, Runtime, Sandbox, Session,
    cli::prints,
    errors::{expect_bad_fields, expect_error},
    v1, within,
    within::until,
};
use tonic::{Code, Status};
use v1::{ListProcessesRequest, Process, SignalProcessRequest, process::State};

crate::in_every_shell!(
    the_background_is_listed_with_the_command_that_started_it,
    the_foreground_is_marked,
    a_signal_reaches_one_process_and_its_tree_when_asked,
    what_is_over_is_remembered,
);

mod runtimes {
    crate::in_every_runtime!(
        others_are_not_found,
        a_direct_execution_has_processes_too,
        many_come_in_pages,
        a_name_that_is_no_text_hides_nobody,
    );

    use super::*;

    async fn others_are_not_found(on: Runtime) {
        let sandbox = on.sandbox().await;
        let (one, other) = (sandbox.session("").await, sandbox.session("").await);
        one.run("sleep 1001 &").await;
        let process = named(&one, "sleep 1001").await;
        let shell = other.get().await.shell_pid;
        for pid in [1, shell, 4_000_000, process.pid] {
            let refused = signal(&other, SignalProcessRequest { pid, ..Default::default() }).await;
            if pid == shell {
                // Its own shell is the session's.
                refused.expect("the shell may be signalled");
            } else {
                expect_error(&refused.expect_err("not its own"), Code::NotFound, "PROCESS_NOT_FOUND");
            }
        }
        let mut another = process.clone();
        another.start_time.as_mut().unwrap().seconds -= 1;
        let request = SignalProcessRequest { pid: process.pid, start_time: another.start_time, ..Default::default() };
        expect_error(&signal(&one, request).await.expect_err("another"), Code::NotFound, "PROCESS_NOT_FOUND");
        assert_eq!(named(&one, "sleep 1001").await.pid, process.pid);
        let request = SignalProcessRequest { pid: process.pid, start_time: process.start_time, ..Default::default() };
        assert_eq!(signal(&one, request).await.unwrap(), 1);
        let wrong = SignalProcessRequest { pid: 0, signal: 65, session_id: String::new(), ..Default::default() };
        let mut sessions = one.sandbox.clients.sessions.clone();
        let refused = within("a refusal", sessions.signal_process(wrong)).await.expect_err("wrong");
        expect_bad_fields(&refused, &["pid", "session_id", "signal"]);
        let refused = within("a refusal", sessions.list_processes(ListProcessesRequest::default())).await;
        expect_bad_fields(&refused.expect_err("neither"), &["session_id"]);
    }

    async fn a_direct_execution_has_processes_too(on: Runtime) {
        let sandbox = on.sandbox().await;
        let mut running = sandbox.exec(sandbox.start("sleep 1002 & echo up; sleep 1003")).await;
        running.until_out("up\n").await;
        let command_id = running.got.command_id.clone();
        let mut sessions = sandbox.clients.sessions.clone();
        let list = ListProcessesRequest { command_id: command_id.clone(), ..Default::default() };
        let mut found = Vec::new();
        until("both processes", async || {
            found = within("a list", sessions.list_processes(list.clone())).await.unwrap().into_inner().processes;
            found.iter().filter(|process| process.command.starts_with("sleep 100")).count() == 2
        })
        .await;
        assert!(found.iter().all(|process| process.command_id == command_id), "{found:?}");
        let foreground = found.iter().find(|process| process.command == "sleep 1003").unwrap();
        let request = SignalProcessRequest { command_id, pid: foreground.pid, ..Default::default() };
        within("a signal", sessions.signal_process(request)).await.unwrap();
        let got = running.finish().await;
        assert_eq!(got.exit_code(), 143, "{got:?}");
    }

    async fn many_come_in_pages(on: Runtime) {
        let s = on.sandbox().await.into_session("").await;
        let long = "x".repeat(3000);
        let start = format!("for n in 1 2 3 4 5; do sh -c 'sleep 1004; :' {long} >/dev/null & done");
        s.run(start).await;
        until("all of them", async || all(&s).await.len() == 10).await;
        let (mut token, mut pids) = (String::new(), Vec::new());
        loop {
            let request = ListProcessesRequest {
                page_size: 3,
                page_token: token,
                session_id: s.id.clone(),
                ..Default::default()
            };
            let mut sessions = s.sandbox.clients.sessions.clone();
            let page = within("a page", sessions.list_processes(request)).await.unwrap().into_inner();
            assert!(page.processes.len() <= 3 && page.total_size == 10, "{page:?}");
            pids.extend(page.processes.iter().map(|process| process.pid));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(pids.len(), 10);
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 10);
    }

    /// A process gives itself its name. One that is no UTF-8 is listed with the others, and ends with its session.
    async fn a_name_that_is_no_text_hides_nobody(on: Runtime) {
        let sandbox = on.sandbox().await;
        let (s, other) = (sandbox.session("").await, sandbox.session("").await);
        s.run("odd=/tmp/$(printf '\\377) R'); printf '#!/bin/sh\nsleep 1009\n:\n' >\"$odd\"; chmod +x \"$odd\"").await;
        s.run("\"$odd\" >/dev/null 2>&1 &").await;
        named(&s, "sleep 1009").await;
        let processes = all(&s).await;
        assert_eq!(processes.len(), 2, "{processes:?}");
        s.close().await;
        for process in processes {
            let gone = other.run(format!("! kill -0 {} 2>/dev/null", process.pid)).await;
            assert_eq!(gone.exit_code(), 0, "{process:?}");
        }
    }
}

async fn list(s: &Session, command_id: &str) -> Vec<Process> {
    let mut request = ListProcessesRequest { command_id: command_id.to_owned(), ..Default::default() };
    if command_id.is_empty() {
        request.session_id.clone_from(&s.id);
    }
    let mut sessions = s.sandbox.clients.sessions.clone();
    let answer = within("a list of processes", sessions.list_processes(request)).await;
    answer.unwrap_or_else(|e| panic!("{e:?}")).into_inner().processes
}

/// Those that live.
async fn all(s: &Session) -> Vec<Process> {
    let mut all = list(s, "").await;
    all.retain(|process| !matches!(process.state(), State::Exited | State::Zombie));
    all
}

async fn named(s: &Session, command: &str) -> Process {
    let mut found = None;
    until(command, async || {
        found = all(s).await.into_iter().find(|process| process.command == command);
        found.is_some()
    })
    .await;
    found.expect("it was found")
}

async fn signal(s: &Session, request: SignalProcessRequest) -> Result<i32, Status> {
    let request = SignalProcessRequest { session_id: s.id.clone(), ..request };
    let mut sessions = s.sandbox.clients.sessions.clone();
    Ok(within("a signal", sessions.signal_process(request)).await?.into_inner().signalled)
}

async fn the_background_is_listed_with_the_command_that_started_it(at: At) {
    let s = at.session().await;
    assert_eq!(all(&s).await, []);
    // It has the command's pipe, or none of it; and it has lost its parent, or not.
    // The kernel's clock for this has ticks of 10 ms: what begins as soon as its turn does may be of another.
    let piped = s.run("sleep 1005 &").await.command_id;
    let silent = s.run("sleep 0.05; sleep 1006 >/dev/null 2>&1 & sleep 0.05").await.command_id;
    let orphaned = s.run("(setsid sleep 1007 2>/dev/null & ) >/dev/null").await.command_id;
    let below = s.run("sh -c 'sleep 1008 >/dev/null 2>&1; :' & sleep 0.05").await.command_id;
    for (command, command_id) in [("sleep 1005", &piped), ("sleep 1006", &silent), ("sleep 1008", &below)] {
        let process = named(&s, command).await;
        assert_eq!((&process.command_id, process.foreground), (command_id, false), "{process:?}");
        assert_eq!(process.state(), State::Sleeping, "{process:?}");
    }
    // Nothing says which command that is: it is not guessed.
    let process = named(&s, "sleep 1007").await;
    assert!(process.command_id.is_empty() || process.command_id == orphaned, "{process:?}");
    let only: Vec<_> = list(&s, &piped).await.into_iter().map(|process| process.command).collect();
    assert_eq!(only, ["sleep 1005"]);
    let (again, first) = (named(&s, "sleep 1005").await, list(&s, &piped).await.remove(0));
    assert_eq!((again.pid, again.start_time), (first.pid, first.start_time));
    let stop =
        SignalProcessRequest { pid: named(&s, "sleep 1006").await.pid, signal: libc::SIGSTOP, ..Default::default() };
    assert_eq!(signal(&s, stop).await.unwrap(), 1);
    until("a stopped process", async || named(&s, "sleep 1006").await.state() == State::Stopped).await;
    let server = at.runtime.shared().url();
    let shown = tokio::task::spawn_blocking(move || prints(&["ps", "--server", &server, &s.id])).await.unwrap();
    assert!(shown.contains("sleep 1005") && shown.contains("stopped") && shown.contains(&piped), "{shown}");
}

async fn the_foreground_is_marked(at: At) {
    let s = at.session().await;
    s.run("sleep 1009 &").await;
    let mut running = s.exec_text("echo up; sleep 1010 | cat").await;
    running.until_out("up\n").await;
    let process = named(&s, "sleep 1010").await;
    assert_eq!((&process.command_id, process.foreground), (&running.got.command_id, true), "{process:?}");
    assert!(!named(&s, "sleep 1009").await.foreground);
    assert_eq!(s.get().await.running_command_id, running.got.command_id);
    signal(&s, SignalProcessRequest { pid: process.pid, signal: libc::SIGKILL, ..Default::default() }).await.unwrap();
    running.finish().await;
    assert_eq!(s.get().await.running_command_id, "");
    s.alive().await;
}

async fn a_signal_reaches_one_process_and_its_tree_when_asked(at: At) {
    let s = at.session().await;
    s.run("sh -c 'trap \"\" TERM; sleep 1011 & sleep 1012 & wait; wait; sleep 1013' & sleep 1014 &").await;
    let (child, other) = (named(&s, "sleep 1011").await, named(&s, "sleep 1012").await);
    let neighbour = named(&s, "sleep 1014").await;
    let parent = child.parent_pid;
    assert_eq!(other.parent_pid, parent);
    assert_eq!(signal(&s, SignalProcessRequest { pid: child.pid, signal: 9, ..Default::default() }).await.unwrap(), 1);
    until("the end of one", async || !all(&s).await.iter().any(|process| process.pid == child.pid)).await;
    assert!(all(&s).await.iter().any(|process| process.pid == other.pid));
    let request = SignalProcessRequest { pid: parent, signal: 9, tree: true, ..Default::default() };
    assert_eq!(signal(&s, request).await.unwrap(), 2);
    until("the end of the tree", async || {
        all(&s).await.iter().map(|process| process.pid).collect::<Vec<_>>() == [neighbour.pid]
    })
    .await;
    let server = at.runtime.shared().url();
    let (id, pid) = (s.id.clone(), neighbour.pid.to_string());
    let said = tokio::task::spawn_blocking(move || prints(&["kill", "--json", "--server", &server, &id, &pid])).await;
    assert_eq!(said.unwrap(), "{\"signalled\":1}\n");
    until("the end of all", async || all(&s).await.is_empty()).await;
}

async fn what_is_over_is_remembered(at: At) {
    let s = at.session().await;
    s.run("sleep 1015 &").await;
    let process = named(&s, "sleep 1015").await;
    signal(&s, SignalProcessRequest { pid: process.pid, ..Default::default() }).await.unwrap();
    // The shell learns of its end, so that it is not even a zombie.
    s.run("wait").await;
    let over = |all: Vec<Process>| all.into_iter().find(|found| found.pid == process.pid).expect("remembered");
    until("its end", async || over(list(&s, "").await).state() == State::Exited).await;
    let over = over(list(&s, "").await);
    assert_eq!(
        (over.command, over.start_time, over.command_id),
        (process.command, process.start_time, process.command_id)
    );
    let sent = signal(&s, SignalProcessRequest { pid: process.pid, ..Default::default() }).await;
    expect_error(&sent.expect_err("it is over"), Code::NotFound, "PROCESS_NOT_FOUND");
}

/// How a zombie ended can be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_zombie_says_how_it_ended() {
    let sandbox: Sandbox = Runtime::Linux.sandbox().await;
    let s = sandbox.into_session("").await;
    // A program that never waits for what it has started.
    s.run("sh -c 'sh -c \"exit 7\" & exec sleep 1017' &").await;
    let mut zombie = None;
    until("a zombie", async || {
        zombie = list(&s, "").await.into_iter().find(|process| process.state() == State::Zombie);
        zombie.is_some()
    })
    .await;
    let zombie = zombie.unwrap();
    assert_eq!((zombie.exit_code, zombie.signal), (Some(7), 0), "{zombie:?}");
}
