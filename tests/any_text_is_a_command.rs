//! A command is a script. Whatever its text is, it runs as one, or says what is wrong with it, and the session goes on.

use crate::kit::{At, Shell, v1::exited::Reason};

crate::in_every_shell!(
    lines_are_a_script,
    heredocs_end_where_they_end,
    an_unfinished_heredoc_hangs_nothing,
    comments_and_nothing_at_all,
    what_does_not_parse_is_a_message,
    twenty_thousand_lines,
    one_line_of_100_kb,
    control_bytes_are_text,
    descriptors_of_ours_are_not_there,
    our_own_words_are_only_text,
    return_and_break_at_the_top,
);

async fn lines_are_a_script(at: At) {
    let s = at.session().await;
    s.steps(&[
        ("echo 1\necho 2\n\n\necho 3", "1\n2\n3\n"),
        ("for i in a b\ndo\n  echo $i\ndone\n", "a\nb\n"),
        ("f() {\n  echo in $1\n}\nf x", "in x\n"),
        ("f y", "in y\n"),
        ("if true\nthen echo yes\nelse echo no\nfi", "yes\n"),
        ("case x in\n  x) echo is x ;;\nesac", "is x\n"),
        ("echo a \\\n  b", "a b\n"),
        ("echo 'a\nb'", "a\nb\n"),
        ("echo $(\n  echo in\n)", "in\n"),
        ("{ echo a; } | {\n cat\n}", "a\n"),
        ("\n\n  echo late", "late\n"),
        ("echo \"a'b\"'c\"d'", "a'bc\"d\n"),
        ("echo ends with a backslash\\\\", "ends with a backslash\\\n"),
        ("x='a;b&c|d'; echo \"$x\"", "a;b&c|d\n"),
        ("echo grüße 日本", "grüße 日本\n"),
    ])
    .await;
    s.run("echo a\nfalse").await.expect("a\n", "", 1);
    s.run("echo a;\nsh -c 'exit 9'\n\n").await.expect("a\n", "", 9);
}

async fn heredocs_end_where_they_end(at: At) {
    let s = at.session().await;
    s.steps(&[
        ("cat <<E\nhi $((1+1))\nE\n", "hi 2\n"),
        ("cat <<E\nlast\nE", "last\n"),
        ("cat <<'E'\n$x `y`\nE", "$x `y`\n"),
        ("cat <<-E\n\tindented\n\tE", "indented\n"),
        ("cat <<A; cat <<B\n1\nA\n2\nB", "1\n2\n"),
        ("cat <<E | tr a b\naaa\nE\necho after", "bbb\nafter\n"),
    ])
    .await;
}

async fn an_unfinished_heredoc_hangs_nothing(at: At) {
    let s = at.session().await;
    for text in ["cat <<E\nhi", "cat <<E\nhi\n", "cat <<E"] {
        let got = s.run(text).await;
        assert!(!got.exited.shell_exited, "{got:?}");
        let ran = got.exit_code() == 0 && !got.out().contains('E');
        assert!(ran || !got.stderr.is_empty(), "`{text}` should run, or say what is wrong: {got:?}");
        s.alive().await;
    }
}

async fn comments_and_nothing_at_all(at: At) {
    let s = at.session().await;
    s.steps(&[
        ("echo hi # x", "hi\n"),
        ("echo hi #", "hi\n"),
        ("# only", ""),
        ("# only\n", ""),
        ("", ""),
        ("\n", ""),
        ("   ", ""),
        ("\t", ""),
        ("echo hi;", "hi\n"),
        ("echo hi ; # x'y\"z $(", "hi\n"),
        ("true", ""),
    ])
    .await;
    let got = s.run("sleep 0.1 &").await;
    assert_eq!((got.exit_code(), got.out().as_str()), (0, ""), "{got:?}");
    s.alive().await;
}

async fn what_does_not_parse_is_a_message(at: At) {
    let s = at.session().await;
    s.run("kept=yes").await.expect("", "", 0);
    for text in [
        "echo 'oops",
        "echo \"oops",
        "echo $(echo x",
        "echo ${x",
        "if then",
        "if true; then echo x",
        "echo a )",
        "done",
        "esac",
        "for i in a b; do echo $i",
        "{ echo x",
        "(echo x",
        "echo x; }",
        "case x in",
        "&& echo x",
        "| cat",
        "f() {",
        ";;",
    ] {
        let got = s.run(text).await;
        let complained = !got.stderr.is_empty() && got.exit_code() != 0 && got.reason() == Reason::Exited;
        assert!(complained && !got.exited.shell_exited, "`{text}` should give a message and a code: {got:?}");
        s.alive().await;
    }
    s.run("echo $kept").await.expect("yes\n", "", 0);
    assert_eq!(s.get().await.generation, 1, "no shell was lost");
}

