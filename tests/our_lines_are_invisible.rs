//! How a shell is driven is nobody's business: nothing that a user defines or sets meets our lines, and nothing of our lines
//! meets the user.

use crate::kit::{At, Session, Shell};

crate::in_every_shell!(
    no_alias_takes_a_word_of_ours,
    no_function_takes_a_word_of_ours,
    a_function_in_the_place_of_the_word_for_built_ins,
    mistakes_name_no_file_of_ours,
    a_trace_is_the_users_alone,
    the_last_argument_is_the_users,
    the_statuses_of_a_pipeline_are_the_users,
    a_simple_command_may_be_more_than_it_looks,
    a_debug_trap_runs_for_the_users_commands,
    an_error_trap_runs_once_for_each_error,
    an_error_trap_that_ends_the_shell_meets_no_line_of_ours,
    a_return_at_the_top_ends_nothing_else,
    what_is_not_whole_gets_no_line_of_ours,
    variables_of_ours_stay_small,
    a_builtin_that_is_disabled_costs_nothing,
    lines_are_counted_as_in_a_script,
);

/// Each word that our lines have, and those of the language.
const WORDS: &[&str] = &[
    "command",
    "builtin",
    "eval",
    ".",
    "source",
    "printf",
    "return",
    "exit",
    "trap",
    ":",
    "set",
    "test",
    "[",
    "case",
    "esac",
    "if",
    "then",
    "fi",
    "for",
    "while",
    "do",
    "done",
    "{",
    "}",
    "!",
    "type",
    "unset",
    "export",
    "alias",
    "read",
    "echo",
    "exec",
    "SANDSHELL_RUNNING",
    "SANDSHELL_END",
    "-",
];

async fn no_alias_takes_a_word_of_ours(at: At) {
    let s = at.session().await;
    let mut kinds = vec!["alias"];
    if at.shell == Shell::Zsh {
        kinds.push("alias -g");
    }
    for kind in kinds {
        for word in WORDS {
            for value in ["true", "\\echo caught; true", "\\echo caught "] {
                // Some shells refuse some of the names.
                s.run(format!("\\{kind} -- '{word}={value}' 2>/dev/null || \\{kind} '{word}={value}' 2>/dev/null"))
                    .await;
                s.run("\\false").await.expect("", "", 1);
                s.run("\\test $? = 1 && \\echo ran").await.expect("ran\n", "", 0);
                let got = s.run("\\nosuch_program").await;
                assert!(got.exit_code() == 127 && got.stdout.is_empty(), "with `{kind} {word}={value}`: {got:?}");
                s.run(format!("\\unalias -- '{word}' 2>/dev/null || \\unalias '{word}' 2>/dev/null; \\true")).await;
            }
        }
    }
    assert_eq!(s.get().await.generation, 1, "no shell was lost");
}

async fn no_function_takes_a_word_of_ours(at: At) {
    let s = at.session().await;
    for word in
        ["eval", ".", "source", "printf", "return", "exit", "trap", ":", "set", "test", "[", "type", "unset", "read"]
    {
        // Where a shell refuses the name, there is nothing to meet.
        let define = format!("{word}() {{ echo caught {word} >>/tmp/caught; }}");
        s.run(format!("eval '{define}' 2>/dev/null")).await;
        s.run("false").await.expect("", "", 1);
        s.run("case $? in 1) echo ran;; esac").await.expect("ran\n", "", 0);
        s.run("! cat /tmp/caught 2>/dev/null").await.expect("", "", 0);
        s.run(format!("\\builtin unset -f {word} 2>/dev/null || \\command unset -f {word}; \\command true")).await;
    }
    s.run("exit 3").await.expect_shell_exit(3, 0, 2);
}

