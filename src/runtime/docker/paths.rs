//! The names in the directory that a container is shown while it starts: the server puts there what the agent takes.

/// The agent's program.
pub(super) const PROGRAM: &str = "sandshell";
/// The socket on which the agent is handed what has no name.
pub(super) const START_SOCKET: &str = "start.sock";
/// The directory that the agent's own files are mounted on, writable.
pub(super) const PRIVATE: &str = "private";
