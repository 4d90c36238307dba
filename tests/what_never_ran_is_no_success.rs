//! The end of a command is what the shell reports of it. When its report is lost, nobody knows whether the command ran, and nobody
//! is told that it succeeded.

use crate::kit::{At, Dice, Shell, within::until};
use sandshell::api::v1::exited::Reason;

crate::in_every_shell!(
    a_program_that_reads_our_lines_makes_no_command_succeed,
    a_program_that_takes_the_report_makes_no_command_succeed,
    an_interrupt_from_inside_is_an_interrupt,
    a_shell_that_has_just_ended_makes_no_command_succeed,
);

async fn a_program_that_reads_our_lines_makes_no_command_succeed(at: At) {
    let s = at.session().await;
    s.run("exec 3</proc/self/fd/0; cat /proc/$$/fd/0 >/dev/null & :").await;
    let mut lost = 0;
    for number in 0..6 {
        let got = s.run(format!("echo ran >>/tmp/log; echo out-{number}; (exit 7)")).await;
        if got.reason() == Reason::ShellExited {
            // The shell was replaced, and with it the pipe that the program reads.
            assert!(got.exited.shell_exited && got.exit_code() == 137 && got.exited.signal == 9, "{got:?}");
            lost += 1;
        } else {
            assert_eq!((got.out(), got.exit_code()), (format!("out-{number}\n"), 7), "{got:?}");
        }
    }
    assert!(lost <= 1, "{lost} commands were lost, and one is enough to notice");
    s.alive().await;
    assert_eq!(s.get().await.generation, 1 + i64::from(lost));
}

async fn a_program_that_takes_the_report_makes_no_command_succeed(at: At) {
    let s = at.session().await;
    // Not all shells read a line at a time; whoever reads the report line alone takes just that.
    let got = s.run("head -c 1000 /proc/$$/fd/0 >/dev/null & echo here; exec 9<&0; (exit 7)").await;
    if got.reason() == Reason::ShellExited {
        assert_eq!((got.exit_code(), got.exited.generation), (137, 2), "{got:?}");
    } else {
        assert_eq!(got.exit_code(), 7, "{got:?}");
    }
    // It may still wait for lines, and have taken a part of one.
    let end = "for p in /proc/[0-9]*; do if [ \"$(cat $p/comm)\" = head ]; then kill -9 ${p#/proc/}; fi; done 2>/dev/null; true";
    s.sandbox.run(end).await;
    s.run("true").await;
    s.alive().await;
}

async fn an_interrupt_from_inside_is_an_interrupt(at: At) {
    let s = at.session().await;
    s.run("A=kept").await.expect("", "", 0);
    for _ in 0..3 {
        let got = s.run("echo before; kill -INT $$; sleep 0.1; echo after").await;
        assert_eq!((got.out().as_str(), got.exit_code()), ("before\n", 130), "{got:?}");
        assert!(!got.exited.shell_exited, "the shell has lost nothing: {got:?}");
        s.run("echo $A").await.expect("kept\n", "", 0);
    }
}

/// Its end may come before the next command, while that is given to it, and while it runs.
async fn a_shell_that_has_just_ended_makes_no_command_succeed(at: At) {
    let s = at.session().await;
    let mut dice = Dice::new();
    for round in 0..20 {
        // bash ends by itself a moment after this, because it has no terminal to edit a line on.
        let ends_late = if at.shell == Shell::Bash && round % 2 == 0 { "set -o vi; set +o vi; " } else { "" };
        let delay = dice.below(20);
        s.run(format!("(sleep 0.0{delay:02}; kill -9 $$) >/dev/null 2>&1 & {ends_late}echo in")).await;
        for command in 0..3 {
            let word = format!("{round}-{command}");
            let got = s.run(format!("echo {word}")).await;
            let ran = got.out() == format!("{word}\n");
            // A shell that ends of itself may have read the command, and ends as it likes.
            let may_be_its_own = got.exited.shell_exited && !ends_late.is_empty();
            assert!(
                ran || got.exit_code() != 0 || may_be_its_own,
                "{word} has not run, and that is a success: {got:?}"
            );
            assert!(!got.err().contains("os error"), "{got:?}");
        }
    }
    // The last of them may come only now.
    until("the end of the kills", async || s.run("sleep 0.1; echo alive").await.exit_code() == 0).await;
    s.alive().await;
}
