//! Connections from being taken to their end: how many there may be, what is spoken on them, and how one that is not served is told so.
//! What they carry are calls, which go through [`layers`](super::layers).

pub(super) mod budget;
pub(super) mod connection;
mod ends;
mod first_bytes;
pub(super) mod listening;
mod memory;
pub(super) mod places;
mod refusal;
mod scheme;
pub(super) mod sys;
pub(super) mod tls;
pub(super) mod transport;
