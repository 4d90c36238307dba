//! The embedded runtime: sandboxes out of namespaces, cgroups, overlays and a system call filter, without any daemon.
//!
//! ```text
//! server ──socket──▶ zygote ──fork──▶ starter ──clone3──▶ first process ──execveat──▶ agent
//!        ◀───────────── pipe: started, or which step failed ──┘
//! ```
//!
//! The *zygote* is this program again, with one thread, because the server cannot fork safely. It keeps a few
//! *starters* ready, which have done ahead what takes long. A starter makes the namespaces; the *first process* builds
//! what the sandbox sees, gives up every privilege and becomes the agent. Sandboxes live on when server and zygote end,
//! and any later server finds them by what is in the data directory (see [`layout`]).
//!
//! `server`, `zygote` and `inside` (the first process) say which of these processes their code runs in. What several of them need
//! is below, by what it is about: `rootfs`, `storage`, `cgroup`, and the files here. None imports upwards.

mod cgroup;
mod failure;
mod inside;
mod layout;
mod pool_place;
mod record;
mod rootfs;
mod server;
mod storage;
mod sys;
mod wire;
mod zygote;

pub use server::{LinuxConfig, LinuxRuntime, pending_in, storage_at_first, storage_of};
pub use zygote::main as zygote_main;
