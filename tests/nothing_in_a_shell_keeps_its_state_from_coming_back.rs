//! Whatever is set, taken or large in a shell that ends, the next one gets back the rest, and what is missing is told.

use crate::{
    a_new_shell_gets_back_what_the_old_one_had::{ODD, end, has_functions},
    kit::{At, Shell, within},
};

crate::in_every_shell!(
    whatever_options_are_set,
    whatever_names_of_ours_are_taken,
    even_command_and_builtin_may_be_taken,
    what_was_unset_stays_unset,
    a_large_thing_costs_only_itself,
    nothing_is_told_of_a_plain_session,
);

async fn whatever_options_are_set(at: At) {
    let mut settings = vec![
        "set -u",
        "set -f",
        "set -C",
        "set -a",
        "IFS=0123456789/.",
        "IFS=",
        "set -x",
        "set -v",
        "set -e",
        "set -b",
    ];
    match at.shell {
        Shell::Bash => settings.extend([
            "set -o posix",
            "shopt -s failglob",
            "shopt -s extdebug",
            "shopt -u expand_aliases",
            "set -k",
            "set -T",
            "shopt -s xpg_echo",
            "LC_ALL=C",
            "LC_ALL=nonsense",
        ]),
        Shell::Zsh => settings.extend([
            "setopt ksharrays",
            "setopt noglob",
            "emulate sh",
            "emulate ksh",
            "setopt errreturn",
            "setopt noaliases",
            "setopt ignorebraces",
            "setopt shglob kshglob",
            "setopt posixbuiltins",
            "setopt kshoptionprint",
            "setopt rcquotes",
            "setopt cshjunkiequotes",
            "setopt octalzeroes cbases",
            "setopt posixidentifiers",
            "setopt noequals",
            "setopt nomultios",
            "setopt warncreateglobal",
            "setopt typesetsilent",
            "LC_ALL=C",
        ]),
        Shell::Dash | Shell::Ash => {}
    }
    for setting in settings {
        let s = at.session().await;
        let odd = ODD.replace('\'', r"'\''");
        s.run(format!("f() {{ printf f; }}\nexport E='{odd}'; V='a\nb'; alias al='printf al'")).await.expect("", "", 0);
        s.run(setting).await;
        let got = s.run("\\exit 5").await;
        assert!(
            got.exited.shell_exited && got.exited.not_restored.is_empty(),
            "`{setting}`: {:?} {got:?}",
            got.exited.not_restored
        );
        let got = s.run("printf '%s' \"$E|$V\"; alias al >/dev/null && printf '|al'").await;
        assert_eq!(got.out(), format!("{ODD}|a\nb|al"), "`{setting}`: {got:?}");
        if has_functions(at) {
            assert_eq!(s.run("f").await.out(), "f", "`{setting}`");
        }
        s.close().await;
    }
}

async fn whatever_names_of_ours_are_taken(at: At) {
    let names = [
        "printf", "eval", "declare", "typeset", "set", "export", "readonly", "alias", "trap", "umask", "print",
        "emulate", "shopt", "enable", "test", ".", "unalias", "setopt", "shift",
    ];
    for by_function in [false, true] {
        let s = at.session().await;
        s.run("export E=e; V=v").await.expect("", "", 0);
        for name in names {
            let special = ["eval", "export", "readonly", "set", "trap", ".", "shift"].contains(&name);
            match by_function {
                true if special && at.shell != Shell::Bash && at.shell != Shell::Zsh => {}
                true => drop(s.run(format!("function {name} {{ \\echo hijacked {name}; }} 2>/dev/null || {name}() {{ \\echo hijacked {name}; }}")).await),
                // The word that makes aliases comes last.
                false if name == "alias" => {}
                false => drop(s.run(format!("\\alias {name}='\\echo hijacked {name};'")).await),
            }
        }
        if !by_function {
            s.run("\\alias alias='\\echo hijacked alias;'").await;
        }
        for way in [0, 2] {
            if way == 2 {
                s.settled().await;
            }
            let got = end(&s, way).await;
            assert!(
                got.exited.not_restored.is_empty(),
                "by function {by_function}, way {way}: {:?}",
                got.exited.not_restored
            );
            s.run("\\echo $E$V").await.expect("ev\n", "", 0);
            if !by_function {
                let got = s.run("printf x").await;
                assert_eq!(got.out(), "hijacked printf\n", "{got:?}");
            } else if has_functions(at) {
                s.run("printf x; umask").await.expect("hijacked printf\nhijacked umask\n", "", 0);
            }
        }
    }
}

