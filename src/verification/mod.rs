//! Verifications: jobs that say of a sandbox's files, or of a patch, whether they do what a sample asks for, test by test.
//!
//! ```text
//! StartVerification ─▶ row "pending" ─▶ queue, fair between tenants ─▶ a sandbox of its own, made from the sample
//!                                                                          │ the changes of the other sandbox's /workspace,
//!                                                                          │ less what the sample protects; its hidden files
//!                                                                          ▼
//!            row "completed" ◀── verdict ◀── report ◀── the sample's command, which nothing else of the agent's can reach
//! ```
//!
//! [`state`] has the states. What belongs to the agent is never executed nor interpreted outside of a sandbox: its files come as an archive that is
//! unpacked in the other one, and reports are read by bounded readers ([`report`]).

mod brought;
mod cover;
mod ground;
mod job;
mod laid;
mod live;
mod notes;
mod output;
mod queue;
mod report;
mod state;
mod take;
mod tests_run;
mod verdict;
mod verifications;
mod work;

pub use job::{About, Compared, Failure, FailureReason, Judgement, Outcome, Verification, is_verification_id};
pub use live::{Heard, Told};
pub use output::Kept;
pub use queue::AtOnce;
pub use report::{Outcome as TestOutcome, Test};
pub use state::State;
pub use verdict::Why;
pub use verifications::{Listing, MOST_PATCH, Subject, Verifications};

use job::Carried;
