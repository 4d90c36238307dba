//! What a shell says back: that a command is over.

use super::{dialect::ABORTED, fifo::Fifo, records::Records};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::PathBuf,
};

/// The longest report: a path, and before it a tag, a status, options, and up to 4096 bytes of statuses.
const LONGEST_REPORT: usize = libc::PATH_MAX as usize + 4096 + 256;

/// Room for most paths. A longer one is read again with more.
const ROOM_FOR_PATH: usize = 256;

/// The status FIFO.
pub(crate) struct Reports {
    pub(super) fifo: Fifo,
    records: Records,
    /// Whether what came before a report is a DEBUG trap.
    debug: bool,
    /// The shell's process, and its directory in `/proc`. Held open, its working directory is found in half the time.
    pid: i32,
    process: Option<OwnedFd>,
}

/// What a shell reports.
#[derive(Debug)]
pub(crate) enum Report {
    /// The lines with this tag were run, `$?` was this, and the shell was here.
    Done { tag: u64, status: i32, directory: PathBuf, told: Told },
    /// The command was aborted, with this status.
    Aborted { status: i32 },
}

/// What a shell tells beside the end of a command, where it can.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The exit status of each part of the command's last pipeline.
    pub(crate) pipes: Vec<i32>,
    /// Whether it traces what it runs.
    pub(crate) traced: bool,
    /// Whether it shows what it reads.
    pub(crate) shown: bool,
    /// Whether it has a DEBUG trap.
    pub(crate) debug: bool,
}

/// Parts of a pipeline that are told.
const MOST_PIPES: usize = 1000;

impl Told {
    fn new(flags: &[u8], pipes: Vec<i32>, debug: bool) -> Self {
        Self { pipes, traced: flags.contains(&b'x'), shown: flags.contains(&b'v'), debug }
    }
}

/// What a text has noted at its end: its status, and those of the parts of its last pipeline. What bears another tag was
/// noted by an earlier text, and this one did not get to its end.
fn noted(text: &[u8], tag: u64) -> Option<(i32, Vec<i32>)> {
    let mut parts = std::str::from_utf8(text).ok()?.split(' ');
    let noted = u64::from_str_radix(parts.next()?, 16).ok()?;
    let status = parts.next()?.parse().ok()?;
    let pipes: Option<Vec<i32>> = parts.take(MOST_PIPES).map(|part| part.parse().ok()).collect();
    (noted == tag).then(|| (status, pipes.unwrap_or_default()))
}

impl Reports {
    /// Reads from a FIFO.
    pub(super) fn new(fifo: Fifo) -> Self {
        Self { fifo, records: Records::new(LONGEST_REPORT), debug: false, pid: 0, process: None }
    }

    /// They are of this shell.
    pub(super) fn come_from(&mut self, pid: i32) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.pid = pid;
        self.process = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).ok();
    }

    /// Reads from another FIFO from now on.
    pub(super) fn reads_from(&mut self, fifo: Fifo) {
        (self.fifo, self.records) = (fifo, Records::new(LONGEST_REPORT));
    }

    /// The next report. May be cancelled without loss.
    pub(crate) async fn next(&mut self) -> io::Result<Report> {
        loop {
            if let Some(report) = self.parse() {
                return Ok(report);
            }
            if let Some(data) = self.fifo.reader.data().await? {
                self.records.add(&data);
            }
            // Whoever writes garbage without a pause must not keep the agent from everything else.
            tokio::task::consume_budget().await;
        }
    }

    /// The status with which the command was aborted, if what is already there says that it was. All of it is taken.
    pub(crate) fn say_aborted(&mut self) -> Option<i32> {
        let mut aborted = None;
        let mut there = Vec::new();
        self.fifo.reader.take_what_is_there(|data| there.push(data));
        // First of all what was read before and not taken yet.
        for data in std::iter::once(bytes::Bytes::new()).chain(there) {
            self.records.add(&data);
            while let Some(report) = self.parse() {
                if let Report::Aborted { status } = report {
                    aborted = Some(status);
                }
            }
        }
        aborted
    }

    /// All that has been reported and not taken yet.
    pub(super) fn there(&mut self) -> Vec<Report> {
        let mut there = vec![bytes::Bytes::new()];
        self.fifo.reader.take_what_is_there(|data| there.push(data));
        let mut reports = Vec::new();
        for data in there {
            self.records.add(&data);
            reports.extend(std::iter::from_fn(|| self.parse()));
        }
        reports
    }

    /// Whether nothing was written that has not been read.
    pub(super) fn is_empty(&self) -> bool {
        matches!(rustix::io::ioctl_fionread(self.fifo.reader.as_fd()), Ok(0))
    }

    fn parse(&mut self) -> Option<Report> {
        loop {
            let record = self.records.take()?;
            // Anything can be written there from inside; what is not a report of ours is nothing.
            let mut parts = record.splitn(2, |byte| *byte == b' ');
            let (tag, rest) = (parts.next().unwrap_or_default(), parts.next());
            let parse = |bytes| std::str::from_utf8(bytes).ok();
            if tag == ABORTED.as_bytes() {
                let status = rest.and_then(parse).and_then(|status| status.trim_ascii().parse().ok());
                return Some(Report::Aborted { status: status.unwrap_or(128 + libc::SIGINT) });
            }
            let number = parse(tag).and_then(|tag| u64::from_str_radix(tag, 16).ok());
            let (Some(tag), Some(rest)) = (number, rest) else {
                // What the trap itself prints may be around it.
                let has = |text: &[u8]| record.windows(text.len()).any(|part| part == text);
                self.debug |= has(b" DEBUG\n") || has(b"TRAPDEBUG ");
                continue;
            };
            let debug = std::mem::take(&mut self.debug);
            let end = rest.iter().position(|byte| b" \x01".contains(byte)).unwrap_or(rest.len());
            let Some(status) = parse(&rest[..end]).and_then(|status| status.parse().ok()) else { continue };
            let more = rest.get(end + 1..).unwrap_or_default();
            let (status, told, directory) = if rest.get(end) == Some(&1) {
                let mut parts = more.splitn(3, |byte| *byte == 1);
                let mut part = || parts.next().unwrap_or_default();
                let flags = part();
                let (status, pipes) = noted(part(), tag).unwrap_or((status, Vec::new()));
                (status, Told::new(flags, pipes, debug), part())
            } else {
                (status, Told::default(), more)
            };
            let directory = self.real_directory(PathBuf::from(OsStr::from_bytes(directory)));
            return Some(Report::Done { tag, status, directory, told });
        }
    }

    /// `$PWD` when it is true (it keeps the symbolic links that the user went through), else what the kernel says.
    fn real_directory(&self, claimed: PathBuf) -> PathBuf {
        let path;
        let (process, cwd) = match &self.process {
            Some(process) => (process.as_fd(), "cwd"),
            None => {
                path = format!("/proc/{}/cwd", self.pid);
                (CWD, path.as_str())
            }
        };
        let link = rustix::fs::readlinkat(process, cwd, Vec::with_capacity(ROOM_FOR_PATH));
        if link.as_ref().is_ok_and(|link| link.as_bytes() == claimed.as_os_str().as_bytes()) {
            return claimed;
        }
        let same = || -> rustix::io::Result<bool> {
            let (here, there) = (rustix::fs::stat(&claimed)?, rustix::fs::statat(process, cwd, AtFlags::empty())?);
            Ok((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino))
        };
        if claimed.is_absolute() && same().unwrap_or(false) {
            return claimed;
        }
        link.map_or(claimed, |link| PathBuf::from(OsString::from_vec(link.into_bytes())))
    }
}
