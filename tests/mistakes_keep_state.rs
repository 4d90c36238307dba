//! A mistake is a message and a code. It costs neither the session nor anything that was set in it.

use crate::kit::{At, Runtime, Shell, v1};

crate::in_every_shell!(
    special_builtins_fail_softly,
    expansions_fail_softly,
    a_mistake_in_a_subshell_ends_only_that,
    programs_that_cannot_run,
);

/// busybox ash lets the copy of itself that is a subshell survive its mistake, when it is asked to survive mistakes itself.
async fn a_mistake_in_a_subshell_ends_only_that(at: At) {
    let s = at.session().await;
    s.run("readonly R=1; kept=yes; printf '(R=2; echo no)\n' >file").await.expect("", "", 0);
    for (command, stdout) in [
        ("(R=2; echo no) 2>/dev/null || echo kept", "kept\n"),
        ("( : ${X:?bad}; echo no ) 2>/dev/null || echo kept", "kept\n"),
        ("x=$(R=2; echo no) 2>/dev/null || echo kept $x", "kept\n"),
        ("(eval 'if') 2>/dev/null || echo kept", "kept\n"),
        ("eval '(R=2; echo no)' 2>/dev/null || echo kept", "kept\n"),
        (". ./file 2>/dev/null || echo kept", "kept\n"),
        ("((R=2; echo no) || (R=3; echo no) || exit 3) 2>/dev/null || echo $?", "3\n"),
        ("(set -u; echo $X; echo no) 2>/dev/null | cat; echo kept", "kept\n"),
        ("f() { (R=2; echo no) 2>/dev/null || echo $kept; }; IFS=0123456789; f; f; unset IFS", "yes\nyes\n"),
        ("for i in 1 2; do ( : ${X:?bad} ) 2>/dev/null; done; echo $i", "2\n"),
        ("set -e; (R=2; echo no) 2>/dev/null || echo kept; set +e", "kept\n"),
        ("(R=2; echo no) 2>/dev/null & wait $! || echo kept", "kept\n"),
        ("trap '(R=2) 2>/dev/null || echo kept' USR1; kill -USR1 $$; trap - USR1", "kept\n"),
    ] {
        let got = s.run(command).await;
        assert!(got.out() == stdout && got.exit_code() == 0 && !got.exited.shell_exited, "`{command}`: {got:?}");
    }
    // It is the last command, so its failure is the whole text's.
    let got = s.run("(R=2) 2>/dev/null").await;
    assert!(got.exit_code() != 0 && !got.exited.shell_exited, "{got:?}");
    s.run("echo $kept").await.expect("yes\n", "", 0);
}

/// Elsewhere in this file dash stands for ash on Docker. Here they differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_mistake_in_a_subshell_of_ash_ends_only_that_on_docker() {
    a_mistake_in_a_subshell_ends_only_that(At { runtime: Runtime::Docker, shell: Shell::Ash }).await;
}

mod of_start_up_files {
    use super::a_mistake_in_a_subshell_of_a_start_up_file_ends_only_that;
    crate::in_every_runtime!(a_mistake_in_a_subshell_of_a_start_up_file_ends_only_that);
}

/// A copy of the shell that went on would read the lines that are for the shell.
async fn a_mistake_in_a_subshell_of_a_start_up_file_ends_only_that(runtime: Runtime) {
    let s = At { runtime, shell: Shell::Ash }.session().await;
    let text = "readonly R=1; (R=2; echo no); ( : ${X:?bad} ) | cat; kept=yes; (R=3)";
    s.run(format!("echo '{text}' >~/.profile")).await.expect("", "", 0);
    let request = v1::CreateSessionRequest { shell: Shell::Ash.path().into(), login: true, ..s.sandbox.ask_session() };
    let login = s.sandbox.open(request).await;
    for number in 0..20 {
        login.run(format!("echo $kept {number}")).await.expect(format!("yes {number}\n"), "", 0);
    }
}

async fn special_builtins_fail_softly(at: At) {
    mistakes(
        at,
        &[
            ". /no/such/file",
            "export 1x=3",
            "shift 99",
            "readonly R=1; R=2",
            "export -Z",
            "set -Z",
            "trap x NOSUCH",
            "exec 5</no/such/file",
            "exec >/no/such/dir/f",
            "eval 'echo ('",
            "eval 'if'",
        ],
    )
    .await;
}

async fn expansions_fail_softly(at: At) {
    mistakes(
        at,
        &[
            "${N:?}",
            "echo ${N:?is not set}",
            "set -u; echo $N",
            "echo $((1/0))",
            "echo ${N!}",
            "echo $((1+))",
            ": ${N:?a} ${M:?b}",
            "f() { : ${N:?}; }; f",
        ],
    )
    .await;
}

async fn programs_that_cannot_run(at: At) {
    let s = at.session().await;
    s.run("kept=yes").await;
    s.run("touch plain; echo '#!/no/such/interpreter' >bad; chmod +x bad").await.expect("", "", 0);
    for (command, code) in [("nosuch", 127), ("/no/such/program", 127), ("./plain", 126), ("/usr", 126)] {
        let got = s.run(command).await;
        got.expect_complaint();
        assert_eq!(got.exit_code(), code, "{got:?}");
    }
    let got = s.run("./bad").await;
    assert!([126, 127].contains(&got.exit_code()) && !got.stderr.is_empty(), "{got:?}");
    s.run("echo $kept").await.expect("yes\n", "", 0);
}

/// Each in a session of its own, with state that must be there afterwards.
async fn mistakes(at: At, commands: &[&str]) {
    let sandbox = at.sandbox().await;
    for command in commands {
        if at.shell == Shell::Zsh && ["export -Z", "set -Z", "echo ${N!}"].contains(command) {
            // Legal there.
            continue;
        }
        let s = sandbox.session(at.shell.path()).await;
        s.run("export A=1; B=2; f() { echo fn; }; alias g='echo al'; cd /usr").await.expect("", "", 0);
        let got = s.run(*command).await;
        // These two only say it with the code.
        let silent = *command == "shift 99" && [Shell::Bash, Shell::Ash].contains(&at.shell);
        let complained = got.stdout.is_empty() && (silent || !got.stderr.is_empty()) && got.exit_code() != 0;
        assert!(complained, "`{command}` should give only a message and a code: {got:?}");
        assert!(!got.exited.shell_exited, "`{command}` cost the shell: {got:?}");
        s.alive().await;
        let got = s.run("echo $A $B; pwd").await;
        assert_eq!(got.out(), "1 2\n/usr\n", "state after `{command}`: {got:?}");
        if !command.contains("f()") {
            assert_eq!(s.run("f; g").await.out(), "fn\nal\n", "functions and aliases after `{command}`");
        }
        s.close().await;
    }
}
