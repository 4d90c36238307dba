//! Sandshell: sandboxes with shells that stay.
//!
//! Four rooms, one direction: [`server`] (the edge) calls [`sandbox`] (the domain), which calls a [`runtime`] and
//! reaches the [`agent`] inside each sandbox over a byte stream. See `ARCHITECTURE.md`.

pub mod agent;
pub mod api;
mod archive;
pub mod cli;
pub mod data_dir;
mod descriptors;
mod docker_config;
pub mod error;
pub mod image;
pub mod limits;
mod packet;
pub mod pem;
mod proc;
pub mod rpc;
pub mod runtime;
pub mod sample;
pub mod sandbox;
mod seccomp;
pub mod server;
mod span;
pub mod store;
mod sync;
pub mod tenant;
pub mod verification;
pub mod volume;
