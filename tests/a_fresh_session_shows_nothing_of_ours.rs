//! How a session is kept is nobody's business: in a fresh one a user finds what a user expects, and at most names that
//! start with `SANDSHELL_`.

use crate::kit::{At, Shell};
use std::collections::BTreeSet;

crate::in_every_shell!(
    no_descriptor_leaks,
    the_environment_is_plain,
    no_variable_is_ours,
    no_alias_trap_job_or_history,
    the_shell_is_the_one_asked_for,
    the_directory_for_work_is_empty_and_writable,
);

const PLAIN: &[&str] =
    &["PATH", "HOME", "LANG", "LC_ALL", "USER", "LOGNAME", "PWD", "OLDPWD", "SHLVL", "TERM", "SHELL", "HOSTNAME", "_"];

fn is_ours(name: &str) -> bool {
    name.starts_with("SANDSHELL_")
}

async fn no_descriptor_leaks(at: At) {
    let s = at.session().await;
    // The fourth is the directory that ls reads. By its path: busybox's ash runs its own ls without a new program.
    for _ in 0..2 {
        s.run("/bin/ls /proc/self/fd").await.expect("0\n1\n2\n3\n", "", 0);
    }
    let got = s.run("/bin/sleep 1 & sleep 0.3; ls /proc/$!/fd; kill $!").await;
    assert_eq!(got.out(), "0\n1\n2\n", "a background process has only its own: {got:?}");
}

async fn the_environment_is_plain(at: At) {
    let s = at.session().await;
    let got = s.run("env").await;
    for line in got.out().lines() {
        let name = line.split('=').next().unwrap_or_default();
        assert!(PLAIN.contains(&name) || is_ours(name), "`{line}` in the environment of a fresh session");
    }
    let env = got.out();
    for wanted in ["PATH=", "HOME=", "USER=", "LOGNAME=", "PWD="] {
        assert!(env.lines().any(|line| line.starts_with(wanted)), "no {wanted} in a fresh session: {env}");
    }
    s.run("ls -d \"$HOME\" >/dev/null && touch \"$HOME/x\" && command -v ls env cat >/dev/null")
        .await
        .expect("", "", 0);
}

async fn no_variable_is_ours(at: At) {
    let s = at.session().await;
    let names = |text: &str| -> BTreeSet<String> {
        let name_of = |line: &str| {
            let name = line.split('=').next()?;
            let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            (plain && line.contains('=')).then(|| name.to_owned())
        };
        text.lines().filter_map(name_of).collect()
    };
    // What the shell itself sets, and what an interactive one sets on top.
    let shell = if at.shell == Shell::Ash { "/bin/busybox ash" } else { at.shell.path() };
    let own = names(&s.run(format!("{shell} -c set; {shell} -i -c set 2>/dev/null")).await.out());
    let usual = [
        "PS1",
        "PS2",
        "PS3",
        "PS4",
        "IFS",
        "PPID",
        "COLUMNS",
        "LINES",
        "OPTIND",
        "MAIL",
        "MAILCHECK",
        "TTY",
        "TTYIDLE",
    ];
    for name in names(&s.run("set").await.out()) {
        let fine = own.contains(&name) || usual.contains(&name.as_str()) || PLAIN.contains(&name.as_str());
        let of_bash = name.starts_with("HIST") || name.starts_with("BASH") || name == "PIPESTATUS";
        assert!(fine || of_bash || is_ours(&name), "`{name}` is set in a fresh session");
    }
}

async fn no_alias_trap_job_or_history(at: At) {
    let s = at.session().await;
    let traps = s.run("trap").await.out();
    assert!(traps.lines().all(|line| line.contains("SANDSHELL_")), "{traps}");
    s.run("jobs").await.expect("", "", 0);
    let aliases = s.run("alias").await;
    match at.shell {
        // Its own, compiled in.
        Shell::Zsh => assert_eq!(aliases.out(), "run-help=man\nwhich-command=whence\n"),
        _ => aliases.expect("", "", 0),
    }
    match at.shell {
        Shell::Bash => {
            s.run("history").await.expect("", "", 0);
            s.run("declare -F | grep -v SANDSHELL_").await.expect("", "", 1);
        }
        Shell::Zsh => {
            s.run("print -rn -- ${(k)functions:#SANDSHELL_*}").await.expect("", "", 0);
        }
        Shell::Dash | Shell::Ash => {}
    }
    // zsh shows at least the line that it runs.
    let history = s.run("history 2>&1").await.out();
    assert!(history.lines().count() <= 1, "our own lines are in the history: {history}");
}

async fn the_shell_is_the_one_asked_for(at: At) {
    let s = at.session().await;
    assert_eq!(s.described.shell, at.shell.path());
    let got = s.run("echo $$").await;
    assert_eq!(got.out().trim(), s.described.shell_pid.to_string(), "`$$` is the session's shell_pid");
    let name = match at.shell {
        Shell::Ash => "busybox",
        Shell::Dash => "dash",
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
    };
    s.run("basename $(readlink /proc/$$/exe)").await.expect(format!("{name}\n"), "", 0);
    assert_eq!(s.described.generation, 1);
    assert_eq!(s.described.state(), crate::kit::v1::session::State::Idle);
    assert_eq!(s.described.sandbox_id, s.sandbox.id);
    assert!(s.id.starts_with(&format!("{}/", s.sandbox.id)), "{} does not say where it lives", s.id);
}

async fn the_directory_for_work_is_empty_and_writable(at: At) {
    let s = at.session().await;
    assert_eq!(s.sandbox.described.working_directory, "/workspace");
    assert_eq!(s.described.working_directory, "/workspace");
    s.run("pwd; ls -A; echo x >f && cat f && rm f").await.expect("/workspace\nx\n", "", 0);
}
