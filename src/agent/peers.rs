//! Who may speak with the agent where its socket has a name inside.

use crate::proc::{Stat, has_ended};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use tokio::net::UnixStream;

/// The socket option that gives a descriptor of the process that connected, since Linux 6.5.
const SO_PEERPIDFD: libc::c_int = 77;

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// Whoever can: nothing inside has a name for the socket.
    Any,
    /// Only what was started from outside: the kernel knows no parent of such a process in here. Whatever descends from
    /// the agent has one, even when its own has died.
    FromOutside,
}

impl Peers {
    pub(super) fn allow(self, stream: &UnixStream) -> bool {
        let allowed = match self {
            Self::Any => true,
            Self::FromOutside => {
                let process = peer_process(stream);
                let outside = stream.peer_cred().ok().and_then(|peer| peer.pid()).is_some_and(comes_from_outside);
                // The number of a process that has ended may be another's by now, and that one was looked at.
                outside && process.is_none_or(|process| lives(&process))
            }
        };
        if !allowed {
            tracing::warn!("a connection from inside was refused");
        }
        allowed
    }
}

/// A descriptor of the process that connected. `None` on kernels that do not give one; then its number has to do.
fn peer_process(stream: &UnixStream) -> Option<OwnedFd> {
    let mut process: RawFd = -1;
    let mut length = size_of::<RawFd>() as libc::socklen_t;
    // SAFETY: both pointers are of locals that live through the call, and `length` is the size of `process`.
    let refused = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut process).cast(), &raw mut length)
    };
    if refused != 0 || process < 0 {
        return None;
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(process) })
}

/// Whether a process was seen not to have ended.
fn lives(process: &OwnedFd) -> bool {
    has_ended(process).is_ok_and(|ended| !ended)
}

fn comes_from_outside(pid: i32) -> bool {
    // The kernel itself writes 0 for who is not in here at all.
    if pid <= 1 {
        return pid == 0;
    }
    matches!(Stat::of(pid), Ok(Some(stat)) if stat.id(4) == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_connected_is_known_to_live_and_to_have_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let connect = format!("import socket, sys; s = socket.socket(1); s.connect({path:?}); sys.stdin.read()");
        let mut child = std::process::Command::new("/usr/bin/python3")
            .args(["-c", &connect])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        // Kernels before 6.5 give none.
        if let Some(process) = peer_process(&stream) {
            assert!(lives(&process));
            drop(child.stdin.take());
            child.wait().unwrap();
            assert!(!lives(&process));
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_process_of_ours_is_from_inside() {
        assert!(!comes_from_outside(std::process::id() as i32));
    }
}
