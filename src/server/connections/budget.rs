//! Whether the open files that the operating system allows are enough for what the operator allows.

/// Open files for everything that does not grow with use: the listener, the database, the runtime, the sandboxes that
/// are being made, and connections that are just being refused.
const BASE: u64 = 128;

/// Connections that a server takes unless it was told how many.
const USUAL_CONNECTIONS: u64 = 4096;

/// With fewer a server is of no use, and is not started unless it was told how many.
const FEWEST_CONNECTIONS: u64 = 32;

/// What a server has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Sandboxes at one time.
    pub sandboxes: usize,
    /// Connections at one time.
    pub connections: usize,
    /// Files that the process may have open.
    pub open_files: u64,
}

/// Why a server does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{sandboxes} sandboxes (--max-sandboxes) and {least}{connections} connections (--max-connections) need {needed} open \
     files, and this process may have {open_files}; allow fewer of them, or raise the hard limit of open files \
     (LimitNOFILE= of a systemd unit, --ulimit nofile= of a container, `ulimit -Hn` of a shell)"
)]
pub struct DoesNotFit {
    sandboxes: usize,
    /// "at least " where nobody has said how many connections.
    least: &'static str,
    connections: usize,
    needed: u64,
    open_files: u64,
}

impl Budget {
    /// What a server has room for, when each sandbox needs so many open files. Without a number of connections there are
    /// as many as usual, or as many as fit.
    pub fn new(
        sandboxes: usize,
        per_sandbox: u64,
        connections: Option<usize>,
        open_files: u64,
    ) -> Result<Self, DoesNotFit> {
        let without = BASE.saturating_add(per_sandbox.saturating_mul(sandboxes as u64));
        let left = open_files.saturating_sub(without);
        let wanted = connections.unwrap_or_else(|| left.clamp(FEWEST_CONNECTIONS, USUAL_CONNECTIONS) as usize);
        if wanted as u64 > left {
            let needed = without.saturating_add(wanted as u64);
            let least = if connections.is_none() { "at least " } else { "" };
            return Err(DoesNotFit { sandboxes, least, connections: wanted, needed, open_files });
        }
        Ok(Self { sandboxes, connections: wanted, open_files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_as_many_as_usual_or_as_many_as_fit() {
        let connections = |open_files| Budget::new(1000, 2, None, open_files).map(|budget| budget.connections);
        assert_eq!(connections(1 << 20), Ok(4096));
        assert_eq!(connections(4096), Ok(4096 - 128 - 2000));
        let refused = connections(2128 + 31).unwrap_err().to_string();
        assert!(refused.contains("at least 32 connections"), "{refused}");
        assert_eq!(connections(2128 + 32), Ok(32));
    }

    #[test]
    fn what_was_asked_for_must_fit() {
        assert_eq!(Budget::new(10, 2, Some(20), 168).map(|budget| budget.connections), Ok(20));
        let refused = Budget::new(10, 2, Some(20), 167).unwrap_err().to_string();
        for part in ["--max-sandboxes", "--max-connections", "168 open files", "may have 167", "LimitNOFILE"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(Budget::new(usize::MAX, 2, None, u64::MAX - 1).is_err());
    }
}
