//! A virtual machine with Debian 12's kernel, cgroup v2 with every controller, and an ext4 disk. `tests/vm/init` is its first program.

use super::{server::spawn_bound_to_us, within::Limit};
use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

/// The machine is given up when its console has said nothing for so long. It takes 3 s to boot and is about ten times
/// slower than the machine that it runs on, and so are the bounds of the tests inside.
const SILENCE: Duration = Duration::from_secs(300);

/// And after this, whatever it says: a little before the test runner would kill the test without a word.
const LONGEST_LIFE: Duration = Duration::from_secs(3300);

fn kernel() -> PathBuf {
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm/kernel");
    assert!(kernel.exists(), "{} is missing: ./test fetches it", kernel.display());
    kernel
}

/// Makes a disk with a small Debian, the product, and this test program.
pub fn make_disk(disk: &Path) {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/make-disk"))
        .args([disk, Path::new(env!("CARGO_BIN_EXE_sandshell")), &env::current_exe().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "make-disk failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A machine that is on.
pub struct Machine {
    process: Child,
    said: mpsc::Receiver<String>,
    began: Instant,
    /// What its console has said, and how long each line took to come.
    lines: Vec<(Duration, String)>,
}

impl Machine {
    /// Switches it on. `order` goes to the command line of its kernel, for `tests/vm/init`.
    pub fn boot(disk: &Path, order: &str) -> Self {
        let mut machine = Command::new("qemu-system-x86_64");
        machine
            .args(
                "-accel tcg -cpu qemu64,+rdrand -m 2048 -smp 2 -nodefaults -serial stdio -display none -no-reboot"
                    .split(' '),
            )
            .arg("-kernel")
            .arg(kernel())
            .arg("-drive")
            .arg(format!("if=none,id=disk,format=raw,file={}", disk.display()))
            .args(["-device", "nvme,serial=1,drive=disk", "-append"])
            .arg(format!("console=ttyS0 root=/dev/nvme0n1 rw init=/init quiet panic=-1 {order}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = spawn_bound_to_us(machine, None);
        let (say, said) = mpsc::channel();
        read_lines("", process.stdout.take().expect("its console"), say.clone());
        read_lines("qemu: ", process.stderr.take().expect("its complaints"), say);
        Self { process, said, began: Instant::now(), lines: Vec::new() }
    }

    /// The next line of its serial console; why there is none, when it has ended or says nothing any more.
    pub fn line(&mut self) -> Result<String, String> {
        let heard = Instant::now();
        let mut limit = Limit::of(SILENCE);
        loop {
            match self.said.recv_timeout(limit.left().min(Duration::from_secs(1))) {
                Ok(line) => {
                    self.lines.push((heard.elapsed(), line.clone()));
                    return Ok(line);
                }
                Err(RecvTimeoutError::Disconnected) => return Err("it ended".to_owned()),
                Err(RecvTimeoutError::Timeout) if limit.is_over() => {
                    return Err(format!("it said nothing for {limit}"));
                }
                Err(RecvTimeoutError::Timeout) if self.began.elapsed() > LONGEST_LIFE => {
                    return Err("it took too long".to_owned());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits until it switches itself off, and returns what its console has said.
    pub fn until_off(mut self) -> Vec<String> {
        let why = loop {
            if let Err(why) = self.line() {
                break why;
            }
        };
        self.cut(&why)
    }

    /// Cuts its power, and returns what its console has said.
    pub fn cut(mut self, why: &str) -> Vec<String> {
        let _ = self.process.kill();
        let status = self.process.wait().expect("its end");
        println!("{why} after {:.0?}; what took longest to come:", self.began.elapsed());
        let mut lines: Vec<_> = self.lines.iter().map(|(_, line)| line.clone()).collect();
        self.lines.sort_unstable_by_key(|(time, _)| std::cmp::Reverse(*time));
        self.lines.iter().take(12).for_each(|(time, line)| println!("{time:8.1?} {line}"));
        lines.push(format!("qemu: {why}: {status}"));
        lines
    }
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