/// The words by which our own lines name built-ins.
async fn even_command_and_builtin_may_be_taken(at: At) {
    for name in ["command", "builtin"] {
        let s = at.session().await;
        s.run(format!("export E=e; V=v; f() {{ \\echo f; }}; {name}() {{ \\echo hijacked; }}")).await.expect("", "", 0);
        s.settled().await;
        let got = s.run("\\kill -9 $$").await;
        assert!(got.exited.shell_exited && got.exited.not_restored.is_empty(), "{name}: {got:?}");
        s.run("\\echo $E$V").await.expect("ev\n", "", 0);
        if has_functions(at) {
            s.run(format!("f; {name} x")).await.expect("f\nhijacked\n", "", 0);
        }
    }
}

async fn what_was_unset_stays_unset(at: At) {
    let s = at.session().await;
    s.run("unset LANG; unset USER; A=1; unset A").await.expect("", "", 0);
    end(&s, 0).await;
    s.run("echo ${LANG-unset} ${A-unset}; printenv USER || echo no").await.expect("unset unset\nno\n", "", 0);
}

async fn a_large_thing_costs_only_itself(at: At) {
    let s = at.session().await;
    s.run("export A=1; a_small=1; z_small=1").await.expect("", "", 0);
    // Five MiB, by doubling: no text that long can be sent.
    let double = "x=0123456789abcdef; i=0; while [ $i -lt 18 ]; do x=$x$x; i=$((i+1)); done; x=$x$x";
    s.run(format!("{double}; m_large=$x; unset x i")).await.expect("", "", 0);
    let got = end(&s, 0).await;
    assert_eq!(got.exited.not_restored, ["variable m_large"]);
    assert_eq!(s.get().await.not_restored, ["variable m_large"]);
    s.run("echo $A$a_small$z_small ${m_large-gone}").await.expect("111 gone\n", "", 0);
    let got = end(&s, 0).await;
    assert!(got.exited.not_restored.is_empty(), "it is told once: {got:?}");
    if has_functions(at) {
        s.run(format!("{double}; a() {{ echo a; }}; z() {{ echo z; }}; eval \"m() {{ echo '$x'; }}\"; unset x i"))
            .await
            .expect("", "", 0);
        let got = end(&s, 0).await;
        assert_eq!(got.exited.not_restored, ["function m"]);
        s.run("a; z; echo $A").await.expect("a\nz\n1\n", "", 0);
        // What programs see has precedence over what they do not.
        s.run("big=$(head -c 3000000 /dev/zero | tr '\\0' x); f=$(head -c 3000000 /dev/zero | tr '\\0' y); eval \"g() { echo '$f'; }\"; unset f").await;
        let got = end(&s, 0).await;
        assert_eq!(got.exited.not_restored, ["variable big"]);
        s.run("g | wc -c").await.expect("3000001\n", "", 0);
    }
}

async fn nothing_is_told_of_a_plain_session(at: At) {
    let s = at.session().await;
    let before = s.run("set; alias; trap; umask").await.out();
    let got = end(&s, 0).await;
    assert!(got.exited.not_restored.is_empty(), "{:?}", got.exited.not_restored);
    // As it was, but for what changes from one shell to another.
    let own = [
        "_",
        "BASHPID",
        "BASH_ARGV",
        "PPID",
        "SHLVL",
        "RANDOM",
        "SECONDS",
        "EPOCH",
        "SRANDOM",
        "LINENO",
        "PIPESTATUS",
        "HISTCMD",
        "TTYIDLE",
        "TTY",
        "status",
        "pipestatus",
        "'?'",
        "'$'",
        "TRY_BLOCK",
        "BASH_LINENO",
    ];
    let known = |text: &str| -> std::collections::BTreeSet<String> {
        text.lines().filter(|line| !own.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
    };
    let after = s.run("set; alias; trap; umask").await.out();
    let (before, after) = (known(&before), known(&after));
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:?}");
    within::within("its end", s.close()).await;
}
