//! What is on the disk: the directories of slots, the pool, layers and volumes, and how they are measured and removed. The server does
//! most of it; the zygote and its starters do the rest.

pub(super) mod count;
pub(super) mod delete;
pub(super) mod layer;
pub(super) mod list;
pub(super) mod pool;
pub(super) mod slots;
pub(super) mod sweep;
pub(super) mod trash;
pub(super) mod volume;
pub(super) mod walk;
