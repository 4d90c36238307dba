//! How a command ended, and how a shell did.

use crate::api::v1::exited::Reason;
use std::path::PathBuf;

/// How a command ended, as far as the shell and we know.
pub(in crate::agent) struct Verdict {
    /// `$?`, or what stands for it.
    pub(in crate::agent) status: i32,
    /// Where the shell was then.
    pub(in crate::agent) directory: Option<PathBuf>,
    /// Set when we ended it.
    pub(in crate::agent) reason: Option<Reason>,
    /// The signal that the client sent and that ended it.
    pub(in crate::agent) signalled: i32,
    /// Whether a signal may still be on its way to the shell.
    pub(in crate::agent) signal_under_way: bool,
    /// Set when the shell ended.
    pub(in crate::agent) shell_end: Option<ShellEnd>,
}

/// How a shell ended.
pub(in crate::agent) struct ShellEnd {
    /// Its exit code; 128 + N for a signal.
    pub(in crate::agent) code: i32,
    /// The signal that ended it.
    pub(in crate::agent) signal: i32,
}

impl ShellEnd {
    /// By a wait status.
    pub(in crate::agent) fn new(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            Self { code: 128 + signal, signal }
        } else {
            Self { code: libc::WEXITSTATUS(status), signal: 0 }
        }
    }

    /// Nobody knows, because somebody killed the process that would.
    pub(in crate::agent) fn killed() -> Self {
        Self { code: 128 + libc::SIGKILL, signal: libc::SIGKILL }
    }
}

impl Verdict {
    /// The session was stopped.
    pub(in crate::agent) fn stopped(reason: Reason) -> Self {
        Self {
            status: 128 + libc::SIGKILL,
            directory: None,
            reason: Some(reason),
            signalled: 0,
            signal_under_way: false,
            shell_end: None,
        }
    }
}
