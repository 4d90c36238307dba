//! A file system that does not answer those who start sandboxes, or the server, like a network disk whose server has gone. It is a FUSE file
//! system that holds nothing but its root. What it has not answered fails when it is dropped.

use super::host;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use std::{
    ffi::CString,
    fs::{self, File},
    io::{Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

const GETATTR: u32 = 3;
const INIT: u32 = 26;
const ENOENT: i32 = -2;
const ENOSYS: i32 = -38;
/// `struct fuse_in_header`.
const HEADER: usize = 40;

/// The file system.
pub struct Hanging {
    directory: tempfile::TempDir,
    over: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
    server: Option<JoinHandle<()>>,
}

impl Hanging {
    /// Mounts one that does not answer starters, which are copies of the zygote.
    pub fn mount() -> Self {
        Self::mount_for("zygote")
    }

    /// Mounts one that does not answer programs with this in their arguments.
    pub fn mount_for(whom: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("image")).expect("a mount point");
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse: modprobe fuse");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = CString::new(options).unwrap();
        mount("hanging", directory.path().join("image"), "fuse", MountFlags::empty(), options.as_c_str())
            .expect("a FUSE mount");
        let (over, waiting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_over, count) = (over.clone(), waiting.clone());
        let server = std::thread::spawn(move || serve(device, whom, &is_over, &count));
        Self { directory, over, waiting, server: Some(server) }
    }

    /// What it lies in.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Where it is mounted.
    pub fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// How many requests it has not answered.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.server.take().map(JoinHandle::join);
        let _ = unmount(self.image(), UnmountFlags::DETACH);
    }
}

fn serve(mut device: File, whom: &str, over: &AtomicBool, waiting: &AtomicUsize) {
    let mut buffer = vec![0; 1 << 20];
    while !over.load(Ordering::Relaxed) {
        let soon = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if !matches!(poll(&mut [PollFd::new(&device, PollFlags::IN)], Some(&soon)), Ok(1..)) {
            continue;
        }
        let Ok(length) = device.read(&mut buffer) else { continue };
        let request = &buffer[..length];
        let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let (opcode, pid) = (number(4), number(32));
        if opcode != INIT && host::arguments(pid).contains(whom) {
            waiting.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let (error, body) = match opcode {
            INIT => (0, init(number(HEADER + 4))),
            GETATTR => (0, attributes()),
            1 => (ENOENT, Vec::new()),
            _ => (ENOSYS, Vec::new()),
        };
        let mut answer = Vec::new();
        answer.extend(u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
        answer.extend(i32::to_ne_bytes(error));
        answer.extend(&request[8..16]);
        answer.extend(body);
        let _ = device.write(&answer);
    }
}

/// `struct fuse_init_out`: version 7.31 or older, as the kernel has it, and no features.
fn init(minor: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for number in [7, minor.min(31), 4096, 0] {
        body.extend(u32::to_ne_bytes(number));
    }
    body.extend([0; 4]);
    body.extend(u32::to_ne_bytes(4096));
    body.resize(64, 0);
    body
}

/// `struct fuse_attr_out` of the root: valid for no time at all, so that everybody asks again.
fn attributes() -> Vec<u8> {
    let mut body = vec![0; 16];
    body.extend(u64::to_ne_bytes(1));
    body.resize(16 + 60, 0);
    for number in [0o40755, 2, 0, 0, 0, 4096, 0] {
        body.extend(u32::to_ne_bytes(number));
    }
    body
}
