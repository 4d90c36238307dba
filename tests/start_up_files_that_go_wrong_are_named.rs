//! A start-up file that ends, stops, replaces or holds up the shell costs a login its session, soon, and the error names it.

use crate::kit::{At, Session, Shell, errors::expect_error, v1, within};
use tonic::{Code, Status};
use v1::ExecStart;

crate::in_every_shell!(
    what_ends_the_shell_is_named,
    what_holds_it_up_is_named,
    without_login_nothing_of_it_matters,
    files_that_want_a_prompt_are_read,
    variables_that_name_files_are_heeded,
    a_restricted_shell_is_refused,
);

/// What the shell reads in its home.
fn file(at: At) -> &'static str {
    match at.shell {
        Shell::Zsh => ".zshrc",
        Shell::Dash | Shell::Bash | Shell::Ash => ".profile",
    }
}

async fn write(s: &Session, name: &str, text: &str) {
    let start = ExecStart { stdin: true, ..s.start(format!("cat >{name}")) };
    s.run_start(start, format!("{text}\n").as_bytes()).await.expect("", "", 0);
}

async fn try_login(at: At, s: &Session) -> Result<Session, Status> {
    let request = v1::CreateSessionRequest { shell: at.shell.path().into(), login: true, ..s.sandbox.ask_session() };
    let answer = within("a login or a refusal", s.sandbox.clients.sessions.clone().create_session(request)).await?;
    let described = answer.into_inner();
    Ok(Session { id: described.session_id.clone(), described, sandbox: s.sandbox.clone() })
}

async fn expect_named(at: At, s: &Session, text: &str, what: &str) {
    write(s, &format!("~/{}", file(at)), text).await;
    let Err(refusal) = try_login(at, s).await else { panic!("a session in spite of `{text}`") };
    expect_error(&refusal, Code::FailedPrecondition, "START_UP_FILE_FAILED");
    let message = refusal.message();
    let says_so = what.split(" or ").any(|what| message.contains(what));
    assert!(message.contains(file(at)) && says_so, "`{text}`: {message}");
}

async fn what_ends_the_shell_is_named(at: At) {
    let s = at.session().await;
    for (text, what) in [
        ("exit 1", "exit code 1"),
        ("set -e; false", "exit code 1"),
        // They end at once, or are seen before that.
        ("exec true", "the shell"),
        ("exec /bin/bash", "the shell"),
        ("kill -9 $$", "signal 9"),
        ("echo noise; echo noise >&2; exit 0", "exit code 0"),
    ] {
        expect_named(at, &s, text, what).await;
    }
    // Nothing is left of them.
    s.run("ls /run/sandshell").await.expect("1\n", "", 0);
    s.run(format!("rm ~/{}", file(at))).await.expect("", "", 0);
    try_login(at, &s).await.expect("a session").alive().await;
}

async fn what_holds_it_up_is_named(at: At) {
    let s = at.session().await;
    // Whether the shell was replaced cannot always be seen.
    let replaced = "replaced or did not end";
    for (text, what) in [("sleep 1000", "did not end"), ("exec sleep 1000", replaced), ("kill -STOP $$", "stopped")] {
        expect_named(at, &s, text, what).await;
    }
    // Questions are at their end at once.
    write(&s, &format!("~/{}", file(at)), "read x; read y </dev/tty; export READ=\"$?\"; yes | head -c 300000 >&2")
        .await;
    try_login(at, &s).await.expect("a session").run("echo $READ").await.expect("1\n", "", 0);
}

async fn without_login_nothing_of_it_matters(at: At) {
    let s = at.session().await;
    for name in [".profile", ".bash_profile", ".bashrc", ".zshenv", ".zshrc", ".zprofile"] {
        write(&s, &format!("~/{name}"), "exit 1").await;
    }
    s.sandbox.session(at.shell.path()).await.alive().await;
    s.run("exit 3").await.expect_shell_exit(3, 0, 2);
    s.alive().await;
}

async fn files_that_want_a_prompt_are_read(at: At) {
    let s = at.session().await;
    write(&s, "guarded", "[ -z \"$PS1\" ] && return\nexport NVM=1").await;
    s.run(". ./guarded; echo \"[$NVM]\"").await.expect("[1]\n", "", 0);
    s.run("echo a; echo b >&2").await.expect("a\n", "b\n", 0);
    s.run("exit 3").await;
    s.run("unset NVM; . ./guarded; echo \"[$NVM]\"").await.expect("[1]\n", "", 0);
    let direct = ExecStart { shell: at.shell.path().into(), ..s.sandbox.start(". ./guarded; echo \"[$NVM]\"") };
    s.sandbox.exec(direct).await.finish().await.expect("[1]\n", "", 0);
    write(&s, &format!("~/{}", file(at)), ". /workspace/guarded").await;
    try_login(at, &s).await.expect("a session").run("echo \"[$NVM]\"").await.expect("[1]\n", "", 0);
}

/// None of them is read but where the shell's own manual says so, and none of them costs a session.
async fn variables_that_name_files_are_heeded(at: At) {
    let s = at.session().await;
    s.run("mkdir z").await.expect("", "", 0);
    write(&s, "ends", "exit 1").await;
    write(&s, "z/.zshrc", "export FROM=zdotdir").await;
    let request = v1::CreateSessionRequest {
        shell: at.shell.path().into(),
        login: true,
        env: [("ENV", "/workspace/ends"), ("BASH_ENV", "/workspace/ends"), ("ZDOTDIR", "/workspace/z")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..s.sandbox.ask_session()
    };
    let login = s.sandbox.open(request).await;
    login.run("echo \"[$FROM]\"").await.expect(if at.shell == Shell::Zsh { "[zdotdir]\n" } else { "[]\n" }, "", 0);
}

async fn a_restricted_shell_is_refused(at: At) {
    let s = at.session().await;
    s.run("ln -s /bin/bash rbash; ln -s /bin/zsh rzsh; mkdir x; printf '#!/bin/sh\\nexec /bin/bash --restricted \"$@\"\\n' >x/bash; chmod +x x/bash").await;
    for shell in ["/workspace/rbash", "/workspace/rzsh", "/workspace/x/bash"] {
        let request = v1::CreateSessionRequest { shell: shell.into(), ..s.sandbox.ask_session() };
        let refusal = within("a refusal", s.sandbox.clients.sessions.clone().create_session(request)).await;
        let Err(refusal) = refusal else { panic!("a session in {shell}") };
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
        assert!(refusal.message().contains("restricted") && refusal.message().contains("/bash"), "{refusal:?}");
    }
    s.alive().await;
}
