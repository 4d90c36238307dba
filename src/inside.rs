//! What runs inside a sandbox, and what it has in common with the server: the [`agent`], the messages of [`api`] and how they travel
//! ([`rpc`]), errors, archives, processes.
//!
//! A crate of its own, so that it is compiled beside the rest: the crate `sandshell` (lib.rs), which uses it. Their sources are in one folder.

pub mod agent;
pub mod api;
pub mod archive;
pub mod error;
pub mod packet;
pub mod proc;
pub mod rpc;
pub mod seccomp;
pub mod sync;
