//! Who may speak with the agent where its socket has a name inside.

use std::fs;
use tokio::net::UnixStream;

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
            Self::FromOutside => stream.peer_cred().ok().and_then(|peer| peer.pid()).is_some_and(comes_from_outside),
        };
        if !allowed {
            tracing::warn!("a connection from inside was refused");
        }
        allowed
    }
}

fn comes_from_outside(pid: i32) -> bool {
    // The kernel itself writes 0 for who is not in here at all.
    if pid <= 1 {
        return pid == 0;
    }
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent(&stat) == Some(0))
}

/// The parent in a line of `/proc/PID/stat`. The name before it may hold anything, brackets too.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_be_a_parent() {
        assert_eq!(parent("7 (a) S 0 7 7"), Some(0));
        assert_eq!(parent("7 (x) S 0 (y) S 41 7 7"), Some(41));
        assert_eq!(parent("7"), None);
    }

    #[test]
    fn a_process_of_ours_is_from_inside() {
        assert!(!comes_from_outside(std::process::id() as i32));
    }
}
