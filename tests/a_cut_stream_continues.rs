//! A command never depends on its stream. What a client got, and what `Attach` gives from there on, is all of it.

use crate::kit::{At, Dice, Finished, LONG, Running, expected, v1, with_a_connection_that_breaks};
use v1::{AttachRequest, ExecStart, command::State, exited::Reason};

crate::in_every_shell!(
    a_command_goes_on_without_its_client,
    any_number_may_watch,
    dropped_bytes_are_told,
    offsets_beyond_the_end_wait_for_it,
    commands_are_listed,
    a_watched_shell_may_end,
);

fn attach(command_id: &str) -> AttachRequest {
    AttachRequest { command_id: command_id.into(), ..Default::default() }
}

/// 50 MB on two streams, cut at random places, a hundred times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_megabytes_in_pieces() {
    let at = At { runtime: crate::kit::Runtime::Linux, shell: crate::kit::Shell::Dash };
    let s = at.session().await;
    let mut dice = Dice::new();
    let part = expected::seq(600_000);
    let wanted = part.repeat(7);
    let start = ExecStart {
        max_log_bytes: 128 << 20,
        ..s.start("for i in 1 2 3 4 5 6 7; do seq 1 600000; seq 1 600000 >&2; done; exit 3")
    };
    for round in 0..3 {
        let mut running = s.exec(start.clone()).await;
        let command_id = running.got.command_id.clone();
        let mut whole = Finished::default();
        let mut cuts = 0;
        loop {
            let more = dice.below(3 << 20) as usize;
            let enough = |r: &Running| r.ended || r.got.stdout.len() + r.got.stderr.len() >= more;
            running.until_within(LONG, "the next piece", enough).await;
            assert!(running.got.gaps.is_empty(), "{:?}", running.got.gaps);
            whole.stdout.extend_from_slice(&running.got.stdout);
            whole.stderr.extend_from_slice(&running.got.stderr);
            if running.ended {
                whole.exited = running.got.exited.clone();
                break;
            }
            // Cut: the stream is dropped in the middle.
            drop(running);
            cuts += 1;
            let from = AttachRequest {
                stdout_offset: whole.stdout.len() as i64,
                stderr_offset: whole.stderr.len() as i64,
                ..attach(&command_id)
            };
            running = Running::attach(&s.sandbox.clients, from).await;
        }
        assert!(
            whole.stdout == wanted,
            "round {round}, {cuts} cuts: {} of {} bytes on stdout",
            whole.stdout.len(),
            wanted.len()
        );
        assert!(
            whole.stderr == wanted,
            "round {round}, {cuts} cuts: {} of {} bytes on stderr",
            whole.stderr.len(),
            wanted.len()
        );
        assert_eq!(whole.exited.exit_code, 3);
        s.alive().await;
    }
}

async fn a_command_goes_on_without_its_client(at: At) {
    let s = at.session().await;
    let start = s.start("echo up; until [ -e /tmp/go ]; do sleep 0.02; done; seq 1 1000; echo e >&2; (exit 5)");
    let (id, _stream) = with_a_connection_that_breaks(at.runtime.shared().url(), |clients| async move {
        let mut running = Running::start(&clients, start).await;
        running.until_out("up\n").await;
        (running.got.command_id.clone(), running)
    })
    .await;
    let mut sessions = s.sandbox.clients.sessions.clone();
    let request = v1::GetCommandRequest { command_id: id.clone() };
    let known = sessions.get_command(request.clone()).await.expect("it is known").into_inner();
    assert_eq!(known.state(), State::Running);
    assert_eq!((known.session_id.as_str(), known.stdout_bytes), (s.id.as_str(), 3));
    s.sandbox.run("touch /tmp/go").await.expect("", "", 0);
    crate::kit::within::until("its end", async || {
        let known = sessions.get_command(request.clone()).await.expect("it is known").into_inner();
        known.state() == State::Exited
    })
    .await;
    let known = sessions.get_command(request).await.expect("it is known").into_inner();
    let exited = known.exited.clone().expect("its end is told");
    assert_eq!((exited.exit_code, exited.reason()), (5, Reason::Exited));
    let wanted = [b"up\n".as_slice(), &expected::seq(1000)].concat();
    assert_eq!((known.stdout_bytes, known.stderr_bytes), (wanted.len() as i64, 2));
    assert!(known.start_time.is_some());
    for _ in 0..2 {
        let got = Running::attach(&s.sandbox.clients, attach(&id)).await.finish().await;
        got.expect(&wanted, "e\n", 5);
        assert_eq!(got.command_id, id, "`started` comes first for watchers too");
    }
}

