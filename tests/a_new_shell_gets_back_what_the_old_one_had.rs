//! When a shell has ended, the next one has what docs/sessions.md promises: a test for each cell of its table.

use crate::kit::{At, Finished, Session, Shell};

crate::in_every_shell!(
    exported_variables_with_any_bytes,
    variables_that_no_program_sees,
    readonly_variables,
    attributes_of_variables,
    arrays,
    associative_arrays,
    functions,
    functions_are_never_rewritten_by_aliases,
    functions_of_any_name_and_body,
    a_function_that_fails_costs_only_itself,
    aliases_with_any_bytes,
    options,
    errexit_ends_with_its_shell,
    traps_but_that_of_the_exit,
    the_umask,
    positional_parameters,
    names_that_are_no_shell_names,
);

/// Ends the shell in one of several ways; nothing that was there may be missed.
pub async fn end(s: &Session, way: u32) -> Finished {
    let before = s.get().await.generation;
    let got = match way % 3 {
        0 => s.run("\\exit 7").await,
        1 => s.run("exec true").await,
        _ => {
            // The state must have been saved while the shell was idle.
            s.settled().await;
            s.run("\\kill -9 $$").await
        }
    };
    assert!(got.exited.shell_exited && got.exited.generation == before + 1, "way {way}: {got:?}");
    got
}

/// Runs commands, ends the shell in each way, and looks each time whether the checks hold. Nothing may be told as lost.
async fn comes_back(at: At, commands: &[&str], checks: &[(&str, &str)]) -> Session {
    let s = at.session().await;
    for command in commands {
        let got = s.run(*command).await;
        assert!(got.exit_code() == 0 && got.stderr.is_empty(), "`{command}`: {got:?}");
    }
    // The checks are right for the shell in which it was all typed.
    s.steps(checks).await;
    for way in 0..3 {
        if way == 1 {
            s.settled().await;
        }
        let got = end(&s, way).await;
        assert!(got.exited.not_restored.is_empty(), "way {way}: {got:?} {:?}", got.exited.not_restored);
        assert!(s.get().await.not_restored.is_empty());
        for (command, stdout) in checks {
            let got = s.run(*command).await;
            assert!(
                got.out() == *stdout && got.stderr.is_empty() && got.exit_code() == 0,
                "after end {way}: `{command}` should print {stdout:?}, and did: {got:?}"
            );
        }
    }
    s
}

/// Values in which every byte is one that something could misunderstand.
pub const ODD: &str = r#"it's "$x" `y` \ * ~ ! # % { ; & | < > "#;

async fn exported_variables_with_any_bytes(at: At) {
    let odd = ODD.replace('\'', r"'\''");
    let assign =
        format!("export ODD='{odd}' LINES_='a\n\nb\n' EMPTY= BYTES=\"$(printf '\\001\\002\\033\\177\\377\\303x')\"");
    comes_back(
        at,
        &[&assign, "export NEVER_SET"],
        &[
            ("printf '%s' \"$ODD\"", ODD),
            ("/usr/bin/env printenv ODD LINES_ EMPTY", &format!("{ODD}\na\n\nb\n\n\n")),
            ("printf '%s' \"$BYTES\" | od -An -tx1 | tr -d '\\n'", " 01 02 1b 7f ff c3 78"),
            ("NEVER_SET=now; printenv NEVER_SET; unset NEVER_SET; export NEVER_SET", "now\n"),
        ],
    )
    .await;
}

async fn variables_that_no_program_sees(at: At) {
    let odd = ODD.replace('\'', r"'\''");
    comes_back(
        at,
        &[&format!("ODD='{odd}'; LINES_='a\n\nb\n'; EMPTY=; IFS=:"), "_under=1 AND2=2"],
        &[
            ("printf '%s' \"$ODD\"", ODD),
            ("printf '%s' \"$LINES_|${EMPTY-unset}|$_under$AND2\"", "a\n\nb\n||12"),
            ("printenv ODD || echo unseen", "unseen\n"),
            ("echo \"$IFS\"", ":\n"),
        ],
    )
    .await;
}

async fn readonly_variables(at: At) {
    let set = ["readonly R='1  2'", "export RX=3; readonly RX"];
    let s = comes_back(at, &set, &[("echo \"$R\"; printenv RX", "1  2\n3\n")]).await;
    for change in ["R=2", "RX=2", "unset R"] {
        assert_ne!(s.run(change).await.exit_code(), 0, "`{change}`");
    }
    s.run("echo \"$R $RX\"").await.expect("1  2 3\n", "", 0);
}

