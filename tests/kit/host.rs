//! What the host knows of processes, memory and mounts. Tests run as root and look from outside.

use std::{fs, path::Path};

/// Sends a signal to a process of ours.
pub fn signal(pid: u32, number: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32)
        && let Some(number) = rustix::process::Signal::from_named_raw(number)
    {
        let _ = rustix::process::kill_process(pid, number);
    }
}

/// Makes a FIFO.
pub fn fifo(path: &str) {
    make_node(path, rustix::fs::FileType::Fifo, 0);
}

/// Makes a character device.
pub fn device(path: &str, major: u32, minor: u32) {
    make_node(path, rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(major, minor));
}

fn make_node(path: &str, kind: rustix::fs::FileType, device: u64) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device).expect("a node; tests run as root");
}

/// Whether a process lives (a zombie does not).
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count()
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |threads| threads.count())
}

/// Lets a process have so many descriptors; `None`: as many as it ever may.
pub fn limit_descriptors(pid: u32, limit: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = Pid::from_raw(pid as i32);
    // Its hard limit stays: not even root may raise one everywhere.
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.unwrap())).expect("its limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit of files");
    let most = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    let new = Rlimit { current: Some(limit.unwrap_or(most)), maximum: Some(most) };
    prlimit(pid, Resource::Nofile, new).expect("a new limit");
}

/// Gives a process the scheduling class that gets what nobody else wants.
pub fn schedule_last(pid: u32) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel only reads the parameters, which outlive the call.
    let done = unsafe { libc::sched_setscheduler(pid as i32, libc::SCHED_IDLE, &parameters) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// All processes.
pub fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// A process's arguments, separated by spaces.
pub fn arguments(pid: u32) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ").trim_end().to_owned()
}

/// Live processes whose arguments have this text in them.
pub fn with_argument(text: &str) -> Vec<u32> {
    pids().into_iter().filter(|pid| arguments(*pid).contains(text) && lives(*pid)).collect()
}

/// How many files without a name, made in this directory of a sandbox, any process has open.
pub fn unnamed_files_in(directory: &str) -> usize {
    let descriptors = |pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let files = pids().into_iter().flat_map(descriptors).filter_map(|entry| fs::read_link(entry.path()).ok());
    let is_one = |file: &std::path::PathBuf| {
        let text = file.to_string_lossy();
        text.strip_prefix(directory).is_some_and(|rest| rest.starts_with("/#")) && text.ends_with(" (deleted)")
    };
    files.filter(is_one).count()
}

/// Memory of a process that is its own, in bytes: anonymous and shared memory, not the pages of its program file.
pub fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    ["RssAnon:", "RssShmem:"].iter().map(|name| kilobytes(&status, name) * 1024).sum()
}

/// Memory of a process that is mapped now, in bytes, with the pages of its program file.
pub fn resident(pid: u32) -> u64 {
    kilobytes(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), "VmRSS:") * 1024
}

fn kilobytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The agent of a sandbox: the first process of the process namespace whose root holds this file.
pub fn agent_with_file(path_inside: &str) -> u32 {
    let is_first = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let numbers: Vec<_> = numbers.split_whitespace().collect();
        numbers.len() > 1 && numbers.last() == Some(&"1")
    };
    let found = pids()
        .into_iter()
        .find(|pid| is_first(*pid) && fs::symlink_metadata(format!("/proc/{pid}/root{path_inside}")).is_ok());
    found.unwrap_or_else(|| panic!("no agent's root holds {path_inside}"))
}

/// Mounts of this process's namespace with this text in them.
pub fn mounts_with(text: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    mounts.lines().filter(|line| line.contains(text)).map(ToOwned::to_owned).collect()
}

/// Control groups with this text in their path.
pub fn cgroups_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![Path::new("/sys/fs/cgroup").to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|t| t.is_dir()) {
                continue;
            }
            let path = entry.path();
            if path.to_string_lossy().contains(text) {
                found.push(path.display().to_string());
            }
            open.push(path);
        }
    }
    found
}

/// A process of the host that has nothing to do with us, until it is dropped.
pub struct Bystander(std::process::Child);

impl Bystander {
    /// One that has this word among its arguments.
    pub fn start(word: &str) -> Self {
        // It waits for input of its own, so that it has no child that would outlive it.
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "read line", word]).stdin(std::process::Stdio::piped());
        Self(command.spawn().expect("a process"))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has not noticed anything.
    pub fn lives(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The highest memory of some processes while something happens, in bytes.
pub struct Watch {
    stop: std::sync::mpsc::Sender<()>,
    highest: std::thread::JoinHandle<Vec<u64>>,
}

impl Watch {
    /// Looks every 20 ms from now on.
    pub fn over(pids: &[u32]) -> Self {
        let pids = pids.to_vec();
        let (stop, stopped) = std::sync::mpsc::channel();
        let highest = std::thread::spawn(move || {
            let mut highest = vec![0; pids.len()];
            loop {
                for (pid, high) in pids.iter().zip(&mut highest) {
                    *high = memory(*pid).max(*high);
                }
                if stopped.recv_timeout(std::time::Duration::from_millis(20))
                    != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    return highest;
                }
            }
        });
        Self { stop, highest }
    }

    /// The highest of each, in the order given.
    pub fn highest(self) -> Vec<u64> {
        let _ = self.stop.send(());
        self.highest.join().expect("the watching thread lives")
    }
}
