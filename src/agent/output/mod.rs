//! What commands print, and everything else that the agent keeps for its clients: all of it within one [`Budget`].

mod budget;
mod chunks;
mod collected;
mod ledger;
mod log;

pub(super) use budget::{Budget, Charge};
pub(super) use chunks::{Cursor, Offsets};
pub(super) use collected::Collected;
pub(super) use log::{Log, Next};

/// What is read from a pipe at once when a program prints a lot: whole pages, and with all that is put around it not more
/// than one HTTP/2 frame.
pub(super) const LARGE_READ: usize = 252 << 10;