async fn twenty_thousand_lines(at: At) {
    let s = at.session().await;
    let line = format!("x=$((x+1)) # {}\n", "y".repeat(38));
    let script = format!("x=0\n{}echo $x", line.repeat(20_000));
    assert!(script.len() > 1_000_000);
    s.run(script).await.expect("20000\n", "", 0);
    s.alive().await;
}

async fn one_line_of_100_kb(at: At) {
    let s = at.session().await;
    let long = "long ".repeat(20_000);
    s.run(format!("echo '{long}'")).await.expect(format!("{long}\n"), "", 0);
    // Longer than a terminal's line, a pipe's buffer and an argument of exec.
    let longer = "z".repeat(300_000);
    s.run(format!("x={longer}; echo ${{#x}}")).await.expect("300000\n", "", 0);
}

async fn control_bytes_are_text(at: At) {
    let s = at.session().await;
    for byte in [1u8, 2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 17, 18, 19, 21, 22, 23, 26, 27, 28, 127] {
        let c = byte as char;
        s.run(format!("printf %s 'a{c}b'")).await.expect(format!("a{c}b"), "", 0);
    }
    s.run("if true\nthen\n\techo\ttab\nfi").await.expect("tab\n", "", 0);
    let refused = s.refused(s.start("echo a\0b")).await;
    crate::kit::errors::expect_bad_fields(&refused, &["start.command"]);
    s.alive().await;
}

async fn descriptors_of_ours_are_not_there(at: At) {
    let s = at.session().await;
    let write = "for n in 3 4 5 6 7 8 9; do eval \"echo 77 >&$n\"; done 2>/dev/null; echo ok";
    s.run(write).await.expect("ok\n", "", 0);
    s.alive().await;
    let read = "for n in 3 4 5 6 7 8 9; do eval \"read x <&$n\"; done 2>/dev/null; echo ok";
    s.run(read).await.expect("ok\n", "", 0);
    s.alive().await;
    s.run("sh -c 'echo 77 >&9' 2>/dev/null || echo closed").await.expect("closed\n", "", 0);
    s.run("exec 9>&- 8>&- 7>&- 6>&- 5>&- 4>&- 3>&-; echo closed").await.expect("closed\n", "", 0);
    s.alive().await;
    s.run("exec 9>/tmp/nine; echo x >&9; cat /tmp/nine").await.expect("x\n", "", 0);
    s.alive().await;
    s.run("false; echo $?").await.expect("1\n", "", 0);
}

async fn our_own_words_are_only_text(at: At) {
    let s = at.session().await;
    s.steps(&[
        ("echo '\u{1}0\n'", "\u{1}0\n\n"),
        ("echo 'command . /x <IN >OUT 2>ERR 9>&-'", "command . /x <IN >OUT 2>ERR 9>&-\n"),
        ("echo '$?' ; echo '__SANDSHELL_END__ 0'", "$?\n__SANDSHELL_END__ 0\n"),
        ("echo 'EOF'; echo 'exit 0'", "EOF\nexit 0\n"),
        ("echo '# $ % > sh-5.2# '", "# $ % > sh-5.2# \n"),
    ])
    .await;
    // Not even a peek at what our variables say is of use to write a false end.
    let got = s.run("env | grep -c ^SANDSHELL_; for v in $(env | grep ^SANDSHELL_ | cut -d= -f2-); do echo 0 >$v; done 2>/dev/null; echo z").await;
    assert!(got.out().ends_with("z\n"), "{got:?}");
    s.alive().await;
}

async fn return_and_break_at_the_top(at: At) {
    let s = at.session().await;
    for text in
        ["return 3", "return", "break", "continue", "break 9", "logout", "f() { return 4; }; f", "fg", "bg", "wait %9"]
    {
        let got = s.run(text).await;
        let leaves = text == "logout" && at.shell == Shell::Zsh;
        assert!(leaves || !got.exited.shell_exited, "`{text}`: {got:?}");
        s.alive().await;
    }
    s.run("f() { return 4; }; f").await.expect("", "", 4);
}
