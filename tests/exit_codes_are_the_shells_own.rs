//! The exit code is the shell's `$?`, whatever the way that a command ends.

use crate::kit::{At, v1::exited::Reason};

crate::in_every_shell!(codes, a_stopped_program_hangs_nothing, an_end_says_how_long_it_took);

async fn codes(at: At) {
    let s = at.session().await;
    for (command, code) in [
        ("true", 0),
        ("false", 1),
        ("sh -c 'exit 7'", 7),
        ("(exit 5)", 5),
        ("sh -c 'exit 255'", 255),
        ("sh -c 'kill -9 $$'", 137),
        ("sh -c 'kill -15 $$'", 143),
        ("sh -c 'kill -11 $$'", 139),
        ("! true", 1),
        ("true | sh -c 'exit 3'", 3),
        ("sh -c 'exit 3' | true", 0),
        ("false || sh -c 'exit 4'", 4),
        ("true && false", 1),
        ("test 1 = 2", 1),
        ("f() { return 9; }; f", 9),
        ("eval 'exit_with() { return 8; }'; exit_with", 8),
    ] {
        let got = s.run(command).await;
        assert_eq!((got.exit_code(), got.reason()), (code, Reason::Exited), "`{command}`: {got:?}");
        assert!(!got.exited.shell_exited && got.exited.signal == 0, "`{command}`: {got:?}");
        assert!(got.stdout.is_empty(), "`{command}`: {got:?}");
        assert_eq!(got.exited.generation, 1);
    }
    let got = s.run("nosuch").await;
    assert_eq!(got.exit_code(), 127);
    assert!(got.err().contains("nosuch"), "{got:?}");
}

async fn a_stopped_program_hangs_nothing(at: At) {
    let s = at.session().await;
    let got = s.run("sh -c 'kill -STOP $$'").await;
    assert!(got.exit_code() > 128 && !got.exited.shell_exited, "{got:?}");
    s.alive().await;
    let jobs = s.run("jobs").await.out().to_lowercase();
    assert!(jobs.contains("stopped") || jobs.contains("suspended"), "`jobs` shows {jobs:?}");
    let got = s.run("fg >/dev/null").await;
    assert!(!got.exited.shell_exited, "{got:?}");
    s.alive().await;
    let jobs = s.run("jobs").await.out();
    assert_eq!(jobs, "", "`fg` let it go on to its end");
}

async fn an_end_says_how_long_it_took(at: At) {
    let s = at.session().await;
    let got = s.run("sleep 0.3").await;
    let took = got.exited.duration.expect("a duration");
    let seconds = took.seconds as f64 + f64::from(took.nanos) / 1e9;
    assert!((0.29..20.0).contains(&seconds), "`sleep 0.3` took {seconds} s");
}
