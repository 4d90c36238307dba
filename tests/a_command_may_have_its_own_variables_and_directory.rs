//! `env` and `working_directory` of one command in a session: the command has them, and the session has afterwards what it had
//! before.

use crate::kit::{At, Session, Shell, errors::expect_bad_fields, v1};
use prost_types::Duration;
use v1::{ExecStart, exited::Reason};

crate::in_every_shell!(
    the_command_has_them_and_the_session_gets_back_what_it_had,
    a_relative_directory_begins_where_the_session_is,
    however_the_command_ends,
    a_shell_that_ended_is_followed_by_one_that_has_what_was_before,
    what_cannot_be_given_is_said_and_nothing_runs,
    any_text_is_a_value,
    options_and_traces_of_the_user_change_nothing,
);

/// Prints what the session has of `A` (unset), `B` (set), `C` (exported), and where it is.
const SHOW: &str =
    "echo \"${A-unset} $B $C\"; sh -c 'echo \"${A-unset} ${B-unset} ${C-unset}\"'; pwd; echo \"$OLDPWD\"";
const SHOWN: &str = "unset b c\nunset unset c\n/usr/share\n/usr\n";

async fn prepared(at: At) -> Session {
    let s = at.session().await;
    s.run("mkdir /tmp/here; unset A; B=b; export C=c; cd /usr; cd /usr/share").await.expect("", "", 0);
    s.run(SHOW).await.expect(SHOWN, "", 0);
    s
}

