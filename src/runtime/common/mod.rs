//! What both runtimes share: they use it, and it knows neither.

mod ids;
mod kill;
mod page;

pub(super) use ids::is_safe_id;
pub(super) use kill::{hurry, kill_all};
pub(super) use page::{Page, is_ours, joined, key};
