//! Sessions are opened as asked for, found, listed and closed.

use crate::kit::{At, Runtime, Session, Shell, v1, within_time};
use std::time::Duration;
use v1::{ExecStart, exec_response::Response};

crate::in_every_shell!(a_login_shell_reads_the_users_files, files_of_a_login_that_go_wrong_brick_nothing);

/// What login shells read, by shell, in a home directory.
const PROFILES: [&str; 4] = [".profile", ".bash_profile", ".zprofile", ".zlogin"];

async fn login(at: At, first: &Session) -> Session {
    let request =
        v1::CreateSessionRequest { shell: at.shell.path().into(), login: true, ..first.sandbox.ask_session() };
    first.sandbox.open(request).await
}

async fn a_login_shell_reads_the_users_files(at: At) {
    let s = at.session().await;
    for name in PROFILES {
        let line = "echo noise; export FROM_PROFILE=yes; also() { echo function; }";
        s.run(format!("echo '{line}' >~/{name}")).await.expect("", "", 0);
    }
    let login = login(at, &s).await;
    login.run("echo \"$FROM_PROFILE\"; also").await.expect("yes\nfunction\n", "", 0);
    login.run("exit 3").await.expect_shell_exit(3, 0, 2);
    login.run("echo \"$FROM_PROFILE\"").await.expect("yes\n", "", 0);
    let plain = s.sandbox.session(at.shell.path()).await;
    plain.run("echo \"[$FROM_PROFILE]\"").await.expect("[]\n", "", 0);
}

async fn files_of_a_login_that_go_wrong_brick_nothing(at: At) {
    let s = at.session().await;
    for text in ["echo 'oops", "no-such-program", "set -x", "cd /usr", "exec >/dev/null 2>&1", "cat", "IFS=x"] {
        for name in PROFILES {
            let request = ExecStart { stdin: true, ..s.start(format!("cat >~/{name}")) };
            s.run_start(request, format!("{text}\n").as_bytes()).await.expect("", "", 0);
        }
        println!("with `{text}` in the profile");
        let login = login(at, &s).await;
        for _ in 0..2 {
            let got = login.run("echo alive").await;
            assert!(got.out() == "alive\n" && got.exit_code() == 0, "with `{text}` in the profile: {got:?}");
        }
        login.close().await;
    }
}

#[tokio::test]
async fn they_are_listed_in_pages() {
    let at = At { runtime: Runtime::Linux, shell: Shell::Dash };
    let sandbox = at.sandbox().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(sandbox.session("").await);
    }
    let mut sessions = sandbox.clients.sessions.clone();
    let mut page = async |page_token: String| {
        let request = v1::ListSessionsRequest { sandbox_id: sandbox.id.clone(), page_size: 2, page_token };
        sessions.list_sessions(request).await.expect("a page").into_inner()
    };
    let first = page(String::new()).await;
    assert_eq!((first.sessions.len(), first.total_size), (2, 5));
    made[1].close().await;
    made[3].close().await;
    made.push(sandbox.session("/bin/bash").await);
    let mut rest = Vec::new();
    let mut token = first.next_page_token;
    while !token.is_empty() {
        let next = page(token).await;
        assert_eq!(next.total_size, 4);
        rest.extend(next.sessions.into_iter().map(|s| s.session_id));
        token = next.next_page_token;
    }
    assert_eq!(rest, [2, 4, 5].map(|n: usize| made[n].id.clone()), "each once, oldest first");
    assert_eq!(made[5].get().await, made[5].described);
}

/// So that proxies and clients see a live stream.
#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let s = At { runtime: Runtime::Linux, shell: Shell::Dash }.session().await;
    let began = std::time::Instant::now();
    let mut running = s.exec(ExecStart { stdin: true, ..s.start("cat") }).await;
    let first = within_time(Duration::from_secs(40), "a sign of life", running.next()).await;
    assert!(matches!(first, Ok(Some(Response::KeepAlive(_)))), "nothing was printed, and this came: {first:?}");
    assert!(began.elapsed().as_secs() >= 14, "it came after {:?} of silence", began.elapsed());
    running.close_stdin().await;
    running.finish().await.expect("", "", 0);
}
