//! The domain of sandboxes: who exists, in which state, for how long, and how to reach its agent.
//!
//! ```text
//!            create                 agent answers
//!   (nothing) ────▶ STARTING ─────────────────────▶ RUNNING
//!                      │                             │   │
//!               failed,│or its     deleted, expired, │   │ agent ended
//!     caller vanished, │           or idle too long  ▼   ▼
//!         or deleted   │              ┌───────▶ STOPPING FAILED
//!                      ▼              │            │ ▲     │
//!                  ABANDONED          │            │ └─────┤ deleted
//!                      │              │            │       │
//!          removed, at │              └── removal failed   │
//!             the last ▼                           │       │
//!                    GONE ◀────────────────────────┘       │
//!                      ▲                                   │
//!                      └───────────────────────────────────┘ ten minutes later
//! ```
//!
//! [`life`] is this as a table, and everything that changes a state goes through it.
//! The states are rows of the [`crate::store`], written before anybody is told. A server that starts takes over what
//! the one before it left ([`recover`]): what ran goes on, what was being made or deleted is removed.
//! `GONE` is a sandbox's last state: the id is unknown from then on. Who waits for an end waits for it on the entry.

mod admission;
mod changes;
mod clock;
mod create;
mod delete;
mod entry;
mod failure;
#[cfg(test)]
pub(crate) mod fake;
mod id;
mod images;
mod inside;
mod keeper;
mod layers;
mod life;
mod lifetime;
pub mod link;
mod list;
mod open_sessions;
mod place;
mod policy;
mod preparing;
mod progress;
mod reached;
mod recover;
mod registry;
mod removal;
mod row;
mod sandboxes;
mod session_limit;
mod start;
#[cfg(test)]
mod tests;
mod update;

pub use clock::Clock;
pub use entry::{About, Details, Entry, NewSandbox, SampleUsed, SampleWanted, Sandbox};
pub use id::is_sandbox_id;
pub use images::KnownImage;
pub use inside::{Found, InsideError};
pub use life::{Condition, EndReason, Progress, State};
pub use lifetime::Lifetime;
pub use list::{Listing, is_page_token, token_of};
pub use policy::{Lifetimes, Policy};
pub use reached::{Reached, Watching};
pub use recover::Recovered;
pub use sandboxes::{Sandboxes, Stats};
pub use session_limit::SessionPlace;
pub use update::{Change, Update};
