//! Limits and isolation once more, where this machine may differ from its users': in a virtual machine with Debian 12's
//! kernel, cgroup v2 with every controller, and an ext4 disk. It runs this very test program, inside.

use std::{env, path::Path, process::Command};

/// What runs inside, but for what needs a Docker daemon: the modules whose names start so.
const INSIDE: &[&str] = &["limits_hold", "isolation_holds", "an_ordinary_user_can_serve", "sandboxes_come_and_go"];

/// Longest life of the virtual machine, which takes 3 s to boot and is about ten times slower than the machine it runs on.
const TIME_LIMIT_SECONDS: &str = "420";

#[test]
fn the_same_tests_pass_in_a_virtual_machine() {
    let vm = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm");
    let kernel = vm.join("kernel");
    assert!(kernel.exists(), "{} is missing: ./test fetches it", kernel.display());
    let expected = tests_that_run_inside();
    assert!(!expected.is_empty(), "no test matches {INSIDE:?}");

    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    make_disk(&disk);
    let console = boot(&kernel, &disk);

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

fn make_disk(disk: &Path) {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/make-disk"))
        .args([disk, Path::new(env!("CARGO_BIN_EXE_sandshell")), &env::current_exe().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "make-disk failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the machine until it switches itself off, and returns the lines of its serial console.
fn boot(kernel: &Path, disk: &Path) -> Vec<String> {
    let output = Command::new("timeout")
        .args(["--foreground", TIME_LIMIT_SECONDS, "qemu-system-x86_64"])
        .args(
            "-accel tcg -cpu qemu64,+rdrand -m 2048 -smp 2 -nodefaults -serial stdio -display none -no-reboot"
                .split(' '),
        )
        .arg("-kernel")
        .arg(kernel)
        .arg("-drive")
        .arg(format!("if=none,id=disk,format=raw,file={}", disk.display()))
        .args(["-device", "nvme,serial=1,drive=disk", "-append"])
        .arg(format!("console=ttyS0 root=/dev/nvme0n1 rw init=/init quiet panic=-1 tests={}", INSIDE.join(",")))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("qemu-system-x86_64 is missing: ./test installs it");
    let console = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> = console.lines().map(|line| line.trim_end().to_owned()).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    lines.extend(errors.lines().map(|line| format!("qemu: {line}")));
    lines.push(format!("qemu: {}", output.status));
    lines
}