async fn a_function_in_the_place_of_the_word_for_built_ins(at: At) {
    for word in ["command", "builtin"] {
        for define in ["() { echo mine; }", "() {\necho mine\n}"] {
            let s = at.session().await;
            s.run(format!("kept=yes; {word}{define}")).await.expect("", "", 0);
            s.run("false").await.expect("", "", 1);
            s.run("echo $? $kept").await.expect("1 yes\n", "", 0);
            s.run(format!("{word} x")).await.expect("mine\n", "", 0);
            s.run("cd /usr").await;
            assert_eq!(s.get().await.working_directory, "/usr");
            // After the state was saved, too.
            s.run("sleep 0.2").await.expect("", "", 0);
            s.run("echo $kept").await.expect("yes\n", "", 0);
            assert_eq!(s.get().await.generation, 1, "no shell was lost over a function `{word}`");
        }
    }
}

async fn mistakes_name_no_file_of_ours(at: At) {
    let s = at.session().await;
    for text in [
        "nosuch",
        "echo a\nnosuch\n",
        "if then",
        "echo a\nif then",
        "cd /nope",
        ". /nope",
        "echo ${x!}",
        "echo 'x",
        "echo a )",
    ] {
        let got = s.run(text).await;
        assert!(!got.err().contains("sandshell"), "`{text}`: {got:?}");
    }
    let name = if at.shell == Shell::Ash { "ash" } else { at.shell.path().rsplit('/').next().unwrap_or_default() };
    let got = s.run("true\n\nnosuch").await;
    let text = got.err();
    let natural = match at.shell {
        Shell::Dash => text == format!("{name}: 3: eval: nosuch: not found\n"),
        Shell::Ash => text == format!("{name}: eval: line 3: nosuch: not found\n"),
        Shell::Bash => text == format!("{name}: nosuch: command not found\n"),
        Shell::Zsh => text == "zsh: command not found: nosuch\n",
    };
    assert!(natural, "{got:?}");
    let got = s.run("true\n\nif then").await;
    assert!(got.err().contains('3') || at.shell == Shell::Zsh, "the third line is named: {got:?}");
}

async fn a_trace_is_the_users_alone(at: At) {
    let sandbox = at.sandbox().await;
    let s = sandbox.session(at.shell.path()).await;
    let traced = |got: &crate::kit::Finished| {
        let trace = got.err();
        let lines: Vec<_> = trace.lines().collect();
        assert!(lines.len() == 1 && lines[0].starts_with('+') && lines[0].ends_with("echo t"), "{got:?}");
    };
    let got = s.run("set -x; echo t").await;
    traced(&got);
    traced(&s.run("echo t").await);
    s.run("false").await;
    s.run("set +x").await;
    let start = crate::kit::v1::ExecStart { shell: at.shell.path().into(), ..sandbox.start("set -x; echo t") };
    traced(&sandbox.exec(start).await.finish().await);
    let start = crate::kit::v1::ExecStart {
        shell: at.shell.path().into(),
        ..sandbox.start("PS1='P> '; PS2=x; PROMPT_COMMAND='echo pc'; precmd() { echo pc; }; echo x")
    };
    sandbox.exec(start).await.finish().await.expect("x\n", "", 0);
    let start =
        crate::kit::v1::ExecStart { shell: at.shell.path().into(), ..sandbox.start("trap 'echo bye' EXIT; (exit 4)") };
    sandbox.exec(start).await.finish().await.expect("bye\n", "", 4);
}

async fn the_last_argument_is_the_users(at: At) {
    if ![Shell::Bash, Shell::Zsh].contains(&at.shell) {
        // dash and ash keep it at a prompt only.
        return;
    }
    let s = at.session().await;
    s.steps(&[("echo two", "two\n"), ("echo $_", "two\n"), ("echo a 'b  c'", "a b  c\n"), ("echo \"$_\"", "b  c\n")])
        .await;
    s.run("set -u; set -e").await.expect("", "", 0);
    s.steps(&[("echo three", "three\n"), ("echo $_", "three\n")]).await;
    if at.shell == Shell::Bash {
        s.run("set +e; test x = y").await.expect("", "", 1);
        s.run("echo three; (exit 3)").await.expect("three\n", "", 3);
        s.run("echo $? $_").await.expect("3 three\n", "", 0);
    }
}

