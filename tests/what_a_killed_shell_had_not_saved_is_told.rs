//! A shell that is killed before it could save its state comes back as it was before, and its session says so.

use crate::kit::{At, v1::ExecStart};

crate::in_every_shell!(changes_of_earlier_commands_are_told, what_was_saved_is_not_told);

async fn changes_of_earlier_commands_are_told(at: At) {
    let s = at.session().await;
    s.run("export A=old").await.expect("", "", 0);
    s.settled().await;
    // Those that wait follow each other at once, so that the shell is never idle between them.
    let blocker = s.exec(ExecStart { stdin: true, ..s.start("cat") }).await;
    let change = s.exec_text("export A=new; cd /usr").await;
    let kill = s.exec_text("kill -9 $$").await;
    blocker.close_stdin().await;
    blocker.finish().await.expect("", "", 0);
    change.finish().await.expect("", "", 0);
    let got = kill.finish().await;
    got.expect_shell_exit(137, 9, 2);
    assert_eq!(got.exited.not_restored, ["changes of the last 3 commands"]);
    assert_eq!(s.get().await.not_restored, got.exited.not_restored);
    s.run("echo $A; pwd").await.expect("old\n/usr\n", "", 0);
    // It is told once.
    let got = s.run("exit 3").await;
    assert!(got.exited.shell_exited && got.exited.not_restored.is_empty(), "{:?}", got.exited.not_restored);
}

async fn what_was_saved_is_not_told(at: At) {
    let s = at.session().await;
    s.run("export A=1").await.expect("", "", 0);
    s.settled().await;
    for command in ["kill -9 $$", "exec true", "exit 0"] {
        let got = s.run(command).await;
        assert!(got.exited.shell_exited && got.exited.not_restored.is_empty(), "`{command}`: {got:?}");
    }
    s.run("echo $A").await.expect("1\n", "", 0);
    // A shell that ends by itself saves its state then, however short it has lived.
    s.run("export A=2").await.expect("", "", 0);
    let got = s.run("exit 0").await;
    assert!(got.exited.shell_exited && got.exited.not_restored.is_empty(), "{got:?}");
    s.run("echo $A").await.expect("2\n", "", 0);
}
