//! Calls of the server: connections and what comes on them, what it is worth to the sessions, and the answers on their way out.

pub(super) mod answer;
pub(super) mod arrival;
pub(super) mod connections;
pub(super) mod file_process;
pub(super) mod service;