async fn the_statuses_of_a_pipeline_are_the_users(at: At) {
    let s = at.session().await;
    let known = [Shell::Bash, Shell::Zsh].contains(&at.shell);
    let run = async |s: &Session, text: &str, pipes: &[i32]| {
        let got = s.run(text).await;
        let wanted: &[i32] = if known { pipes } else { &[] };
        assert_eq!(got.exited.pipe_status, wanted, "`{text}`: {got:?}");
    };
    run(&s, "false | true | (exit 3)", &[1, 0, 3]).await;
    if at.shell == Shell::Bash {
        s.run("echo ${PIPESTATUS[*]} $?").await.expect("1 0 3 3\n", "", 0);
        s.run("false | true; echo ${PIPESTATUS[*]}").await.expect("1 0\n", "", 0);
    }
    if at.shell == Shell::Zsh {
        s.run("echo $pipestatus $?").await.expect("1 0 3 3\n", "", 0);
    }
    run(&s, "true", &[0]).await;
    run(&s, "(exit 7)", &[7]).await;
    run(&s, "true | false\n# a comment", &[0, 1]).await;
    if at.shell == Shell::Bash {
        run(&s, "for i in 1 2; do true | (exit $i) | true; done", &[0, 2, 0]).await;
    }
    run(&s, "IFS=01; (exit 10) | (exit 11)", &[10, 11]).await;
    run(&s, "unset IFS; set -u; true", &[]).await;
    run(&s, "sleep 0.01 | (exit 2)", &[0, 2]).await;
    // Where it is not known, nothing is made up.
    run(&s, "cat <<E | false\nx\nE", &[]).await;
    run(&s, "nosuch_program | true |", &[]).await;
    s.run("echo 'fine'").await.expect("fine\n", "", 0);
    let cases = if at.shell == Shell::Bash { &["set -o pipefail; false | true", "echo $?"][..] } else { &[] };
    for (text, out) in cases.iter().zip(["", "1\n"]) {
        assert_eq!(s.run(*text).await.out(), out);
    }
}

async fn a_simple_command_may_be_more_than_it_looks(at: At) {
    if ![Shell::Bash, Shell::Zsh].contains(&at.shell) {
        return;
    }
    let s = at.session().await;
    let pipes = async |text: &str| s.run(text).await.exited.pipe_status;
    assert_eq!(pipes("ls -d /tmp").await, [0]);
    assert_eq!(pipes("nosuch_program a b").await, [127]);
    if at.shell == Shell::Bash {
        s.run("echo $_ $?").await.expect("b 127\n", "", 0);
    }
    s.run("ls -d /tmp").await.expect("/tmp\n", "", 0);
    s.run("printf '%s %s\n' $_ $?").await.expect("/tmp 0\n", "", 0);
    s.run("f() { false | true; }").await.expect("", "", 0);
    s.run("alias two='false | true' error='false | (exit 3) | true'").await.expect("", "", 0);
    assert_eq!(pipes("two").await, [1, 0]);
    assert_eq!(pipes("error").await, [1, 3, 0]);
    let s = at.session().await;
    s.run("echo \"alias three='false | false | true'\" >aliases; . ./aliases").await.expect("", "", 0);
    assert_eq!(s.run("three").await.exited.pipe_status, [1, 1, 0]);
    s.run("exit 0").await;
    assert_eq!(s.run("three").await.exited.pipe_status, [1, 1, 0], "a new shell has the alias too");
}

async fn a_debug_trap_runs_for_the_users_commands(at: At) {
    if ![Shell::Bash, Shell::Zsh].contains(&at.shell) {
        return;
    }
    let s = at.session().await;
    s.run("trap 'echo D' DEBUG").await.expect("", "", 0);
    s.run("echo hi").await.expect("D\nhi\n", "", 0);
    s.run("echo hi; false").await.expect("D\nhi\nD\n", "", 1);
    s.run("echo $?").await.expect("D\n1\n", "", 0);
    s.run("trap - DEBUG").await;
    s.run("echo hi").await.expect("hi\n", "", 0);
    // Nobody could know of this one before it is set.
    s.run("echo \"trap 'echo E' DEBUG\" >debug; . ./debug").await;
    s.run("echo hi").await.expect("E\nhi\n", "", 0);
}