async fn attributes_of_variables(at: At) {
    match at.shell {
        Shell::Bash => {
            let checks = [
                ("n=n+1; echo $n; n=5", "6\n"),
                ("u=xyz; echo $u; l=XYZ; echo $l", "XYZ\nxyz\n"),
                ("ref=new; echo $target; ref=old", "new\n"),
                ("echo $late_i $late_u ${late_a[*]}", "08 abc 1+1\n"),
            ];
            let late = "late_i=08; late_u=abc; late_a=(1+1); declare -i late_i; declare -ux late_u; declare -i late_a";
            comes_back(
                at,
                &[late, "declare -i n=5; declare -u u; declare -l l; target=old; declare -n ref=target"],
                &checks,
            )
            .await;
        }
        Shell::Zsh => {
            let checks = [
                ("n=n+1; echo $n; n=5", "6\n"),
                ("u=xyz; echo $u; l=XYZ; echo $l", "XYZ\nxyz\n"),
                ("echo $f; z=7; echo $z; p=(a a b); echo $p", "1.50\n007\na b\n"),
                ("mine=(x y); echo $MINE; mine=(1 2)", "x:y\n"),
                ("path+=(/added); echo ${PATH##*:}; path[-1]=()", "/added\n"),
            ];
            let set = "typeset -i n=5; typeset -u u; typeset -l l; typeset -F2 f=1.5; typeset -Z3 z; typeset -U p; typeset -T MINE mine";
            comes_back(at, &[set], &checks).await;
        }
        // They have no others than those of the tests above.
        Shell::Dash | Shell::Ash => {}
    }
}

async fn arrays(at: At) {
    match at.shell {
        Shell::Bash => {
            let checks = [("printf '<%s>' \"${a[@]}\" \"${!a[@]}\"; echo ${#e[@]}", "<1 2><it's\n><z><0><1><9>0\n")];
            comes_back(at, &["a=('1 2' $'it\\'s\\n' [9]=z); e=()"], &checks).await;
        }
        Shell::Zsh => {
            let checks = [("printf '<%s>' \"${a[@]}\"; echo ${#e}", "<1 2><it's\n><><z>0\n")];
            comes_back(at, &["a=('1 2' $'it\\'s\\n' '' z); e=()"], &checks).await;
        }
        Shell::Dash | Shell::Ash => {}
    }
}

async fn associative_arrays(at: At) {
    if at.shell == Shell::Bash || at.shell == Shell::Zsh {
        let checks = [("printf '<%s>' \"${m[k]}\" \"${m[a b]}\"; echo ${#m[@]}", "<v><x\ny>2\n")];
        comes_back(at, &["typeset -A m; m=([k]=v ['a b']=$'x\\ny')"], &checks).await;
    }
}

/// dash and ash cannot print functions.
pub fn has_functions(at: At) -> bool {
    at.shell == Shell::Bash || at.shell == Shell::Zsh
}

async fn functions(at: At) {
    if !has_functions(at) {
        // They go on without, and their variables come back all the same.
        let s = at.session().await;
        s.run("f() { echo f; }; V=1").await.expect("", "", 0);
        end(&s, 0).await;
        assert_eq!(s.run("f").await.exit_code(), 127);
        s.run("echo $V").await.expect("1\n", "", 0);
        return;
    }
    let set = "f() { local x=1; echo \"f $1 $x\"; return 3; }; g() { f g || echo $?; }; export E=1";
    comes_back(
        at,
        &[set, "h() {\n  # a comment\n  for i in 1 2; do\n    echo $i\n  done\n}"],
        &[("f 1 || echo $?", "f 1 1\n3\n"), ("g; h", "f g 1\n3\n1\n2\n")],
    )
    .await;
    if at.shell == Shell::Bash {
        comes_back(
            at,
            &["f() { echo exported; }; export -f f; g() { :; }; readonly -f g"],
            &[("bash -c f; (g() { :; }) 2>/dev/null || echo kept", "exported\nkept\n")],
        )
        .await;
    }
}

async fn functions_are_never_rewritten_by_aliases(at: At) {
    if !has_functions(at) {
        return;
    }
    comes_back(
        at,
        &[
            "f() { echo f; }; z() { echo z; }; p() { pwd; }",
            "alias f='f -x' z='echo rewritten' pwd='echo ALIASED'; cd /usr",
        ],
        &[("\\z; \\f; p", "z\nf\n/usr\n")],
    )
    .await;
    if at.shell == Shell::Zsh {
        comes_back(
            at,
            &["f() { echo a G }; g() { print it.txt }", "alias -g G='| tr a b'; alias -s txt=echo"],
            &[("f; g", "a G\nit.txt\n")],
        )
        .await;
    }
}

