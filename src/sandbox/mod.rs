//! The domain of sandboxes: who exists, in which state, and how to reach its agent.
//!
//! ```text
//!            create                 agent answers
//!   (nothing) ────▶ STARTING ─────────────────────▶ RUNNING
//!                      │                             │   │
//!               failed,│or its caller vanished delete│   │agent died
//!                      │                             ▼   ▼
//!                      │         delete ┌───────▶ STOPPING  FAILED
//!                      │                │            │ ▲     │ ▲
//!                      ▼                └────────────┼─┼─────┘ │
//!                    GONE ◀──────────────────────────┘ └retry  │
//!                              removed               removal failed
//! ```
//!
//! `GONE` is never shown: the id is unknown from then on. Who waits for a deletion waits for it on the entry itself.
//! The registry is memory only; all reads and writes of it are in [`registry`], where a store can take its place.

mod entry;
#[cfg(test)]
pub(crate) mod fake;
mod id;
pub mod link;
mod policy;
mod reached;
mod registry;
pub use registry::is_page_token;
mod sandboxes;

pub use entry::{Entry, NewSandbox, Sandbox, State};
pub use id::is_sandbox_id;
pub use policy::Policy;
pub use reached::{Reached, Watching};
pub use sandboxes::{Listing, Sandboxes};