fn own(s: &Session, command: &str) -> ExecStart {
    let env = [("A", "1"), ("B", "2"), ("C", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    ExecStart { env: env.into(), working_directory: "/tmp/here".into(), ..s.start(command) }
}

async fn the_command_has_them_and_the_session_gets_back_what_it_had(at: At) {
    let s = prepared(at).await;
    let got = s.run_start(own(&s, "echo $A$B$C; sh -c 'echo $A$B$C'; pwd; D=4; (exit 3)"), b"").await;
    got.expect("123\n123\n/tmp/here\n", "", 3);
    assert_eq!(got.exited.working_directory, "/usr/share");
    s.run("echo $?$D").await.expect("34\n", "", 0);
    s.run(SHOW).await.expect(SHOWN, "", 0);
    // Whatever the command does with them.
    let commands = [
        "unset A B C; cd /; cd /var",
        "A=x; B=y; C=z; export A B; cd /tmp",
        "export A=; unset C; OLDPWD=nowhere",
        "cd ..; rmdir here; mkdir here",
    ];
    for command in commands {
        s.run_start(own(&s, command), b"").await.expect("", "", 0);
        s.run(SHOW).await.expect(SHOWN, "", 0);
    }
    // Only one of both.
    let start = ExecStart { env: [("A".to_owned(), "x".to_owned())].into(), ..s.start("cd /usr; echo $A") };
    let got = s.run_start(start, b"").await;
    got.expect("x\n", "", 0);
    assert_eq!(got.exited.working_directory, "/usr");
    let start = ExecStart { working_directory: "/tmp".into(), ..s.start("A=kept; pwd") };
    s.run_start(start, b"").await.expect("/tmp\n", "", 0);
    s.run("echo $A; pwd").await.expect("kept\n/usr\n", "", 0);
}

async fn a_relative_directory_begins_where_the_session_is(at: At) {
    let s = at.session().await;
    s.run("mkdir -p /tmp/a/-x /tmp/b/here /tmp/a/here; cd /tmp; CDPATH=/tmp/b; cd /tmp/a").await.expect("", "", 0);
    for (asked, place) in [("here", "/tmp/a/here"), ("-x", "/tmp/a/-x"), ("..", "/tmp"), ("-", "")] {
        let got = s.run_start(ExecStart { working_directory: asked.into(), ..s.start("pwd -P") }, b"").await;
        let code = if place.is_empty() { 126 } else { 0 };
        assert_eq!((got.out().trim(), got.exit_code()), (place, code), "{asked}: {got:?}");
        s.run("pwd").await.expect("/tmp/a\n", "", 0);
    }
    // Where it is when the command's turn comes, and not when it is sent.
    let first = s.exec(ExecStart { stdin: true, ..s.start("read line; cd /tmp/b") }).await;
    let second = s.exec(ExecStart { working_directory: "here".into(), ..s.start("pwd -P") }).await;
    first.stdin("go\n").await;
    first.finish().await.expect("", "", 0);
    second.finish().await.expect("/tmp/b/here\n", "", 0);
    // As another user, too.
    let user = "nobody".to_owned();
    let start = ExecStart { working_directory: "here".into(), user, ..s.start("pwd -P; id -un") };
    s.run_start(start, b"").await.expect("/tmp/b/here\nnobody\n", "", 0);
}

async fn however_the_command_ends(at: At) {
    let s = prepared(at).await;
    s.run_start(own(&s, "nosuch 2>/dev/null"), b"").await.expect("", "", 127);
    s.run(SHOW).await.expect(SHOWN, "", 0);
    let got = s.run_start(own(&s, "if then"), b"").await;
    assert_ne!(got.exit_code(), 0, "{got:?}");
    s.run(SHOW).await.expect(SHOWN, "", 0);
    let timeout = Some(Duration { seconds: 0, nanos: 300_000_000 });
    let got = s.run_start(ExecStart { timeout, ..own(&s, "cd /; sleep 1000; echo no") }, b"").await;
    assert_eq!(got.reason(), Reason::TimedOut, "{got:?}");
    s.run(SHOW).await.expect(SHOWN, "", 0);
    let mut running = s.exec(own(&s, "cd /; echo up; sleep 1000; echo no")).await;
    running.until_out("up\n").await;
    running.signal(libc::SIGINT).await;
    let got = running.finish().await;
    assert_eq!((got.exit_code(), got.out().as_str()), (130, "up\n"), "{got:?}");
    s.run(SHOW).await.expect(SHOWN, "", 0);
}

async fn a_shell_that_ended_is_followed_by_one_that_has_what_was_before(at: At) {
    for (n, end) in ["exit 3", "set -e; cd /; false", "exec true", "kill -9 $$"].into_iter().enumerate() {
        let s = prepared(at).await;
        // A shell saves its state when it has been idle for a while, or at its end.
        s.run("export B=b").await.expect("", "", 0);
        let got = s.run_start(own(&s, &format!("cd /var; {end}")), b"").await;
        assert!(got.exited.shell_exited && got.exited.generation == 2, "{end}: {got:?}");
        assert_eq!(got.exited.working_directory, "/usr/share", "{end}");
        let shown = s.run("echo \"${A-unset}\"; pwd").await;
        shown.expect("unset\n/usr/share\n", "", 0);
        if n < 2 {
            s.run("echo $B $C").await.expect("b c\n", "", 0);
        }
    }
}

async fn what_cannot_be_given_is_said_and_nothing_runs(at: At) {
    let s = prepared(at).await;
    let start = ExecStart { working_directory: "/tmp/nosuch".into(), ..own(&s, "echo ran") };
    let got = s.run_start(start, b"").await;
    assert!(got.stdout.is_empty() && got.exit_code() == 126 && got.err().contains("/tmp/nosuch"), "{got:?}");
    s.run(SHOW).await.expect(SHOWN, "", 0);
    s.run("readonly C").await.expect("", "", 0);
    let got = s.run_start(own(&s, "echo ran"), b"").await;
    assert!(got.stdout.is_empty() && got.exit_code() == 126 && got.err().contains("readonly"), "{got:?}");
    s.run(SHOW).await.expect(SHOWN, "", 0);
    if at.shell == Shell::Zsh {
        let env = [("UID".to_owned(), "1000".to_owned())].into();
        let got = s.run_start(ExecStart { env, ..s.start("echo ran") }, b"").await;
        assert!(got.stdout.is_empty() && got.exit_code() == 126 && got.err().contains("UID"), "{got:?}");
        s.run("echo $UID").await.expect("0\n", "", 0);
    }
    let env = ["1A", "my.dot", "SANDSHELL_X"].map(|name| (name.to_owned(), String::new())).into();
    let refused = s.refused(ExecStart { env, working_directory: "a\0b".into(), ..s.start("echo ran") }).await;
    let fields =
        ["start.env[\"1A\"]", "start.env[\"SANDSHELL_X\"]", "start.env[\"my.dot\"]", "start.working_directory"];
    expect_bad_fields(&refused, &fields);
}

async fn any_text_is_a_value(at: At) {
    let s = at.session().await;
    let texts = ["it's\n$HOME `x` \"q\" \\ \u{e9}", "", " a  b ", "x\nexport A='y'\n", "~", "=ls", "a=(1 2)"];
    s.run("mkdir -p \"/tmp/it's a \\\\ dir\"").await.expect("", "", 0);
    for old in texts {
        let quoted = format!("'{}'", old.replace('\'', "'\\''"));
        for set in [format!("A={quoted}"), format!("export A={quoted}")] {
            s.run(set).await.expect("", "", 0);
            for new in texts {
                let env = [("A".to_owned(), new.to_owned())].into();
                let working_directory = "/tmp/it's a \\ dir".to_owned();
                let start = ExecStart { env, working_directory, ..s.start("printf %s \"$A\"; pwd; A=other") };
                s.run_start(start, b"").await.expect(format!("{new}/tmp/it's a \\ dir\n"), "", 0);
                s.run("printf %s \"$A\"").await.expect(old, "", 0);
            }
        }
        s.run("unset A").await.expect("", "", 0);
    }
    match at.shell {
        Shell::Bash => {
            s.run("A=(1 2); declare -i B=4; declare -A C=([x]=y)").await.expect("", "", 0);
            s.run_start(own(&s, "echo $A $B $C"), b"").await;
            let env = [("A", "t"), ("B", "u"), ("C", "v")].map(|(name, value)| (name.to_owned(), value.to_owned()));
            s.run_start(ExecStart { env: env.into(), ..s.start("echo $A $B $C") }, b"").await.expect("t u v\n", "", 0);
            s.run("B=B+1; echo ${A[1]} $B ${C[x]}").await.expect("2 5 y\n", "", 0);
        }
        Shell::Zsh => {
            s.run("A=(1 2); typeset -i B=4; typeset -A C=(x y); P=$PATH").await.expect("", "", 0);
            let env = [("A", "t"), ("B", "u"), ("C", "v"), ("PATH", "/bin:/usr/bin")];
            let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let start = ExecStart { env, ..s.start("echo $A $B $C $path[2]; sh -c 'echo $PATH'") };
            s.run_start(start, b"").await.expect("t u v /usr/bin\n/bin:/usr/bin\n", "", 0);
            s.run("B=B+1; echo ${A[2]} $B ${C[x]}; [ $PATH = $P ] && sh -c 'echo ${PATH:+path}'").await.expect(
                "2 5 y\npath\n",
                "",
                0,
            );
        }
        Shell::Dash | Shell::Ash => {}
    }
}

async fn options_and_traces_of_the_user_change_nothing(at: At) {
    let s = prepared(at).await;
    let start = ExecStart { working_directory: "/tmp/here".into(), ..own(&s, "set -x") };
    s.run_start(start, b"").await;
    let got = s.run_start(own(&s, "echo $A"), b"").await;
    assert!(got.stdout == b"1\n" && !got.err().contains("export"), "{got:?}");
    s.run("set +x; set -f -u -C").await;
    s.run_start(own(&s, "echo $A"), b"").await.expect("1\n", "", 0);
    s.run(SHOW).await.expect(SHOWN, "", 0);
    s.run("set +f +u +C; set -e").await.expect("", "", 0);
    s.run_start(own(&s, "echo $A"), b"").await.expect("1\n", "", 0);
    s.run(SHOW).await.expect(SHOWN, "", 0);
    let nowhere = ExecStart { working_directory: "/tmp/nosuch".into(), ..own(&s, "echo ran") };
    assert_eq!(s.run_start(nowhere, b"").await.exit_code(), 126);
    assert_eq!(s.get().await.generation, 1);
    s.run("set +e; alias cd='echo caught' export='echo caught' unset='echo caught'; cdpath=/; CDPATH=/").await;
    s.run_start(own(&s, "echo $A"), b"").await.expect("1\n", "", 0);
    s.run(SHOW).await.expect(SHOWN, "", 0);
    if at.shell == Shell::Zsh {
        s.run("chpwd() { echo caught; }; setopt autopushd cdsilent").await;
        s.run_start(own(&s, "dirs"), b"").await;
        s.run("dirs; pwd").await.expect("/usr/share\n/usr/share\n", "", 0);
    }
}
