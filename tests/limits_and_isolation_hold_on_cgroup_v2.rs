//! Limits and isolation once more, where this machine may differ from its users': in a virtual machine with Debian 12's
//! kernel, cgroup v2 with every controller, and an ext4 disk. It runs this very test program, inside.

use crate::kit::{server::spawn_bound_to_us, within::Limit};
use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

/// What runs inside, but for what needs a Docker daemon: the modules whose names start so.
const INSIDE: &[&str] = &[
    "a_directory_removed_by_hand",
    "an_ordinary_user_can_serve",
    "files_may_have_any_owner",
    "files_move_as_on_one_disk",
    "isolation_holds",
    "limits_hold",
    "programs_see_their_limits",
    "sandboxes_come_and_go",
];

/// The machine is given up when its console has said nothing for so long. It takes 3 s to boot and is about ten times
/// slower than the machine that it runs on, and so are the bounds of the tests inside.
const SILENCE: Duration = Duration::from_secs(300);

/// And after this, whatever it says: a little before the test runner would kill this test without a word.
const LONGEST_LIFE: Duration = Duration::from_secs(3300);

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
    let mut machine = Command::new("qemu-system-x86_64");
    machine
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
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut machine = spawn_bound_to_us(machine, None);
    let (say, said) = mpsc::channel();
    read_lines("", machine.stdout.take().expect("its console"), say.clone());
    read_lines("qemu: ", machine.stderr.take().expect("its complaints"), say);

    let began = Instant::now();
    let (mut lines, mut times) = (Vec::new(), Vec::new());
    let why = loop {
        let heard = Instant::now();
        let mut limit = Limit::of(SILENCE);
        let line = loop {
            match said.recv_timeout(limit.left().min(Duration::from_secs(1))) {
                Ok(line) => break Ok(line),
                Err(RecvTimeoutError::Disconnected) => break Err("it ended".to_owned()),
                Err(RecvTimeoutError::Timeout) if limit.is_over() => break Err(format!("it said nothing for {limit}")),
                Err(RecvTimeoutError::Timeout) if began.elapsed() > LONGEST_LIFE => {
                    break Err("it took too long".into());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        match line {
            Ok(line) => {
                times.push((heard.elapsed(), line.clone()));
                lines.push(line);
            }
            Err(why) => break why,
        }
    };
    let _ = machine.kill();
    let status = machine.wait().expect("its end");
    times.sort_unstable_by_key(|(time, _)| std::cmp::Reverse(*time));
    println!("{why} after {:.0?}; what took longest to come:", began.elapsed());
    times.iter().take(12).for_each(|(time, line)| println!("{time:8.1?} {line}"));
    lines.push(format!("qemu: {why}: {status}"));
    lines
}

/// Passes on what comes, line by line.
fn read_lines(prefix: &'static str, from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = format!("{prefix}{}", String::from_utf8_lossy(&line).trim_end());
            if to.send(line).is_err() {
                return;
            }
        }
    });
}
