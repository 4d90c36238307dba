//! Limits and isolation once more, where this machine may differ from its users': in a virtual machine with Debian 12's
//! kernel, cgroup v2 with every controller, and an ext4 disk. It runs this very test program, inside.

use crate::kit::vm::{Machine, make_disk};
use std::{env, process::Command};

/// What runs inside, but for what needs a Docker daemon: the modules whose names start so.
const INSIDE: &[&str] = &[
    "a_directory_removed_by_hand",
    "a_sandbox_cannot_fill_the_disk",
    "an_ordinary_user_can_serve",
    "files_may_have_any_owner",
    "files_move_as_on_one_disk",
    "isolation_holds",
    "limits_hold",
    "nothing_leads_past_a_disk_limit",
    "programs_see_their_limits",
    "sandboxes_come_and_go",
    "volumes_keep_to_their_bounds",
];

#[test]
fn the_same_tests_pass_in_a_virtual_machine() {
    let expected = tests_that_run_inside();
    assert!(!expected.is_empty(), "no test matches {INSIDE:?}");

    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    make_disk(&disk);
    let console = Machine::boot(&disk, &format!("tests={}", INSIDE.join(","))).until_off();

    let tail = || console[console.len().saturating_sub(200)..].join("\n");
    let told = |prefix: &str| {
        let line = console.iter().find_map(|line| line.strip_prefix(prefix));
        line.unwrap_or_else(|| panic!("the machine never said {prefix:?}. Its console:\n{}", tail()))
    };
    assert!(told("vm: kernel ").starts_with("6.1."), "{}", told("vm: kernel "));
    for controller in ["memory", "cpu", "pids"] {
        assert!(told("vm: controllers ").split(' ').any(|c| c == controller), "{}", told("vm: controllers "));
    }
    assert_eq!(told("vm: ended "), "0", "a test failed inside. The console:\n{}", tail());
    for name in &expected {
        assert!(console.contains(&format!("test {name} ... ok")), "{name} did not pass inside:\n{}", tail());
    }
}

fn tests_that_run_inside() -> Vec<String> {
    let mut this = Command::new(env::current_exe().unwrap());
    this.args(INSIDE).args(["--skip", "::docker::", "--list", "--format", "terse"]);
    let list = String::from_utf8(this.output().unwrap().stdout).unwrap();
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}
