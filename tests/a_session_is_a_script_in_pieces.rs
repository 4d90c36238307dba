//! Commands given one after another do what the same lines do in one script: random scripts, tried both ways.

use crate::kit::{At, Dice, Shell, v1::ExecStart};

crate::in_every_shell!(random_scripts);

/// Pieces that print, change and fail, in every combination harmless.
const PIECES: &[&str] = &[
    "x=$((x + 1)); echo x=$x",
    "export x; sh -c 'echo sub=$x'",
    "unset x",
    "cd /usr && pwd",
    "cd /tmp; pwd",
    "cd - >/dev/null; pwd",
    "cd /nope 2>/dev/null",
    "(cd /; pwd); pwd",
    "f() { echo f:$1:$x; return 3; }",
    "f one 2>/dev/null",
    "f two 2>/dev/null || echo failed=$?",
    "f() { x=7; echo redefined; }",
    "unset -f f 2>/dev/null; true",
    "set -- a 'b c' d",
    "echo $#:$1:$2",
    "[ $# -gt 0 ] && shift; echo left=$#",
    "for i in 1 2 3; do [ $i = 2 ] && continue; echo i=$i; done",
    "while read line; do echo \"[$line]\"; done <<E\n one\ntwo \\\nthree\nE",
    "cat <<'E'\n$x `y` \\\nE",
    "cat <<E\n$x $(echo in)\nE",
    "echo hi | tr a-z A-Z | sed s/H/J/",
    "true | false",
    "false | true",
    "false",
    "echo last=$?",
    "! true",
    "(exit 7)",
    "sh -c 'exit 9'",
    "echo $(false) $?",
    "y=$(exit 5); echo $?",
    "case $x in 1) echo one ;; '') echo empty ;; *) echo other ;; esac",
    "if [ -n \"$x\" ]; then echo set; else echo unset; fi",
    "umask 027; umask | tail -c 3",
    "umask 022; umask | tail -c 3",
    "exec 5>/tmp/five; echo to5 >&5; exec 5>&-; cat /tmp/five",
    // In zsh a command that only redirects has the status of the last command substitution.
    "exec 6<<E\nfrom six\nE\nread l <&6; exec 6<&-; echo $l",
    "IFS=:; set -- $(echo a:b:c); echo $#; unset IFS",
    "z='a  b'; echo $z; echo \"$z\"",
    "echo \"tab\tand $((0x10)) ${x:-none} ${#x}\"",
    "eval 'echo eval $x; false'",
    "eval \"g() { echo g; }\"; g",
    "trap 'echo trapped' USR1; kill -USR1 $$; trap - USR1",
    "sleep 0.01 & wait $!; echo waited=$?",
    "sh -c 'exit 4' & wait $!; echo waited=$?",
    "printf '%s|' a b 'c d'; printf '\\n'",
    "printf 'no newline'",
    "echo err >&2; echo out",
    "{ echo group; false; }",
    "set -f; echo * | head -c 1; set +f; echo",
    "echo one; # comment\necho two",
    "echo a\\\nb",
    "test -t 0 || echo no terminal",
    "type cd >/dev/null && echo typed",
    "command -v f >/dev/null; echo known=$?",
    ": ${w:=default}; echo $w",
    "echo ${x%1} ${x#1}",
    "until true; do :; done; echo until",
    "break 2>/dev/null; echo unbroken",
    "alias ll='echo aliased'",
];

async fn random_scripts(at: At) {
    let sandbox = at.sandbox().await;
    let mut dice = Dice::new();
    // zsh: no word splitting, other options behind the same letters.
    let differs = |piece: &str| {
        at.shell == Shell::Zsh && ["set -f", "IFS", "break", "$z"].iter().any(|word| piece.contains(word))
    };
    for round in 0..12 {
        let pieces: Vec<_> = std::iter::repeat_with(|| PIECES[dice.below(PIECES.len() as u64) as usize])
            .filter(|piece| !differs(piece))
            .take(25)
            .collect();
        // The whole: a script that says after each piece how it ended, and hands the status on.
        let tell = |n: usize| format!("(s=$?; echo \"<{n}:$s>\"; exit $s)\n");
        let script: String = pieces.iter().enumerate().map(|(n, piece)| format!("{piece}\n{}", tell(n))).collect();
        let path = format!("/tmp/script{round}");
        let save = ExecStart { stdin: true, ..sandbox.start(format!("cat >{path}")) };
        sandbox
            .session("")
            .await
            .run_start(ExecStart { target: save.target, ..save }, script.as_bytes())
            .await
            .expect("", "", 0);
        let shell = if at.shell == Shell::Ash { "/bin/busybox ash" } else { at.shell.path() };
        let whole = sandbox.run(&format!("cd /workspace; {shell} {path} 2>/dev/null")).await;

        // The pieces, in a session.
        let s = sandbox.session(at.shell.path()).await;
        let mut out = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let got = s.run(*piece).await;
            assert!(!got.exited.shell_exited, "round {round}, `{piece}`: {got:?}");
            out.extend_from_slice(&got.stdout);
            out.extend_from_slice(format!("<{n}:{}>\n", got.exit_code()).as_bytes());
        }
        s.close().await;
        let (one, other) = (String::from_utf8_lossy(&whole.stdout), String::from_utf8_lossy(&out));
        if one != other {
            let at = one.lines().zip(other.lines()).take_while(|(a, b)| a == b).count();
            let from = |text: &str| text.lines().skip(at.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n");
            panic!("round {round}: as a script\n{}\nin pieces\n{}\nof\n{script}", from(&one), from(&other));
        }
    }
}
