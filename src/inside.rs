//! What runs inside a sandbox, and what it has in common with the server: the [`agent`], the messages of [`api`] and how they travel
//! ([`rpc`]), errors, archives, processes.
//!
//! A crate of its own, in the same house: everything else, the crate `sandshell`, uses it, and the two are compiled side by side.

pub mod agent;
pub mod api;
pub mod archive;
pub mod error;
pub mod packet;
pub mod proc;
pub mod rpc;
pub mod seccomp;
pub mod sync;
