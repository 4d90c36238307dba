//! Processes, as the kernel tells of them: who one is (its number, when it started, and the boot that this counts from), whether it lives, what
//! `/proc` says of it, and which there are. Everything else of `/proc` is looked at by whoever wants it.

mod identity;
mod stat;
mod text;
mod tree;

pub use identity::{ProcessId, boot_id, has_ended, kill, open, state_and_start};
pub use stat::Stat;
pub use text::text;
pub use tree::{children, group_of, pids};