async fn functions_of_any_name_and_body(at: At) {
    if !has_functions(at) {
        return;
    }
    let here = "gen() { cat <<'E'\nit's \"no\" end\n}\nnext () \n{ \nE\n}; next() { echo next; }";
    let odd = "function a-b { echo \"\n}\nfoo () \n{ \"; }; function if { echo keyword; }; function a=b { echo equals; }; printf() { command printf \"$@\"; }";
    comes_back(
        at,
        &[here, odd],
        &[
            ("gen; next", "it's \"no\" end\n}\nnext () \n{ \nnext\n"),
            ("a-b; \\if; \\a=b", "\n}\nfoo () \n{ \nkeyword\nequals\n"),
        ],
    )
    .await;
    // What looks like the next function is a line of a here-document, and a character has a byte that zsh uses itself.
    let looks_alike = "f() { cat <<'E'\n}\ng () \n{ \n漢\nE\n}; g() { echo 漢; }; h() { echo h; }";
    comes_back(at, &[looks_alike], &[("f; g; h", "}\ng () \n{ \n漢\n漢\nh\n")]).await;
    if at.shell == Shell::Bash {
        let set = "shopt -s extglob\next() { case $1 in +(a|b)) echo ext;; !(x)) echo no;; esac; }\nshopt -u extglob";
        comes_back(
            at,
            &[set],
            &[
                ("shopt -s extglob; ext aab; ext y; ext x; shopt -u extglob", "ext\nno\n"),
                ("shopt extglob || :", "extglob        \toff\n"),
            ],
        )
        .await;
    } else {
        let set = "mkdir -p /tmp/fs; echo 'echo loaded $1' >/tmp/fs/stub; fpath=(/tmp/fs); autoload -Uz stub";
        comes_back(
            at,
            &[set, "'a b'() { echo odd }; e() { echo 'a''b' }; setopt rcquotes"],
            &[("stub x; 'a b'; e", "loaded x\nodd\nab\n")],
        )
        .await;
    }
}

/// What a shell lists and none can read costs only itself, and is told.
async fn a_function_that_fails_costs_only_itself(at: At) {
    if at.shell != Shell::Zsh {
        return;
    }
    let s = at.session().await;
    // zsh lists the doubled quotation mark of this one as a single one.
    s.run("setopt rcquotes\nb() { echo 'it''s' }\na() { echo a }; z() { echo z }; V=\"it's\"; alias q=z")
        .await
        .expect("", "", 0);
    let got = end(&s, 0).await;
    assert_eq!(got.exited.not_restored, ["function b"]);
    assert_eq!(s.get().await.not_restored, ["function b"]);
    s.steps(&[("a; z; q; echo $V 'it''s'", "a\nz\nz\nit's it's\n")]).await;
    assert!(end(&s, 0).await.exited.not_restored.is_empty(), "it is told once");
}

async fn aliases_with_any_bytes(at: At) {
    let set =
        "alias g='echo al' q='echo \"it'\\''s\"' two='echo 1\necho 2' sp='echo '; alias -- dash=true 2>/dev/null || :";
    comes_back(at, &[set], &[("g x; q", "al x\nit's\n"), ("two", "1\n2\n"), ("sp g", "echo al\n")]).await;
    let s = at.session().await;
    s.run("alias a=b; unalias a").await;
    end(&s, 0).await;
    assert_ne!(s.run("alias a").await.exit_code(), 0);
    if at.shell == Shell::Zsh {
        comes_back(
            at,
            &["alias -g G='| tr a b'; alias -s txt='echo suffix'; unalias run-help"],
            &[("echo a G", "b\n"), ("x.txt", "suffix x.txt\n"), ("alias run-help || echo gone", "gone\n")],
        )
        .await;
    }
}