async fn any_number_may_watch(at: At) {
    let s = at.session().await;
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("cat; echo over >&2") }).await;
    let mut watchers = Vec::new();
    for n in 0..20 {
        running.stdin(format!("line {n}\n")).await;
        running.until_out(&format!("line {n}\n")).await;
        watchers.push(Running::attach(&s.sandbox.clients, attach(&running.got.command_id)).await);
    }
    running.close_stdin().await;
    let all = running.finish().await;
    for watcher in watchers {
        let got = watcher.finish().await;
        assert!(got.stdout == all.stdout && got.err() == "over\n" && got.exited == all.exited, "{got:?}");
    }
}

async fn dropped_bytes_are_told(at: At) {
    let s = at.session().await;
    let wanted = expected::seq(200_000);
    let start = ExecStart { max_log_bytes: 64 << 10, ..s.start("echo first >&2; seq 1 200000") };
    let got = s.exec(start).await.finish().await;
    assert!(got.stdout == wanted && got.gaps.is_empty(), "the stream that started it gets everything");
    let late = Running::attach(&s.sandbox.clients, attach(&got.command_id)).await.finish().await;
    let gap = *late.gaps.iter().find(|g| g.stream() == v1::Stream::Stdout).expect("a gap in stdout");
    assert_eq!((gap.from, gap.to + late.stdout.len() as i64), (0, wanted.len() as i64), "{gap:?}");
    assert!(late.stdout == wanted[gap.to as usize..], "the rest is exact");
    assert!(late.stdout.len() >= 16 << 10 && late.stdout.len() <= 64 << 10, "{} bytes are kept", late.stdout.len());
    let from = AttachRequest { stdout_offset: wanted.len() as i64 - 10, ..attach(&got.command_id) };
    let late = Running::attach(&s.sandbox.clients, from).await.finish().await;
    assert!(late.gaps.iter().all(|g| g.stream() != v1::Stream::Stdout));
    assert_eq!(late.stdout, wanted[wanted.len() - 10..]);
}

async fn offsets_beyond_the_end_wait_for_it(at: At) {
    let s = at.session().await;
    let got = s.run("echo abc").await;
    let from = |stdout_offset| AttachRequest { stdout_offset, ..attach(&got.command_id) };
    let at_end = Running::attach(&s.sandbox.clients, from(4)).await.finish().await;
    at_end.expect("", "", 0);
    match Running::try_attach(&s.sandbox.clients, from(-1)).await {
        Err(status) => crate::kit::errors::expect_bad_fields(&status, &["stdout_offset"]),
        Ok(_) => panic!("a negative offset was taken"),
    }
}

async fn commands_are_listed(at: At) {
    let s = at.session().await;
    let mut wanted = Vec::new();
    for n in 0..5 {
        wanted.push((s.run(format!("echo {n}; (exit {n})")).await.command_id, format!("echo {n}; (exit {n})"), n));
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListCommandsRequest { session_id: s.id.clone(), page_size: 2, page_token };
        let page = s.sandbox.clients.sessions.clone().list_commands(request).await.expect("a page").into_inner();
        assert_eq!(page.total_size, 5);
        assert!(page.commands.len() <= 2);
        listed.extend(page.commands);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let listed: Vec<_> = listed
        .into_iter()
        .map(|c| (c.command_id.clone(), c.command.clone(), c.exited.map_or(-1, |e| e.exit_code)))
        .collect();
    assert_eq!(listed, wanted, "oldest first");
    let long = format!("true {}", "x".repeat(10_000));
    let id = s.run(long.clone()).await.command_id;
    let known = s.sandbox.clients.sessions.clone().get_command(v1::GetCommandRequest { command_id: id }).await;
    let known = known.expect("it is known").into_inner().command;
    assert!(known.len() <= 4096 && long.starts_with(&known) && known.len() > 4000, "{} bytes", known.len());
}

async fn a_watched_shell_may_end(at: At) {
    let s = at.session().await;
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("read x; echo $x; exit 3") }).await;
    let watcher = Running::attach(&s.sandbox.clients, attach(&running.got.command_id)).await;
    running.stdin("bye\n").await;
    running.until_out("bye\n").await;
    running.finish().await.expect_shell_exit(3, 0, 2);
    let got = watcher.finish().await;
    assert_eq!(got.out(), "bye\n");
    got.expect_shell_exit(3, 0, 2);
}
