//! What a shell says back: that a command is over.

use super::{dialect::ABORTED, fifo::Fifo, records::Records};
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// The longest report: a path, and a tag and a status before it.
const LONGEST_REPORT: usize = libc::PATH_MAX as usize + 64;

/// The status FIFO.
pub(crate) struct Reports {
    pub(super) fifo: Fifo,
    records: Records,
    /// The shell's process id.
    pub(super) pid: i32,
}

/// What a shell reports.
#[derive(Debug)]
pub(crate) enum Report {
    /// The lines with this tag were run, `$?` was this, and the shell was here.
    Done { tag: u64, status: i32, directory: PathBuf },
    /// An INT aborted the command.
    Aborted,
}

impl Reports {
    /// Reads from a FIFO.
    pub(super) fn new(fifo: Fifo) -> Self {
        Self { fifo, records: Records::new(LONGEST_REPORT), pid: 0 }
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

    /// Whether what is already there says that the command was aborted. All of it is taken.
    pub(crate) fn say_aborted(&mut self) -> bool {
        let mut aborted = false;
        let mut there = Vec::new();
        self.fifo.reader.take_what_is_there(|data| there.push(data));
        // First of all what was read before and not taken yet.
        for data in std::iter::once(bytes::Bytes::new()).chain(there) {
            self.records.add(&data);
            while let Some(report) = self.parse() {
                aborted |= matches!(report, Report::Aborted);
            }
        }
        aborted
    }

    /// Whether nothing was written that has not been read.
    pub(super) fn is_empty(&self) -> bool {
        matches!(rustix::io::ioctl_fionread(self.fifo.reader.as_fd()), Ok(0))
    }

    fn parse(&mut self) -> Option<Report> {
        loop {
            let record = self.records.take()?;
            // Anything can be written there from inside; what is not a report of ours is nothing.
            let mut words = record.splitn(3, |byte| *byte == b' ');
            let (Some(tag), Some(status)) = (words.next(), words.next()) else { continue };
            if tag == ABORTED.as_bytes() {
                return Some(Report::Aborted);
            }
            let parse = |bytes| std::str::from_utf8(bytes).ok();
            let tag = parse(tag).and_then(|tag| u64::from_str_radix(tag, 16).ok());
            let status = parse(status).and_then(|status| status.parse().ok());
            let (Some(tag), Some(status)) = (tag, status) else { continue };
            let claimed = PathBuf::from(OsStr::from_bytes(words.next().unwrap_or_default()));
            return Some(Report::Done { tag, status, directory: self.real_directory(claimed) });
        }
    }

    /// `$PWD` when it is true (it keeps the symbolic links that the user went through), else what the kernel says.
    fn real_directory(&self, claimed: PathBuf) -> PathBuf {
        let cwd = PathBuf::from(format!("/proc/{}/cwd", self.pid));
        let link = fs::read_link(&cwd);
        if link.as_ref().is_ok_and(|link| *link == claimed) {
            return claimed;
        }
        let same = |a: &Path, b: &Path| {
            let (Ok(a), Ok(b)) = (fs::metadata(a), fs::metadata(b)) else { return false };
            (a.dev(), a.ino()) == (b.dev(), b.ino())
        };
        if claimed.is_absolute() && same(&claimed, &cwd) { claimed } else { link.unwrap_or(claimed) }
    }
}
