//! What one command leaves in the shell, the next one finds.

use crate::kit::{At, Shell, v1::ExecStart};

crate::in_every_shell!(
    the_directory,
    variables_functions_and_aliases,
    settings_of_the_process,
    descriptors,
    the_last_status,
    a_virtual_environment,
    the_session_starts_as_asked,
    positional_parameters_and_special_names,
    a_trace_is_of_the_users_lines,
    names_that_we_use_may_be_taken,
    names_that_we_use_may_be_taken_even_command,
    names_that_we_use_may_be_taken_even_builtin,
    odd_settings_brick_nothing,
    a_shell_that_runs_nothing_comes_back,
    outputs_may_be_sent_elsewhere_for_good,
);

async fn the_directory(at: At) {
    let s = at.session().await;
    let got = s.run("cd /usr").await;
    assert_eq!(got.exited.working_directory, "/usr");
    s.run("pwd").await.expect("/usr\n", "", 0);
    let got = s.run("cd /nope").await;
    got.expect_complaint();
    assert_eq!(got.exited.working_directory, "/usr");
    s.run("pwd").await.expect("/usr\n", "", 0);
    s.run("(cd /tmp; pwd)").await.expect("/tmp\n", "", 0);
    s.run("cd - >/dev/null; pwd").await.expect("/workspace\n", "", 0);
    assert_eq!(s.get().await.working_directory, "/workspace");
    let odd = "/workspace/a 'b' \"c\" $d\n\u{e9}*";
    let got = s.run(format!("mkdir -p '{0}' && cd '{0}'", odd.replace('\'', r"'\''"))).await;
    got.expect("", "", 0);
    assert_eq!(got.exited.working_directory, odd, "any name is told as it is");
    s.run("pwd").await.expect(format!("{odd}\n"), "", 0);
    let got = s.run("mkdir /workspace/gone && cd /workspace/gone && rmdir /workspace/gone").await;
    assert_eq!(got.exit_code(), 0, "{got:?}");
    s.alive().await;
    s.run("cd /tmp; pwd").await.expect("/tmp\n", "", 0);
}

async fn variables_functions_and_aliases(at: At) {
    let s = at.session().await;
    s.run("export A=1; B=2; f() { echo fn; }; alias g='echo al'").await.expect("", "", 0);
    s.steps(&[
        ("echo $A $B; f; g", "1 2\nfn\nal\n"),
        ("sh -c 'echo $A-$B'", "1-\n"),
        ("unset A; echo \"[$A]\"; B=3", "[]\n"),
        ("echo $B", "3\n"),
        ("unalias g; unset -f f; B='a  b'", ""),
        ("echo \"$B\"", "a  b\n"),
    ])
    .await;
    assert_eq!(s.run("f").await.exit_code(), 127);
    if at.shell == Shell::Bash {
        s.steps(&[
            ("declare -a x=(1 2)", ""),
            ("echo ${x[1]}", "2\n"),
            ("declare -A m=([k]=v)", ""),
            ("echo ${m[k]}", "v\n"),
            ("shopt -s extglob", ""),
            ("case aab in +(a)b) echo ext;; esac", "ext\n"),
            ("set -o pipefail", ""),
        ])
        .await;
        s.run("false | true").await.expect("", "", 1);
    }
    if at.shell == Shell::Zsh {
        s.steps(&[
            ("typeset -a x; x=(1 2)", ""),
            ("echo ${x[1]}", "1\n"),
            ("setopt ksharrays", ""),
            ("echo ${x[1]}", "2\n"),
        ])
        .await;
    }
}

async fn settings_of_the_process(at: At) {
    let s = at.session().await;
    s.run("umask 077").await.expect("", "", 0);
    assert_eq!(s.run("umask").await.out().trim().trim_start_matches('0'), "77");
    s.run("touch f; stat -c %a f").await.expect("600\n", "", 0);
    s.run("ulimit -n 256").await.expect("", "", 0);
    s.run("ulimit -n").await.expect("256\n", "", 0);
    // zsh's -f is another option.
    s.run(if at.shell == Shell::Zsh { "set -o noglob" } else { "set -f" }).await.expect("", "", 0);
    s.run("echo *").await.expect("*\n", "", 0);
}

async fn descriptors(at: At) {
    let s = at.session().await;
    s.run("exec 5>/tmp/f").await.expect("", "", 0);
    s.run("echo x >&5; cat /tmp/f").await.expect("x\n", "", 0);
    s.run("exec 6</tmp/f; exec 5>&-").await.expect("", "", 0);
    s.run("read line <&6; echo got $line; exec 6<&-").await.expect("got x\n", "", 0);
}

