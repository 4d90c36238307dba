//! A mistake is a message and a code. It costs neither the session nor anything that was set in it.

use crate::kit::{At, Shell};

crate::in_every_shell!(special_builtins_fail_softly, expansions_fail_softly, programs_that_cannot_run);

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
