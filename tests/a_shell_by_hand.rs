//! `sandshell shell` on a terminal feels like a shell.

use crate::kit::{shared, terminal::Terminal};

#[test]
fn a_person_can_work_in_it() {
    let mut t = Terminal::start(&["shell"], 30, 100);
    t.wait_for("# ");
    assert!(!t.is_cooked(), "every key goes to the shell inside");
    t.type_keys("echo $((40 + 2))\r");
    t.wait_for("42\r\n");
    t.type_keys("stty size\r");
    t.wait_for("30 100");
    t.resize(50, 132);
    // The new size arrives by a signal, some time.
    t.type_keys("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; echo new $((1 + 1)) size\r");
    t.wait_for("new 2 size\r\n");
    t.wait_for("# ");
    t.type_keys("sh -c 'echo go$((1 + 1)); exec sleep 1000'; echo no\r");
    t.wait_for("go2\r\n");
    t.type_keys("\x03");
    t.wait_for("^C");
    t.wait_for("# ");
    t.type_keys("echo code $?\r");
    t.wait_for("code 130\r\n");
    t.type_keys("cd /usr\r");
    t.type_keys("echo in $(pwd)\r");
    t.wait_for("in /usr\r\n");
    t.type_keys("exit 7\r");
    assert_eq!(t.wait().code(), Some(7));
    assert!(t.is_cooked(), "the terminal is as it was");
}

#[test]
fn job_control_works_in_it() {
    let mut t = Terminal::start(&["shell", "--server", &shared().url(), "--shell", "bash"], 24, 80);
    t.wait_for("# ");
    // In a subshell, because dash starts a plain command by vfork: one stopped before its exec keeps dash from stopping.
    t.type_keys("sh -c 'trap \"echo ba''ck\" CONT; echo u''p; while :; do (sleep 0.05); done'\r");
    t.wait_for("up\r\n");
    t.type_keys("\x1a");
    t.wait_for("Stopped");
    t.wait_for("# ");
    t.type_keys("jobs\r");
    t.wait_for("sleep 0.05");
    t.wait_for("# ");
    t.type_keys("fg\r");
    // bash names the job before it has the terminal.
    t.wait_for("back\r\n");
    t.type_keys("\x03");
    t.wait_for("# ");
    t.type_keys("exit 4\r");
    assert_eq!(t.wait().code(), Some(4));
    assert!(t.is_cooked(), "the terminal is as it was");
}

#[test]
fn the_end_of_input_ends_it() {
    let mut t = Terminal::start(&["shell", "--server", &shared().url()], 24, 80);
    t.wait_for("# ");
    t.type_keys("(exit 3)\r");
    t.wait_for("# ");
    t.type_keys("\x04");
    assert_eq!(t.wait().code(), Some(3));
    assert!(t.is_cooked(), "the terminal is as it was");
}

#[test]
fn an_error_leaves_the_terminal_as_it_was() {
    let mut t = Terminal::start(&["shell", "--server", "http://127.0.0.1:1"], 24, 80);
    t.wait_for("127.0.0.1:1");
    assert!(!t.wait().success());
    assert!(t.is_cooked(), "the terminal is as it was");
}
