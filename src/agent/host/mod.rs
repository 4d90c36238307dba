//! The sandbox that the agent lives in: what it has of memory, what goes on in it, and what is made ready before it is used.

pub(super) mod activity;
pub(super) mod memory;
pub(super) mod oom;
pub(super) mod prepare;