async fn the_last_status(at: At) {
    let s = at.session().await;
    s.run("false").await.expect("", "", 1);
    s.run("echo $?").await.expect("1\n", "", 0);
    s.run("echo $?").await.expect("0\n", "", 0);
    s.run("sh -c 'exit 42'").await.expect("", "", 42);
    s.run("echo $?; true").await.expect("42\n", "", 0);
    s.run("nosuch 2>/dev/null").await.expect("", "", 127);
    s.run("x=$?; echo $x").await.expect("127\n", "", 0);
}

async fn a_virtual_environment(at: At) {
    let s = at.session().await;
    s.run("/usr/bin/python3 -m venv --without-pip venv").await.expect("", "", 0);
    s.steps(&[
        (". venv/bin/activate", ""),
        ("which python", "/workspace/venv/bin/python\n"),
        ("python -c 'import sys; print(sys.prefix)'", "/workspace/venv\n"),
        ("deactivate; command -v deactivate || echo off", "off\n"),
    ])
    .await;
    // Agents write it everywhere, in dash too.
    s.steps(&[
        ("source venv/bin/activate", ""),
        ("which python", "/workspace/venv/bin/python\n"),
        ("echo 'V=from-file; set -- changed' >vars; source ./vars; echo $V", "from-file\n"),
    ])
    .await;
    let got = s.run("source /no/such/file").await;
    assert!(got.exit_code() != 0 && !got.stderr.is_empty() && !got.exited.shell_exited, "{got:?}");
    s.alive().await;
}

async fn the_session_starts_as_asked(at: At) {
    let sandbox = at.sandbox().await;
    let request = crate::kit::v1::CreateSessionRequest {
        shell: at.shell.path().into(),
        env: [("GREETING".into(), "a 'b' \"c\" $d\nnext".into()), ("EMPTY".into(), String::new())].into(),
        working_directory: "/usr/lib".into(),
        ..sandbox.ask_session()
    };
    let s = sandbox.open(request).await;
    assert_eq!(s.described.working_directory, "/usr/lib");
    s.run("pwd; echo \"$GREETING\"; echo \"${EMPTY-unset}\"").await.expect("/usr/lib\na 'b' \"c\" $d\nnext\n\n", "", 0);
    s.run("sh -c 'echo \"$GREETING\"'").await.expect("a 'b' \"c\" $d\nnext\n", "", 0);
}

async fn positional_parameters_and_special_names(at: At) {
    let s = at.session().await;
    s.run("echo $#").await.expect("0\n", "", 0);
    s.run("set -- a 'b c'").await.expect("", "", 0);
    s.run("echo $#; echo \"$2\"; shift").await.expect("2\nb c\n", "", 0);
    s.run("echo \"$*\"").await.expect("b c\n", "", 0);
    let pid = s.run("echo $$").await.out();
    s.run("echo $$").await.expect(&pid, "", 0);
    s.run("true & echo $! >/tmp/bang; wait $!").await;
    s.run("test \"$!\" = \"$(cat /tmp/bang)\"").await.expect("", "", 0);
}

async fn a_trace_is_of_the_users_lines(at: At) {
    let s = at.session().await;
    s.run("set -x").await;
    for _ in 0..2 {
        let got = s.run("echo hi").await;
        assert_eq!((got.out().as_str(), got.exit_code()), ("hi\n", 0), "{got:?}");
        let trace = got.err();
        let lines: Vec<_> = trace.lines().collect();
        let right = lines.len() == 1 && lines[0].starts_with('+') && lines[0].ends_with("echo hi");
        assert!(right || (at.shell == Shell::Zsh && lines.is_empty()), "the trace of `echo hi` is {trace:?}");
    }
    s.run("set +x").await;
    s.alive().await;
    s.run("set -v").await;
    let got = s.run("echo hi").await;
    assert_eq!(got.out(), "hi\n");
    let of_the_user = got.err().lines().all(|line| line == "echo hi");
    assert!(of_the_user, "`set -v` shows lines of ours: {got:?}");
}