async fn options(at: At) {
    let checks = [
        ("case $- in *u*) echo u;; esac; echo old >f; (echo x >f) 2>/dev/null || echo C", "u\nC\n"),
        ("echo /us*", "/us*\n"),
    ];
    let noglob = if at.shell == Shell::Zsh { "set -o noglob" } else { "set -f" };
    // A file that is there cannot be written over, so it is not written a second time either.
    let checks = [
        ("case $- in *u*) echo u;; esac; rm -f f; echo old >f; (echo x >f) 2>/dev/null || echo C", checks[0].1),
        checks[1],
    ];
    comes_back(at, &["set -u; set -C", noglob], &checks).await;
    match at.shell {
        Shell::Bash => {
            let set = "shopt -s extglob nullglob; set -o pipefail; shopt -u sourcepath";
            let checks = [
                (
                    "shopt extglob nullglob sourcepath | tr -s ' \\t' ' ' || :",
                    "extglob on\nnullglob on\nsourcepath off\n",
                ),
                ("set -o | grep pipefail | tr -s ' \\t' ' '", "pipefail on\n"),
            ];
            comes_back(at, &[set], &checks).await;
            comes_back(at, &["set -o posix"], &[("set -o | grep posix | tr -s ' \\t' ' '", "posix on\n")]).await;
        }
        Shell::Zsh => {
            let checks = [("echo ${x[0]}; echo $x; v='a b'; printf '<%s>' $v", "1\n1\n<a><b>"), ("emulate", "zsh\n")];
            comes_back(at, &["x=(1 2); setopt ksharrays shwordsplit extendedglob"], &checks).await;
            comes_back(at, &["emulate sh"], &[("emulate; v='a b'; printf '<%s>' $v", "sh\n<a><b>")]).await;
        }
        Shell::Dash => {}
        Shell::Ash => {
            comes_back(at, &["set -o pipefail"], &[("(false | true) || echo pipefail", "pipefail\n")]).await;
        }
    }
}

async fn errexit_ends_with_its_shell(at: At) {
    let s = at.session().await;
    s.run("V=1; set -e; false").await.expect_shell_exit(1, 0, 2);
    s.run("false; echo on $V").await.expect("on 1\n", "", 0);
}

async fn traps_but_that_of_the_exit(at: At) {
    let set = "trap 'echo \"it'\\''s\n$V\"' USR1; trap '' USR2; V=v; trap 'echo int >/dev/null' INT";
    comes_back(
        at,
        &[set],
        &[("kill -USR1 $$; kill -USR2 $$; echo on", "it's\nv\non\n"), ("trap >traps; grep -c 'echo int' traps", "1\n")],
    )
    .await;
    let s = at.session().await;
    s.run("trap 'echo bye' EXIT").await.expect("", "", 0);
    let got = s.run("exit 4").await;
    assert_eq!(got.out(), "bye\n");
    assert_eq!(s.run("exit 5").await.out(), "", "an EXIT trap has its say once");
    if at.shell == Shell::Bash {
        let s = at.session().await;
        s.run("trap 'echo err' ERR").await.expect("", "", 0);
        s.settled().await;
        end(&s, 1).await;
        assert_eq!(s.run("false; true").await.out(), "err\n");
    }
}

async fn the_umask(at: At) {
    comes_back(at, &["umask 027"], &[("umask | tail -c 4", "027\n")]).await;
}

async fn positional_parameters(at: At) {
    comes_back(
        at,
        &["set -- 'a  b' '' \"it's\n\" -x"],
        &[("echo $#; printf '<%s>' \"$@\"", "4\n<a  b><><it's\n><-x>")],
    )
    .await;
    comes_back(at, &["set -- x; shift"], &[("echo $#", "0\n")]).await;
    comes_back(at, &["set -- ''"], &[("echo $#", "1\n")]).await;
}

async fn names_that_are_no_shell_names(at: At) {
    let sandbox = at.sandbox().await;
    let request = crate::kit::v1::CreateSessionRequest {
        shell: at.shell.path().into(),
        env: [("my.dot".into(), "dotted value".into()), ("plain".into(), "1".into())].into(),
        ..sandbox.ask_session()
    };
    let s = sandbox.open(request).await;
    let before = s.run("/usr/bin/env | grep -a dotted").await;
    // dash and ash give their programs no such names, so there is nothing to come back.
    assert_eq!(
        before.out(),
        if at.shell == Shell::Dash || at.shell == Shell::Ash { "" } else { "my.dot=dotted value\n" }
    );
    s.run("unset plain").await.expect("", "", 0);
    for way in 0..3 {
        if way == 1 {
            s.settled().await;
        }
        end(&s, way).await;
        assert_eq!(s.run("/usr/bin/env | grep -a dotted").await.out(), before.out());
        s.run("echo ${plain-unset}").await.expect("unset\n", "", 0);
    }
}