async fn an_error_trap_runs_once_for_each_error(at: At) {
    let name = match at.shell {
        Shell::Bash => "ERR",
        Shell::Zsh => "ZERR",
        Shell::Dash | Shell::Ash => return,
    };
    let s = at.session().await;
    s.run(format!("trap 'echo E; echo E >>/tmp/errors' {name}")).await.expect("", "", 0);
    s.run("false").await.expect("E\n", "", 1);
    s.run("true").await.expect("", "", 0);
    s.run("cat /tmp/errors").await.expect("E\n", "", 0);
}

async fn an_error_trap_that_ends_the_shell_meets_no_line_of_ours(at: At) {
    let s = at.session().await;
    if s.run("trap 'exit 8' ERR").await.exit_code() != 0 {
        // dash has no such trap.
        assert_eq!(at.shell, Shell::Dash);
        return;
    }
    for _ in 0..3 {
        let got = s.run("false").await;
        assert_eq!((got.exit_code(), got.exited.shell_exited), (8, true), "{got:?}");
        // The next shell has the trap too, and the status of the one before.
        s.run("echo $?; trap >/tmp/traps; grep -c 'exit 8' /tmp/traps").await.expect("8\n1\n", "", 0);
    }
}

async fn a_return_at_the_top_ends_nothing_else(at: At) {
    let s = at.session().await;
    s.run("kept=yes; return 3").await;
    s.run("echo $kept").await.expect("yes\n", "", 0);
    s.alive().await;
}

async fn what_is_not_whole_gets_no_line_of_ours(at: At) {
    let s = at.session().await;
    for text in [
        "cat <<E\nhi",
        "echo hi \\",
        "cat <<'E'\nhi\n",
        "echo hi &&",
        "case x in",
        "echo hi |",
        "for i in a b",
        "f()",
        "echo \"hi",
        "echo hi; !",
        "alias begin='cat <<E'\nbegin",
        "if true; then",
    ] {
        let got = s.run(text).await;
        assert!(!got.out().contains("SANDSHELL") && !got.err().contains("SANDSHELL"), "`{text}`: {got:?}");
        s.alive().await;
    }
}

async fn variables_of_ours_stay_small(at: At) {
    let s = at.session().await;
    let long = "x".repeat(200_000);
    s.run(format!(": {long}")).await.expect("", "", 0);
    let got = s.run("set | grep ^SANDSHELL_ | wc -c").await;
    assert!(got.out().trim().parse::<usize>().is_ok_and(|bytes| bytes < 6000), "{got:?}");
    // Exported, they must not keep programs from starting.
    s.run(format!("export -p >/dev/null; set -a; : {long}")).await.expect("", "", 0);
    s.run("/bin/true").await.expect("", "", 0);
}

async fn a_builtin_that_is_disabled_costs_nothing(at: At) {
    let disable = match at.shell {
        Shell::Bash => "enable -n",
        Shell::Zsh => "disable",
        Shell::Dash | Shell::Ash => return,
    };
    for word in [".", "eval", "printf", "command", "builtin", "trap", "return", ":", "exit"] {
        let s = at.session().await;
        s.run("kept=yes").await;
        s.run(format!("{disable} {word}")).await.expect("", "", 0);
        s.run("false").await.expect("", "", 1);
        s.run("echo $? $kept").await.expect("1 yes\n", "", 0);
        assert_eq!(s.get().await.generation, 1, "no shell was lost over `{word}`");
    }
    let s = at.session().await;
    s.run(format!("{disable} cd; false")).await.expect("", "", 1);
    assert_ne!(s.run("cd /usr; pwd").await.out(), "/usr\n", "what our lines do not need stays disabled");
}

async fn lines_are_counted_as_in_a_script(at: At) {
    if at.shell == Shell::Dash {
        // It does not count them.
        return;
    }
    let s = at.session().await;
    for _ in 0..2 {
        s.run("echo $LINENO\n\necho $LINENO").await.expect("1\n3\n", "", 0);
    }
    s.run("false").await;
    s.run("echo $LINENO").await.expect("1\n", "", 0);
}