async fn names_that_we_use_may_be_taken(at: At) {
    let s = at.session().await;
    for name in
        ["printf", "cd", "pwd", "trap", "eval", "read", "kill", "test", "cat", "export", "exec", "exit", "unset", "set"]
    {
        let special = ["trap", "eval", "export", "exec", "exit", "unset", "set"].contains(&name);
        // dash refuses functions with the names of special builtins.
        if !special || at.shell == Shell::Bash {
            s.run(format!("{name}() {{ echo hijacked {name}; }}")).await;
            let got = s.run("true\nfalse").await;
            assert!(got.exit_code() == 1 && got.stdout.is_empty(), "with a function `{name}`: {got:?}");
            s.run(format!("\\unset -f {name}")).await;
        }
        s.run(format!("alias {name}='echo hijacked {name};'")).await;
        let got = s.run("true\nfalse").await;
        assert!(got.exit_code() == 1 && got.stdout.is_empty(), "with an alias `{name}`: {got:?}");
        s.run(format!("\\unalias {name}")).await;
        let got = s.run("\\command echo alive").await;
        assert!(got.out().starts_with("alive"), "after `{name}`: {got:?}");
    }
    s.run("echo() { \\command echo \"my $1\"; }").await;
    s.run("echo x").await.expect("my x\n", "", 0);
}

async fn names_that_we_use_may_be_taken_even_command(at: At) {
    let s = at.session().await;
    s.run("alias command='echo hijacked'").await;
    s.run("\\echo x\n\\false").await.expect("x\n", "", 1);
    s.run("\\unalias command; command() { echo hijacked; }").await;
    let got = s.run("true\nfalse").await;
    assert!(got.exit_code() == 1 && got.stdout.is_empty(), "with a function `command`: {got:?}");
}

async fn names_that_we_use_may_be_taken_even_builtin(at: At) {
    let s = at.session().await;
    s.run("builtin() { echo hijacked; }").await;
    let got = s.run("true\nfalse").await;
    assert!(got.exit_code() == 1 && got.stdout.is_empty(), "with a function `builtin`: {got:?}");
}

/// Not even the line that would tell how the command ended.
async fn a_shell_that_runs_nothing_comes_back(at: At) {
    let s = at.session().await;
    s.run("cd /usr").await;
    let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    s.run_start(ExecStart { timeout, ..s.start("set -n") }, b"").await;
    s.alive().await;
    s.run("pwd").await.expect("/usr\n", "", 0);
}

async fn odd_settings_brick_nothing(at: At) {
    let s = at.session().await;
    let mut settings = vec![
        "IFS=0123456789/.",
        "IFS=",
        "unset IFS",
        "set -u",
        "set -e",
        "set -f",
        "set -C",
        "set -a",
        "PATH=",
        "unset PATH HOME PWD",
        "PS1='$(echo ps1 >&2)'; PS2=x; PS4='$(echo ps4 >&2)'",
        "set -- '*' 9",
        "umask 777",
        "readonly PATH",
        "ulimit -f 0",
    ];
    match at.shell {
        Shell::Bash => settings.extend([
            "PROMPT_COMMAND='echo prompt'",
            "set -o posix",
            "shopt -s failglob",
            "set -T",
            "trap 'echo dbg >/dev/null' DEBUG",
            "set -o history",
            "trap 'echo err >/dev/null' ERR",
            "enable -n echo",
            "shopt -u expand_aliases",
            "set +m",
            "set -o ignoreeof",
            "TMOUT=1",
        ]),
        Shell::Zsh => settings.extend([
            "precmd() { echo pre }",
            "preexec() { echo pre }",
            "emulate sh",
            "setopt shwordsplit",
            "setopt warncreateglobal",
            "setopt noaliases",
            "emulate -R zsh",
            "setopt errexit",
            "setopt printexitvalue",
            "unsetopt monitor",
            "setopt noequals",
        ]),
        Shell::Dash | Shell::Ash => settings.extend(["set +m", "set -I", "set -b"]),
    }
    for setting in settings {
        let s = s.sandbox.session(at.shell.path()).await;
        s.run(setting).await;
        for _ in 0..2 {
            let got = s.run("echo alive").await;
            assert!(got.stdout == b"alive\n" && got.exit_code() == 0, "after `{setting}`: {got:?}");
        }
        let got = s.run("command true; (exit 6)").await;
        assert_eq!(got.exit_code(), 6, "after `{setting}`: {got:?}");
        s.close().await;
    }
}

async fn outputs_may_be_sent_elsewhere_for_good(at: At) {
    let s = at.session().await;
    for redirection in [
        "exec >/dev/null",
        "exec 2>/dev/null",
        "exec </dev/zero",
        "exec >&- 2>&- <&-",
        "exec >/tmp/o 2>&1",
        "exec 1>&2",
    ] {
        let got = s.run(redirection).await;
        assert!(got.exit_code() == 0 && !got.exited.shell_exited, "`{redirection}`: {got:?}");
        s.run("echo o; echo e >&2; read x; echo $?").await.expect("o\n1\n", "e\n", 0);
    }
    s.run("exec >/tmp/inside; echo y; cat /tmp/inside >&2").await.expect("", "y\n", 0);
    s.alive().await;
}
