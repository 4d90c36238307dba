//! What commands print, and everything else that the agent keeps for its clients: all of it within one [`Budget`].

mod budget;
mod chunks;
mod collected;
mod follower;
mod ledger;
mod log;

pub(super) use budget::{Budget, Charge};
pub(super) use collected::Collected;
pub(super) use follower::Follower;
pub(super) use log::Log;
