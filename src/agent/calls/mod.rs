//! Calls of the server: what comes in, what it is worth to the sessions, and the answers on their way out.

pub(super) mod answer;
pub(super) mod arrival;
pub(super) mod service;
